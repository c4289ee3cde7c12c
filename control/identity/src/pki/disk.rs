//! The changes to a file system that a tree's commit is made of, so that tests can let each fail.

use super::files::FileError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

const DIR_MODE: u32 = 0o700;
pub(super) const SECRET_MODE: u32 = 0o600;
pub(super) const PUBLIC_MODE: u32 = 0o644;

/// How often the lock is tried, and how long between: a renewal of a large tree takes a second.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// What changes a directory.
pub(super) trait Disk {
    /// Makes a directory and those above it, for their owner only.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file that must not exist, and syncs it.
    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()>;
    /// Moves a file or directory over what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all in it; there may be none.
    fn remove_all(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Os;

impl Disk for Os {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(path)
    }

    fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        // The mode holds from the first moment; the second call undoes the umask.
        let mut open = OpenOptions::new();
        let mut out = open.write(true).create_new(true).mode(mode).open(path)?;
        out.set_permissions(fs::Permissions::from_mode(mode))?;
        out.write_all(bytes)?;
        out.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_all(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }
}

/// Keeps other processes of ours out of a directory, until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held, not read")] Flock<fs::File>);

impl Lock {
    /// Locks a directory that exists; leaves no file behind.
    pub(super) fn take(dir: &Path) -> Result<Self, FileError> {
        let failed = |source| FileError::Io {
            step: "open",
            path: dir.to_owned(),
            source,
        };
        let mut file = fs::File::open(dir).map_err(failed)?;
        for _ in 0..LOCK_TRIES {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Self(lock)),
                Err((back, Errno::EWOULDBLOCK)) => file = back,
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Err(FileError::Locked(dir.to_owned()))
    }
}
