//! Connects a socket.

use std::io;
use std::net::SocketAddr;

use io_uring::opcode::Connect;
use socket2::SockAddr;

use super::fd::Fd;
use super::op::{Op, number, submit};

/// Connects the socket `fd`, non-blocking or not, to `address`.
///
/// Safe to drop; the socket may then be half connected, so drop it too.
pub fn connect(fd: &Fd, address: SocketAddr) -> Op<io::Result<()>> {
    let address = Box::new(SockAddr::from(address));
    let sqe = Connect::new(number(fd), address.as_ptr().cast(), address.len()).build();
    // SAFETY: `submit` requires that the address in `sqe` points into the heap memory of the one it
    // is given and is as long as said: both come from the same box. `sqe` names `fd` and completes
    // once.
    unsafe { submit(sqe, fd, Some(address), |result| result.map(drop)) }
}
