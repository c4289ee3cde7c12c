//! Connects TCP sockets without waiting.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockAddr, SockRef};

use super::listen::new_tcp;
use super::option::take_error;
use super::unix::Kind;

/// A socket that was asked to connect.
#[derive(Debug)]
pub struct Connecting {
    /// The socket, non-blocking and close-on-exec.
    pub fd: OwnedFd,
    /// It is connected: a peer on this host answers within the call. Otherwise await
    /// [`crate::uring::Interest::WRITE`], and then ask [`connected`].
    pub done: bool,
}

/// Begins to connect a new TCP socket to `peer`.
///
/// # Errors
///
/// Those of [`new_tcp`], and what is known at once: `ECONNREFUSED` on this host, `ENETUNREACH`,
/// `EADDRNOTAVAIL` when no local port is free, `EACCES` and `EPERM` by a firewall.
pub fn connect(peer: SocketAddr) -> io::Result<Connecting> {
    let fd = new_tcp(peer)?;
    let socket = SockRef::from(&fd);
    let done = match socket.connect(&peer.into()) {
        Ok(()) => true,
        // Loopback has the answer by now, for less than a turn through the ring costs.
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {
            let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLOUT)];
            poll(&mut fds, PollTimeout::ZERO)?;
            let found = fds[0].revents().unwrap_or(PollFlags::empty());
            if found.intersects(PollFlags::POLLERR | PollFlags::POLLHUP) {
                connected(fd.as_fd())?;
            }
            !found.is_empty()
        }
        Err(error) => return Err(error),
    };
    Ok(Connecting { fd, done })
}

/// Connects a new UNIX stream socket, which has its answer within the call.
///
/// # Errors
///
/// `ENOENT`, `EACCES`, `ECONNREFUSED` when nobody listens there, `EAGAIN` when too many connections
/// wait to be accepted, `EINVAL` for a path that is too long.
pub fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    connect_kind(path, Kind::Stream)
}

/// The same for a UNIX socket that keeps the bounds of messages (SOCK_SEQPACKET).
///
/// # Errors
///
/// As those of [`connect_unix`].
pub fn connect_messages(path: &Path) -> io::Result<OwnedFd> {
    connect_kind(path, Kind::Messages)
}

fn connect_kind(path: &Path, kind: Kind) -> io::Result<OwnedFd> {
    let socket = kind.socket()?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

/// Asks a socket that has become writable how its [`connect`] ended.
///
/// # Errors
///
/// `ECONNREFUSED`, `ETIMEDOUT`, `EHOSTUNREACH`, `ENETUNREACH` and what else a network answers.
pub fn connected(socket: BorrowedFd<'_>) -> io::Result<()> {
    match take_error(socket)? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
