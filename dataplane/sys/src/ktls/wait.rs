//! Keeps a record that has come only in part from waking its reader over and over.

use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::socket::unread;

/// What to do after a kernel TLS socket said `WouldBlock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read once more: something may have come meanwhile.
    Retry,
    /// Await [`crate::ring::poll`].
    Poll,
}

/// How many bytes a kernel TLS socket must hold before it counts as readable.
///
/// On Linux 6.0 to 6.5 and perhaps others a part of a record makes the socket readable for poll and
/// for the ring, while every read says `WouldBlock`: whoever waits for readiness and reads spins,
/// and any peer can make it spin by sending half a record. This raises the socket's low-water mark
/// (SO_RCVLOWAT) over what is there. An end or an error still makes it readable.
///
/// Use one for each receiving socket: after `WouldBlock` do what [`RecordWait::blocked`] says,
/// after a read call [`RecordWait::progressed`]. Where [`crate::probe`] finds that poll waits for
/// whole records neither is needed; both are harmless.
#[derive(Debug)]
pub struct RecordWait {
    low_water: libc::c_int,
}

/// The low-water mark of a new socket.
const ANY_BYTE: libc::c_int = 1;

impl Default for RecordWait {
    fn default() -> Self {
        RecordWait {
            low_water: ANY_BYTE,
        }
    }
}

impl RecordWait {
    /// Makes the socket wait for a byte more than what is there, after a read said `WouldBlock`.
    ///
    /// Two calls without a byte between them say [`Next::Poll`] at the latest.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` and the like on something else.
    pub fn blocked(&mut self, socket: BorrowedFd<'_>) -> io::Result<Next> {
        // What came after the read and is counted here may complete a record: hence the retry.
        let there = libc::c_int::try_from(unread(socket)?).unwrap_or(libc::c_int::MAX);
        let wanted = there.saturating_add(1);
        if wanted == self.low_water {
            return Ok(Next::Poll);
        }
        self.set(socket, wanted)?;
        Ok(Next::Retry)
    }

    /// Makes any byte count again, after a read returned something.
    ///
    /// # Errors
    ///
    /// As for [`RecordWait::blocked`].
    pub fn progressed(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.low_water == ANY_BYTE {
            return Ok(());
        }
        self.set(socket, ANY_BYTE)
    }

    fn set(&mut self, socket: BorrowedFd<'_>, low_water: libc::c_int) -> io::Result<()> {
        // SAFETY: `setsockopt` requires that the value has as many readable bytes as said; it is
        // one c_int on the stack. The descriptor is borrowed, so it is open.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const low_water).cast(),
                size_of_val(&low_water) as libc::socklen_t,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        self.low_water = low_water;
        Ok(())
    }
}
