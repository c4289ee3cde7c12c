//! Makes connections, and waits for what comes over them.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use eyesplice_sys::ktls::{
    Obstacle, Record, Trouble, install_rx, install_tx, recv_record, set_ulp,
};
use eyesplice_sys::socket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::by_hand::Direction;
use crate::harness::Skip;

/// Ends a wait for something that does not happen, so that a failure is not a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Larger than a record, no multiple of one, and under a socket's buffers.
pub(crate) const SEVERAL_RECORDS: usize = 40_001;

/// Both ends of a loopback connection; reads of std give up in the end.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    for stream in [&one, &other] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (one, other)
}

/// A pair with kernel TLS attached to the first end; skips where the kernel has none.
pub(crate) fn pair_with_ulp() -> Result<(TcpStream, TcpStream), Skip> {
    let (kernel, peer) = pair();
    match set_ulp(kernel.as_fd()) {
        Ok(()) => Ok((kernel, peer)),
        Err(error) if error.obstacle == Obstacle::NoKernelTls => Err(Skip(format!(
            "{} (scripts/ktls-guest runs the tests in a kernel that has it)",
            error.obstacle
        ))),
        Err(error) => panic!("{error}: {}", error.source),
    }
}

/// A pair whose first end sends through kernel TLS.
pub(crate) fn sender(keys: &Direction) -> Result<(TcpStream, TcpStream), Skip> {
    let (kernel, peer) = pair_with_ulp()?;
    install_tx(kernel.as_fd(), &keys.keys()).unwrap();
    Ok((kernel, peer))
}

/// A pair whose first end receives through kernel TLS.
pub(crate) fn receiver(keys: &Direction) -> Result<(TcpStream, TcpStream), Skip> {
    let (kernel, peer) = pair_with_ulp()?;
    install_rx(kernel.as_fd(), &keys.keys()).unwrap();
    Ok((kernel, peer))
}

pub(crate) fn wait_readable(socket: &impl AsFd) {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    assert_eq!(
        poll(&mut fds, timeout).unwrap(),
        1,
        "nothing to read after {PATIENCE:?}"
    );
}

/// Waits for an error of the connection, which poll reports unasked.
pub(crate) fn wait_error(socket: &impl AsFd) {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let timeout = PollTimeout::try_from(PATIENCE).unwrap();
    assert_eq!(
        poll(&mut fds, timeout).unwrap(),
        1,
        "no error after {PATIENCE:?}"
    );
}

/// Waits until `count` bytes came, which poll does not tell where it waits for whole records.
pub(crate) fn wait_unread(socket: &impl AsFd, count: usize) {
    let begin = Instant::now();
    while socket::unread(socket.as_fd()).unwrap() != count {
        assert!(
            begin.elapsed() < PATIENCE,
            "not {count} bytes after {PATIENCE:?}"
        );
        std::thread::yield_now();
    }
}

pub(crate) fn content() -> Vec<u8> {
    (0..SEVERAL_RECORDS)
        .map(|index| (index * 7 % 251) as u8)
        .collect()
}

/// Reads application data until `len` bytes came.
pub(crate) fn receive(socket: &TcpStream, len: usize) -> Vec<u8> {
    let mut received = vec![0; len];
    let mut filled = 0;
    while filled < len {
        wait_readable(socket);
        match socket::recv(socket.as_fd(), &mut received[filled..]) {
            Ok(0) => panic!("an end after {filled} bytes"),
            Ok(count) => filled += count,
            Err(error) => assert_eq!(Trouble::of(&error), Trouble::WouldBlock, "{error}"),
        }
    }
    received
}

pub(crate) fn take_record(socket: &TcpStream, buf: &mut [u8]) -> io::Result<Record> {
    wait_readable(socket);
    recv_record(socket.as_fd(), buf)
}
