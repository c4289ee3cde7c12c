//! Makes TCP sockets, listening ones too, and accepts from any listener.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::address::Address;

/// Makes a non-blocking, close-on-exec TCP socket of the family that can reach `peer`.
///
/// # Errors
///
/// `EMFILE`, `ENFILE` when descriptors ran out; `EAFNOSUPPORT` without IPv6 in the kernel.
pub fn new_tcp(peer: SocketAddr) -> io::Result<OwnedFd> {
    Ok(tcp_socket(peer)?.into())
}

/// Listens on `address` with `count` sockets, at least one, over which the kernel spreads
/// connections (SO_REUSEPORT): one for each worker. The first picks the port where 0 was asked.
///
/// The first one listens alone before it lets others in, so a second process, which would begin in
/// the same way, never joins: SO_REUSEPORT by itself would let in any process of the same user.
///
/// `backlog` is cut to `net.core.somaxconn`. `[::]` takes IPv4 too, whatever the sysctl says, as
/// Go's listeners do.
///
/// # Errors
///
/// `EADDRINUSE` while any other socket listens there, also one that would share; `EADDRNOTAVAIL`,
/// `EACCES` (port under 1024) and those of [`new_tcp`].
pub fn listen_tcp_group(
    address: SocketAddr,
    count: usize,
    backlog: u32,
) -> io::Result<Vec<OwnedFd>> {
    let first = listening(address, false, backlog)?;
    let mut group = Vec::with_capacity(count.max(1));
    if count > 1 {
        first.set_reuse_port(true)?;
    }
    let bound = first.local_addr()?.as_socket().unwrap_or(address);
    group.push(OwnedFd::from(first));
    for _ in 1..count {
        group.push(listening(bound, true, backlog)?.into());
    }
    Ok(group)
}

fn listening(address: SocketAddr, reuse_port: bool, backlog: u32) -> io::Result<Socket> {
    let socket = tcp_socket(address)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog_argument(backlog))?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new_raw(Domain::for_address(address), kind, Some(Protocol::TCP))
}

pub(super) fn backlog_argument(backlog: u32) -> i32 {
    i32::try_from(backlog).unwrap_or(i32::MAX)
}

/// A connection that arrived.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket, non-blocking and close-on-exec.
    pub fd: OwnedFd,
    /// Who connected.
    pub peer: Address,
}

/// Takes one connection from `listener`, which must be non-blocking.
///
/// # Errors
///
/// `WouldBlock` when none waits; the rest as [`crate::uring::accept`] says.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Accepted> {
    let (socket, peer) =
        SockRef::from(&listener).accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)?;
    Ok(Accepted {
        fd: socket.into(),
        peer: Address::new(&peer),
    })
}
