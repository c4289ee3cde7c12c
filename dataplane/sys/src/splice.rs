//! Moves bytes between a socket and a pipe without copying them through user space.
//!
//! The socket must be non-blocking: a plain TCP socket looks at its own flag and not at
//! `SPLICE_F_NONBLOCK`, so splicing from a blocking one waits for bytes in the kernel.
//!
//! Traps with kernel TLS, each met on a real kernel:
//! - `splice` into a kernel TLS socket with more than the pipe holds can leave the last record
//!   open, so that the peer waits for ever: [`to_socket`] must get exactly the number of bytes
//!   inside. `SPLICE_F_MORE` does the same on purpose, so it is not offered.
//! - `splice` out of a kernel TLS socket ignores `O_NONBLOCK`: only `SPLICE_F_NONBLOCK` counts,
//!   which is always set here.
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

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;

    /// Several pipes full, and no multiple of anything.
    const BULK: usize = 1_000_003;

    /// Both ends of a connection; the second is non-blocking.
    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other = listener.accept().unwrap().0;
        other.set_nonblocking(true).unwrap();
        (one, other)
    }

    fn wait(socket: &TcpStream, events: nix::poll::PollFlags) {
        let mut fds = [nix::poll::PollFd::new(socket.as_fd(), events)];
        assert_eq!(nix::poll::poll(&mut fds, 20_000_u16).unwrap(), 1);
    }

    /// Relays until `from` ends, then ends `to`; returns how many bytes passed.
    fn relay(from: &TcpStream, to: &TcpStream) -> usize {
        let pipe = Pipe::new(1 << 16).unwrap();
        let mut total = 0;
        loop {
            wait(from, nix::poll::PollFlags::POLLIN);
            let mut inside = match from_socket(from.as_fd(), &pipe, pipe.capacity()) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            total += inside;
            while inside > 0 {
                match to_socket(&pipe, to.as_fd(), inside) {
                    Ok(count) => inside -= count,
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock);
                        wait(to, nix::poll::PollFlags::POLLOUT);
                    }
                }
            }
        }
        to.shutdown(Shutdown::Write).unwrap();
        total
    }

    #[test]
    fn both_directions_pass_and_end_apart() {
        let ((mut client, downstream), (mut server, upstream)) = (pair(), pair());
        let request: Vec<u8> = (0..BULK).map(|index| (index % 251) as u8).collect();
        let reply = b"an answer after the end of the request";
        thread::scope(|scope| {
            let up = scope.spawn(|| relay(&downstream, &upstream));
            let down = scope.spawn(|| relay(&upstream, &downstream));
            let answering = scope.spawn(|| {
                let mut received = Vec::new();
                server.read_to_end(&mut received).unwrap();
                server.write_all(reply).unwrap();
                server.shutdown(Shutdown::Write).unwrap();
                received
            });
            client.write_all(&request).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert_eq!(answer, reply);
            assert!(
                answering.join().unwrap() == request,
                "the bytes are the same"
            );
            assert_eq!(
                (up.join().unwrap(), down.join().unwrap()),
                (BULK, reply.len())
            );
        });
    }

    #[test]
    fn nothing_to_move_would_block() {
        let (_other, one) = pair();
        let pipe = Pipe::new(4096).unwrap();
        let error = from_socket(one.as_fd(), &pipe, 4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = to_socket(&pipe, one.as_fd(), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn end_of_the_socket_is_zero() {
        let (other, one) = pair();
        other.shutdown(Shutdown::Write).unwrap();
        wait(&one, nix::poll::PollFlags::POLLIN);
        let pipe = Pipe::new(4096).unwrap();
        assert_eq!(from_socket(one.as_fd(), &pipe, 4096).unwrap(), 0);
    }

    #[test]
    fn reset_of_the_socket_is_an_error() {
        let (other, one) = pair();
        crate::socket::linger_zero(other.as_fd()).unwrap();
        drop(other);
        wait(&one, nix::poll::PollFlags::POLLIN);
        let pipe = Pipe::new(4096).unwrap();
        let error = from_socket(one.as_fd(), &pipe, 4096).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
