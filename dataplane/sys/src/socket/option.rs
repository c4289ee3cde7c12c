//! Sets and reads socket options.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, SockRef, TcpKeepalive};

/// Sends small writes at once (TCP_NODELAY).
///
/// # Errors
///
/// `EOPNOTSUPP` on a socket that is not TCP.
pub fn nodelay(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_nodelay(true)
}

/// Acknowledges at once what came in, where the kernel waits up to 40 ms for an answer to ride
/// along (TCP_QUICKACK); later data is acknowledged as before.
///
/// A peer with Nagle's algorithm on sends nothing more until then (RFC 9293 section 3.7.4).
///
/// # Errors
///
/// `EOPNOTSUPP` on a socket that is not TCP.
pub fn acknowledge(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_quickack(true)
}

/// When the kernel asks a silent peer whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first question; whole seconds count.
    pub idle: Duration,
    /// Between two questions; whole seconds count.
    pub interval: Duration,
    /// How many unanswered questions end the connection.
    pub count: u32,
}

/// Switches TCP keepalive on.
///
/// # Errors
///
/// `EINVAL` for a time under a second or a count outside 1 to 127.
pub fn keepalive(socket: BorrowedFd<'_>, keepalive: Keepalive) -> io::Result<()> {
    let parameters = TcpKeepalive::new()
        .with_time(keepalive.idle)
        .with_interval(keepalive.interval)
        .with_retries(keepalive.count);
    SockRef::from(&socket).set_tcp_keepalive(&parameters)
}

/// Lets a UNIX socket hold up to `bytes` of what its reader has not taken (SO_SNDBUF), at most
/// `net.core.wmem_max`; the kernel doubles it for its own books. TCP sockets grow by themselves,
/// and a fixed size would end that: they are left alone, and the answer is `false`, as for a socket
/// that may hold as much already.
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn widen_unix(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<bool> {
    let socket = SockRef::from(&socket);
    let narrow = socket.domain()? == Domain::UNIX && socket.send_buffer_size()? < bytes;
    if narrow {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(narrow)
}

/// Makes the close of `socket` send RST and drop what was not sent: the peer must see a cut.
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn linger_zero(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))
}

/// Lets `socket` count as readable only when so many bytes are there (SO_RCVLOWAT), or its end or
/// an error; 1 is usual. The kernel may wake earlier when it is short of memory.
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn readable_from(socket: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let length = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: `setsockopt` reads `length` bytes from the address, which is that of a c_int of that
    // size on the stack. The descriptor is borrowed, so it is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw const bytes).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes the pending error of `socket` (SO_ERROR), if there is one.
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    SockRef::from(&socket).take_error()
}

/// Who connected to a UNIX socket, as the kernel knew it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCredentials {
    /// Process id, in this process's namespace; 0 when it is in none that this one can see. May be
    /// somebody else's by now: for logs, not for decisions.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Says who connected to the UNIX socket (SO_PEERCRED).
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok(PeerCredentials {
        pid: credentials.pid(),
        uid: credentials.uid(),
        gid: credentials.gid(),
    })
}
