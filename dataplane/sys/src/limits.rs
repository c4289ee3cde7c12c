//! Reads and raises what the system allows this process.

use std::fs;
use std::io;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

/// A resource limit: what counts now, and how far the process may raise it. `u64::MAX` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What the kernel enforces.
    pub soft: u64,
    /// How far `soft` may go without a privilege.
    pub hard: u64,
}

/// Raises the number of open files (RLIMIT_NOFILE) to what the process may have; returns the
/// result.
///
/// The soft limit is low by tradition because of select(2), which nothing here uses.
///
/// # Errors
///
/// `EPERM` when a sandbox denies prlimit(2).
pub fn raise_open_files() -> io::Result<Limit> {
    raise(Resource::RLIMIT_NOFILE)
}

/// Reads the limit of open files (RLIMIT_NOFILE).
///
/// # Errors
///
/// `EPERM` when a sandbox denies prlimit(2).
pub fn open_files() -> io::Result<Limit> {
    read(Resource::RLIMIT_NOFILE)
}

/// Raises the locked memory (RLIMIT_MEMLOCK) to what the process may have; returns the result.
///
/// # Errors
///
/// `EPERM` when a sandbox denies prlimit(2).
pub fn raise_locked_memory() -> io::Result<Limit> {
    raise(Resource::RLIMIT_MEMLOCK)
}

/// Counts the descriptors that this process has open.
///
/// # Errors
///
/// Where /proc is not mounted, or no descriptor is left to look with.
pub fn open_descriptors() -> io::Result<usize> {
    // The listing has one open itself.
    Ok(fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// Reads the limit of locked memory in bytes (RLIMIT_MEMLOCK), against which rings count for users
/// without CAP_IPC_LOCK: see [`crate::probe::UringShortage`].
///
/// # Errors
///
/// `EPERM` when a sandbox denies prlimit(2).
pub fn locked_memory() -> io::Result<Limit> {
    read(Resource::RLIMIT_MEMLOCK)
}

fn raise(resource: Resource) -> io::Result<Limit> {
    let limit = read(resource)?;
    if limit.soft < limit.hard {
        setrlimit(resource, limit.hard, limit.hard)?;
    }
    read(resource)
}

fn read(resource: Resource) -> io::Result<Limit> {
    const { assert!(RLIM_INFINITY == u64::MAX) };
    let (soft, hard) = getrlimit(resource)?;
    Ok(Limit { soft, hard })
}

/// Reads how many pages the pipes of one user may have together without CAP_SYS_RESOURCE or
/// CAP_SYS_ADMIN; above it a new pipe gets one or two pages. 0 is no limit.
///
/// # Errors
///
/// Where /proc is not mounted.
pub fn pipe_user_pages() -> io::Result<u64> {
    sysctl("/proc/sys/fs/pipe-user-pages-soft")
}

pub(crate) fn sysctl(path: &str) -> io::Result<u64> {
    fs::read_to_string(path)?
        .trim()
        .parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_soft_limit_equals_the_hard_limit() {
        let limit = raise_open_files().unwrap();
        assert_eq!(limit.soft, limit.hard);
        assert_eq!(open_files().unwrap(), limit);
    }

    #[test]
    fn raised_locked_memory_equals_the_hard_limit() {
        let limit = raise_locked_memory().unwrap();
        assert_eq!(limit.soft, limit.hard);
    }

    #[test]
    fn open_descriptors_count_what_is_opened() {
        let before = open_descriptors().unwrap();
        let held: Vec<_> = (0..50)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        // Other tests open and close some meanwhile.
        assert!(open_descriptors().unwrap() + 20 >= before + held.len());
    }

    #[test]
    fn pipe_limits_are_readable() {
        pipe_user_pages().unwrap();
        locked_memory().unwrap();
    }
}
