//! Moves bytes between a socket and a pipe without copying them through user space.
//!
//! Traps with kernel TLS, each met on a real kernel:
//! - `splice` into a kernel TLS socket with more than the pipe holds can leave the last record open,
//!   so that the peer waits for ever: [`to_socket`] must get exactly the number of bytes inside.
//!   `SPLICE_F_MORE` does the same on purpose, so it is not offered.
//! - `splice` out of a kernel TLS socket ignores `O_NONBLOCK`: only `SPLICE_F_NONBLOCK` counts, which
//!   is always set here.
//! - It moves at most one record (16 KiB) per call.
//! - A pending alert, session ticket or key update makes it fail with `EINVAL` until somebody took
//!   the record with [`crate::ktls::recv_record`]. Data before it is delivered first.
//! - It returns 0 on a FIN even without close_notify: the caller must have seen the alert to call
//!   that a clean end.

use std::io;
use std::os::fd::BorrowedFd;

use nix::fcntl::{SpliceFFlags, splice};

use crate::pipe::Pipe;

/// Moves up to `max` bytes from `socket` into `pipe`; 0 means that the socket ended.
///
/// # Errors
///
/// `WouldBlock` when the socket has nothing or the pipe is full: the two look alike, so ask only
/// with an empty pipe. `EINVAL` from a kernel TLS socket with a control record pending. Otherwise
/// the socket's error.
pub fn from_socket(socket: BorrowedFd<'_>, pipe: &Pipe, max: usize) -> io::Result<usize> {
    move_bytes(socket, pipe.write_end(), max)
}

/// Moves up to `len` bytes from `pipe` to `socket`; `len` must be what the pipe holds.
///
/// # Errors
///
/// `WouldBlock` when the socket's send buffer is full (or the pipe is empty). Otherwise the
/// socket's error: the bytes still in the pipe are lost with it. A reset peer is `EPIPE` and never
/// a SIGPIPE as long as that signal is ignored, which Rust's runtime does.
pub fn to_socket(pipe: &Pipe, socket: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    move_bytes(pipe.read_end(), socket, len)
}

fn move_bytes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    Ok(splice(from, None, to, None, len, flags)?)
}
