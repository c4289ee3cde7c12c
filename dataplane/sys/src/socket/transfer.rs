//! Moves bytes between a socket and user memory, without waiting.

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{self as nix_socket, MsgFlags};
use socket2::SockRef;

use super::progress::count;

/// Reads into `buf`; 0 is the end (or an empty `buf`).
///
/// # Errors
///
/// `WouldBlock` when nothing is there; the socket's error otherwise. On a kernel TLS socket `EIO`
/// when a control record is next: see [`crate::ktls::recv_record`].
pub fn recv(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    Ok(nix_socket::recv(
        socket.as_raw_fd(),
        buf,
        MsgFlags::MSG_DONTWAIT,
    )?)
}

/// Reads into `buf` and leaves the bytes where they are, for the next reader; 0 is the end.
///
/// # Errors
///
/// As for [`recv`].
pub fn peek(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK;
    Ok(nix_socket::recv(socket.as_raw_fd(), buf, flags)?)
}

/// Writes as much of `buf` as the socket takes now, and says how much.
///
/// # Errors
///
/// `WouldBlock` when it takes nothing; `EPIPE` (never SIGPIPE) or `ECONNRESET` when the peer is
/// gone.
pub fn send(socket: BorrowedFd<'_>, buf: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(nix_socket::send(socket.as_raw_fd(), buf, flags)?)
}

/// Ends one or both directions; a write end sends FIN after what was sent before. Completes ops
/// that wait for readiness.
///
/// A plain call, not IORING_OP_SHUTDOWN: that one always runs in a kernel worker thread, and this
/// never waits. On a kernel TLS socket it sends no close_notify: see [`crate::ktls::close_notify`].
///
/// # Errors
///
/// `ENOTCONN` when the peer reset the connection.
pub fn shutdown(socket: BorrowedFd<'_>, how: Shutdown) -> io::Result<()> {
    SockRef::from(&socket).shutdown(how)
}

/// Counts the bytes that came and were not read yet (SIOCINQ); ciphertext on a kernel TLS socket.
///
/// Closing a TCP socket with unread bytes sends RST instead of FIN, and the peer can lose what it
/// has not read yet.
///
/// # Errors
///
/// `EINVAL` on a listener.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    // The same number as SIOCINQ.
    count(socket, libc::FIONREAD)
}
