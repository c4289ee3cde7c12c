//! Keeps a record that has come only in part from waking its reader over and over.

use std::io;
use std::os::fd::BorrowedFd;

use crate::socket::{readable_from, unread};

/// What to do after a kernel TLS socket said `WouldBlock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read once more: something may have come meanwhile.
    Retry,
    /// Await [`crate::uring::poll`].
    Poll,
}

/// How many bytes a kernel TLS socket must hold before it counts as readable.
///
/// On Linux 6.0 to 6.5 and perhaps others a part of a record makes the socket readable for poll and
/// for the ring, while every read says `WouldBlock`: a reader that waits for readiness spins,
/// and any peer can make it spin by sending half a record. This raises the socket's low-water mark
/// (SO_RCVLOWAT) over what is there while the reader waits. An end or an error still makes it
/// readable.
///
/// The mark is down while the socket is read: a read on Linux 6.1 that was promised more than the
/// record that it found looks for the next one, takes the error of a reset that it meets there, and
/// keeps it to itself. The reset would then read as a FIN.
///
/// Use one for each receiving socket: call [`RecordWait::reading`] before a read or a splice, do
/// what [`RecordWait::blocked`] says after `WouldBlock`, and call [`RecordWait::progressed`] after
/// one that moved something. Where [`crate::probe`] finds that poll waits for whole records none of
/// it is needed; all are harmless.
#[derive(Debug)]
pub struct RecordWait {
    /// The socket's mark.
    low_water: usize,
    /// What the last read that said `WouldBlock` would have waited for.
    wanted: usize,
}

/// The low-water mark of a new socket.
const ANY_BYTE: usize = 1;

impl Default for RecordWait {
    fn default() -> Self {
        RecordWait {
            low_water: ANY_BYTE,
            wanted: ANY_BYTE,
        }
    }
}

impl RecordWait {
    /// Lowers the mark for a read.
    ///
    /// # Errors
    ///
    /// `ENOTSOCK` and the like on something else.
    pub fn reading(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.set(socket, ANY_BYTE)
    }

    /// Makes the socket wait for a byte more than what is there, after a read said `WouldBlock`.
    ///
    /// Two calls without a byte between them say [`Next::Poll`] at the latest.
    ///
    /// # Errors
    ///
    /// As for [`RecordWait::reading`].
    pub fn blocked(&mut self, socket: BorrowedFd<'_>) -> io::Result<Next> {
        // What came after the read and is counted here may complete a record: hence the retry.
        let wanted = unread(socket)? + 1;
        if wanted != self.wanted {
            self.wanted = wanted;
            return Ok(Next::Retry);
        }
        self.set(socket, wanted)?;
        Ok(Next::Poll)
    }

    /// Forgets what was there, after a read returned something.
    pub fn progressed(&mut self) {
        self.wanted = ANY_BYTE;
    }

    fn set(&mut self, socket: BorrowedFd<'_>, low_water: usize) -> io::Result<()> {
        if self.low_water != low_water {
            readable_from(socket, low_water)?;
            self.low_water = low_water;
        }
        Ok(())
    }
}
