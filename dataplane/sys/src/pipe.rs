//! Makes pipes that hold spliced bytes between two sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// Smallest size worth asking for, in bytes: one page, which is what the kernel grants at least.
const SMALLEST: usize = 4096;

/// Owns both ends of a non-blocking pipe.
///
/// Whoever splices must know how many bytes are inside: they are bytes of one stream, and a pipe
/// goes back to a pool only when empty.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// Opens a pipe with room for `wanted` bytes, or for as many as this user may have.
    ///
    /// Pipes count against the user's `pipe-user-pages-soft`, and one pipe against `pipe-max-size`,
    /// unless the process has `CAP_SYS_RESOURCE`. Over them the kernel answers `EPERM`; this then
    /// asks for half, and so on, and keeps what the kernel gave the pipe at first. What was granted
    /// is [`Pipe::capacity`]: a caller for whom it is too small should copy instead.
    ///
    /// The capacity counts whole pages; splicing small packets uses a page for each.
    ///
    /// # Errors
    ///
    /// `EMFILE` or `ENFILE` when descriptors ran out.
    pub fn new(wanted: usize) -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let granted = fcntl(&write, FcntlArg::F_GETPIPE_SZ)?;
        let mut capacity = usize::try_from(granted).unwrap_or(0);
        if capacity < wanted {
            let resized = largest_allowed(wanted, capacity, |size| {
                let size = i32::try_from(size).map_err(|_| Errno::EINVAL)?;
                fcntl(&write, FcntlArg::F_SETPIPE_SZ(size))
            });
            capacity = resized.unwrap_or(capacity);
        }
        Ok(Pipe {
            read,
            write,
            capacity,
        })
    }

    /// Says how many bytes fit when every page is full.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Borrows the end that bytes come out of.
    #[must_use]
    pub fn read_end(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Borrows the end that bytes go into.
    #[must_use]
    pub fn write_end(&self) -> BorrowedFd<'_> {
        self.write.as_fd()
    }
}

/// Asks `resize` for `wanted`, then for halves down to more than `present`, until one is granted.
fn largest_allowed(
    wanted: usize,
    present: usize,
    mut resize: impl FnMut(usize) -> Result<i32, Errno>,
) -> Option<usize> {
    let mut size = wanted;
    while size > present.max(SMALLEST) {
        if let Ok(granted) = resize(size) {
            return usize::try_from(granted).ok();
        }
        size /= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipe_of_wanted_size_reports_its_capacity() {
        let pipe = Pipe::new(256 * 1024).unwrap();
        assert!(pipe.capacity() >= SMALLEST);
        let granted = fcntl(pipe.write_end(), FcntlArg::F_GETPIPE_SZ).unwrap();
        assert_eq!(pipe.capacity(), usize::try_from(granted).unwrap());
    }

    #[test]
    fn both_ends_are_non_blocking_and_close_on_exec() {
        let pipe = Pipe::new(SMALLEST).unwrap();
        for end in [pipe.read_end(), pipe.write_end()] {
            let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_NONBLOCK));
            assert_eq!(fcntl(end, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
        }
    }

    #[test]
    fn impossible_size_falls_back_to_what_is_allowed() {
        let pipe = Pipe::new(usize::MAX).unwrap();
        assert!(pipe.capacity() >= SMALLEST);
    }

    #[test]
    fn refused_sizes_are_halved_until_one_is_granted() {
        let mut asked = Vec::new();
        let granted = largest_allowed(1 << 20, 65_536, |size| {
            asked.push(size);
            if size > 262_144 {
                Err(Errno::EPERM)
            } else {
                Ok(i32::try_from(size).unwrap())
            }
        });
        assert_eq!(granted, Some(262_144));
        assert_eq!(asked, [1 << 20, 1 << 19, 1 << 18]);
    }

    #[test]
    fn nothing_granted_keeps_the_present_size() {
        assert_eq!(
            largest_allowed(1 << 20, 65_536, |_| Err(Errno::EPERM)),
            None
        );
    }
}
