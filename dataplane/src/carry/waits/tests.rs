use super::*;
use eyesplice_sys::socket;
use eyesplice_sys::uring::{Fd, UringConfig};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;

/// A leg with more on its way than its peer has room for, and the peer.
fn full_leg() -> (Leg, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    while socket::send(ours.as_fd(), &[7; 1 << 20]).is_ok() {}
    assert!(socket::unacknowledged(ours.as_fd()).unwrap() > 0);
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), Side::Downstream);
    (leg, peer)
}

#[test]
fn kept_waits_for_the_peer_where_a_close_would_reset() {
    let (leg, mut peer) = full_leg();
    peer.write_all(b"unread").unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        // A reset behind it is what the input that nobody read makes of the close.
        drop(peer.read_to_end(&mut all));
        all.len()
    });
    let finished = uring::run(&UringConfig::default(), async {
        while !leg.has_input() {
            tokio::task::yield_now().await;
        }
        kept(&leg).await;
        let left = leg.unacknowledged();
        drop(leg);
        left
    });
    assert_eq!(finished.unwrap().output, 0);
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn kept_waits_for_nobody_where_a_close_is_an_end() {
    let (leg, _peer) = full_leg();
    let finished = uring::run(&UringConfig::default(), async {
        kept(&leg).await;
        leg.unacknowledged()
    });
    assert!(finished.unwrap().output > 0, "nobody reads");
}
