//! Takes the descriptors that the service manager passed to this process (sd_listen_fds(3)).

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::SockRef;

/// The first one that is passed (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// Takes the listening sockets among `count` descriptors from 3 on, close-on-exec from now on; at
/// most once in the life of a process. To be called before it listens anywhere itself, with the
/// number that its environment gives for this process.
pub fn passed(count: u16) -> Vec<Option<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Vec::new();
    }
    (FIRST..FIRST + RawFd::from(count)).map(take).collect()
}

fn take(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: the call touches no memory; on a number that is not open it gives EBADF.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: it is open, as the call before says, and nobody closes it here.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    if !SockRef::from(&borrowed).is_listener().unwrap_or(false) {
        return None;
    }
    // SAFETY: it is an open listening socket, and this process has made none yet, as the contract
    // of `passed` says: so it was put there for it when it started. Nothing else owns it, for this
    // is done once for each number.
    Some(unsafe { OwnedFd::from_raw_fd(number) })
}
