//! Watches peers that take nothing, half of it, or all.

use std::io::Read;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::*;

/// A wait that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end);
        std::thread::yield_now();
    }
}

fn fill(socket: BorrowedFd<'_>) {
    while send(socket, &[0; 1 << 16]).is_ok() {}
}

#[test]
fn peer_that_reads_owes_nothing_and_one_that_does_not_leaves_bytes_unsent() {
    let (one, mut other) = pair();
    assert_eq!(unacknowledged(one.as_fd()).unwrap(), 0);
    send(one.as_fd(), b"all of it").unwrap();
    until(|| unacknowledged(one.as_fd()).unwrap() == 0);
    // Until its window is shut: then only probes are on their way.
    until(|| {
        fill(one.as_fd());
        unsent(one.as_fd()).unwrap() > 0 && progress(one.as_fd()).unwrap().unacknowledged == 0
    });
    let queued = unacknowledged(one.as_fd()).unwrap();
    assert!(queued >= unsent(one.as_fd()).unwrap() && queued > 0);
    shutdown(one.as_fd(), Shutdown::Write).unwrap();
    other.read_to_end(&mut Vec::new()).unwrap();
    until(|| unacknowledged(one.as_fd()).unwrap() == 0);
    assert_eq!(unsent(one.as_fd()).unwrap(), 0);
}

#[test]
fn peer_with_a_shut_window_answers_when_it_is_asked() {
    let (one, _other) = pair();
    if let Err(error) = ask_at_least_every(one.as_fd(), Duration::from_secs(1)) {
        assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT));
        return;
    }
    let refused = ask_at_least_every(one.as_fd(), Duration::from_millis(999)).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    fill(one.as_fd());
    // Silent for a while, heard of again: a probe was answered.
    until(|| progress(one.as_fd()).unwrap().silence > Duration::from_millis(300));
    until(|| progress(one.as_fd()).unwrap().silence < Duration::from_millis(300));
    assert!(unsent(one.as_fd()).unwrap() > 0);
}

#[test]
fn only_tcp_has_progress() {
    let (one, _other) = UnixStream::pair().unwrap();
    assert!(progress(one.as_fd()).is_err());
    assert!(unsent(one.as_fd()).is_err());
    send(one.as_fd(), b"x").unwrap();
    assert!(unacknowledged(one.as_fd()).unwrap() > 0, "not read yet");
    recv(_other.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!(unacknowledged(one.as_fd()).unwrap(), 0);
}

#[test]
fn unix_peer_that_closed_is_told_from_one_that_only_ended() {
    let (one, other) = UnixStream::pair().unwrap();
    assert!(!is_abandoned(one.as_fd()).unwrap());
    other.shutdown(Shutdown::Write).unwrap();
    assert!(!is_abandoned(one.as_fd()).unwrap(), "it still reads");
    drop(other);
    assert!(is_abandoned(one.as_fd()).unwrap());
}

#[test]
fn tcp_peer_that_was_reset_is_told_from_one_that_ended() {
    let (one, other) = pair();
    other.shutdown(Shutdown::Write).unwrap();
    until(|| recv(one.as_fd(), &mut [0; 8]).is_ok());
    assert!(!is_abandoned(one.as_fd()).unwrap());
    linger_zero(other.as_fd()).unwrap();
    drop(other);
    until(|| is_abandoned(one.as_fd()).unwrap());
}

#[test]
fn reset_leaves_bytes_counted_on_a_connection_that_is_over() {
    let (one, other) = pair();
    until(|| {
        fill(one.as_fd());
        unsent(one.as_fd()).unwrap() > 0
    });
    assert!(!progress(one.as_fd()).unwrap().closed);
    linger_zero(other.as_fd()).unwrap();
    drop(other);
    until(|| progress(one.as_fd()).unwrap().closed);
    assert!(
        unacknowledged(one.as_fd()).unwrap() > 0,
        "nobody takes them"
    );
}
