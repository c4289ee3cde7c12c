use super::*;
use crate::pool::Pools;
use crate::seam::StreamId;
use eyesplice_proto::stream;
use eyesplice_sys::ring::{Fd, RingConfig};
use eyesplice_sys::socket;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A leg with more on its way than its peer has room for, and the peer.
fn full_leg() -> (Rc<StreamContext>, Leg, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    while socket::send(ours.as_fd(), &[7; 1 << 20]).is_ok() {}
    assert!(socket::unacknowledged(ours.as_fd()).unwrap() > 0);
    let leg = Leg::new(Fd::from(OwnedFd::from(ours)), stream::Side::Downstream);
    let pools = Pools::new(0, Arc::default());
    let cx = StreamContext::new(StreamId::new(0, 1), pools, Arc::default(), Duration::ZERO);
    (cx, leg, peer)
}

#[test]
fn kept_waits_for_the_peer_where_a_close_would_reset() {
    let (cx, leg, mut peer) = full_leg();
    peer.write_all(b"unread").unwrap();
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        // A reset behind it is what the input that nobody read makes of the close.
        drop(peer.read_to_end(&mut all));
        all.len()
    });
    let finished = ring::run(&RingConfig::default(), async {
        while !leg.has_input() {
            tokio::task::yield_now().await;
        }
        kept(&cx, &leg).await;
        let left = leg.unacknowledged();
        drop(leg);
        left
    });
    assert_eq!(finished.unwrap().output, 0);
    assert!(reader.join().unwrap() > 0);
}

#[test]
fn kept_waits_for_nobody_where_a_close_is_an_end() {
    let (cx, leg, _peer) = full_leg();
    let finished = ring::run(&RingConfig::default(), async {
        kept(&cx, &leg).await;
        leg.unacknowledged()
    });
    assert!(finished.unwrap().output > 0, "nobody reads");
}
