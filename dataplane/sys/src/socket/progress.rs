//! Says how far the peer of a TCP socket has come: what it has not taken, and when it was last
//! heard of.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Bytes that were written and not sent (linux/sockios.h); libc does not name it.
const SIOCOUTQNSD: libc::c_ulong = 0x894B;

/// The longest pause between retransmissions and between window probes (linux/tcp.h); libc does not
/// name it.
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// The state of a connection that is over (net/tcp_states.h).
const TCP_CLOSE: u8 = 7;

/// What the kernel makes of a TCP peer (TCP_INFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The connection is over, by a reset or both ends: what was not acknowledged will not be,
    /// however much the kernel still counts.
    pub closed: bool,
    /// Segments that were sent and not acknowledged; a window probe is none.
    pub unacknowledged: u32,
    /// Since one of them was sent, for the first time or again.
    pub last_sent: Duration,
    /// Window probes and keepalive probes that were not answered.
    pub probes: u8,
    /// Since anything came from the peer, an acknowledgement or data.
    pub silence: Duration,
    /// The usual time of an answer, with four times its variation.
    pub round_trip: Duration,
}

impl Progress {
    /// Whether the kernel has asked the peer anything since it was last heard of. One whose window
    /// is shut answers a segment that it has no room for, and does not acknowledge it.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.probes > 0 || (self.unacknowledged > 0 && self.last_sent < self.silence)
    }
}

/// Asks the kernel about the peer of a TCP socket.
///
/// # Errors
///
/// `EOPNOTSUPP` on a socket that is not TCP.
pub fn progress(socket: BorrowedFd<'_>) -> io::Result<Progress> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).unwrap_or(0);
    // SAFETY: `getsockopt` writes at most `length` bytes, the size of what `info` has room for. The
    // descriptor is borrowed, so it is open.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `tcp_info` has integers only, for which zeros are valid, and it was zeroed; an older
    // kernel writes less of it.
    let info = unsafe { info.assume_init() };
    let silence = info.tcpi_last_ack_recv.min(info.tcpi_last_data_recv);
    let round_trip = u64::from(info.tcpi_rtt) + 4 * u64::from(info.tcpi_rttvar);
    Ok(Progress {
        closed: info.tcpi_state == TCP_CLOSE,
        unacknowledged: info.tcpi_unacked,
        last_sent: Duration::from_millis(u64::from(info.tcpi_last_data_sent)),
        probes: info.tcpi_probes,
        silence: Duration::from_millis(u64::from(silence)),
        round_trip: Duration::from_micros(round_trip),
    })
}

/// Counts the bytes that were written and that the peer's kernel has not acknowledged, those that
/// were not sent yet among them; a FIN counts as one (SIOCOUTQ). On a UNIX socket: what its reader
/// has not taken, with the kernel's own books.
///
/// # Errors
///
/// `EINVAL` on a listener.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> io::Result<usize> {
    count(socket, libc::TIOCOUTQ)
}

/// Counts the bytes that were written to a TCP socket and not sent yet, since the peer's window is
/// shut or the network is slow; a FIN counts as one (SIOCOUTQNSD).
///
/// # Errors
///
/// `ENOTTY` on a socket that is not TCP.
pub fn unsent(socket: BorrowedFd<'_>) -> io::Result<usize> {
    count(socket, SIOCOUTQNSD)
}

/// Asks for a number of bytes: `request` is one of the three that this folder names.
pub(super) fn count(socket: BorrowedFd<'_>, request: libc::c_ulong) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: each of these requests writes one c_int to its argument, which points to one. The
    // descriptor is borrowed, so it is open.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut count) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Lets no more than `limit` pass between two retransmissions, or between two probes of a window
/// that is shut (TCP_RTO_MAX_MS, since Linux 6.15; 1 to 120 s, the default).
///
/// # Errors
///
/// `ENOPROTOOPT` on an older kernel, `EINVAL` outside of the range.
pub fn ask_at_least_every(socket: BorrowedFd<'_>, limit: Duration) -> io::Result<()> {
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(0);
    // SAFETY: `setsockopt` reads `length` bytes, the size of `limit`, from where it is told, which
    // is `limit`. The descriptor is borrowed, so it is open.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_RTO_MAX_MS,
            (&raw const limit).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether nobody is at the other end to read: a UNIX peer that closed for good (POLLHUP), or a
/// reset (POLLERR). A FIN is neither. The answer means something only while this side was not
/// ended: a TCP or UNIX socket with both directions ended says the same.
///
/// # Errors
///
/// `ENOMEM`.
pub fn is_abandoned(socket: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    let [fd] = fds;
    Ok(fd.any().unwrap_or(false))
}
