//! Reads and writes small files, secret ones as a rule: whole or not at all.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Tells the temporary files of one process apart.
static TURN: AtomicU64 = AtomicU64::new(0);

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its owner: 0600.
    Secret,
    /// Everybody: 0644.
    Public,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Public => 0o644,
        }
    }
}

const DIR_MODE: u32 = 0o700;

/// A step that failed on a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} {}", .path.display())]
pub struct FileFault {
    step: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileFault {
    pub(crate) fn new(step: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            step,
            path: path.to_owned(),
            source,
        }
    }

    /// Says whether the file is not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }

    /// Says whether the file was there already.
    pub fn is_existing(&self) -> bool {
        self.source.kind() == ErrorKind::AlreadyExists
    }
}

/// Makes a directory and its parents, for its owner only; one that exists stays as it is.
///
/// # Errors
/// It cannot be made, or something else is there.
pub fn create_dir(dir: &Path) -> Result<(), FileFault> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(dir)
        .map_err(|error| FileFault::new("create the directory", dir, error))
}

/// Reads a file of text, at most `limit` bytes.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<String>, FileFault> {
    let fail = |error| FileFault::new("read", path, error);
    let open = File::open(path).map_err(fail)?;
    // Room for all of it from the start: a buffer that grows leaves copies of a secret behind.
    let size = open.metadata().map_err(fail)?.len().min(limit);
    let mut text = Zeroizing::new(String::with_capacity(
        usize::try_from(size).unwrap_or(0) + 1,
    ));
    open.take(limit + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > limit {
        let error = io::Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {limit} bytes"),
        );
        return Err(fail(error));
    }
    Ok(text)
}

/// Writes a file that must not exist.
pub(crate) fn create_new(path: &Path, content: &[u8], mode: Mode) -> Result<(), FileFault> {
    let temporary = Temporary::write(path, content, mode)?;
    // A link never replaces what is there, unlike a rename.
    fs::hard_link(&temporary.0, path).map_err(|error| FileFault::new("create", path, error))?;
    drop(temporary);
    sync_parent(path)
}

/// Writes a file in the place of another, or of none.
///
/// # Errors
/// It cannot be written; what was there is as it was.
pub fn replace(path: &Path, content: &[u8], mode: Mode) -> Result<(), FileFault> {
    let temporary = Temporary::write(path, content, mode)?;
    fs::rename(&temporary.0, path).map_err(|error| FileFault::new("replace", path, error))?;
    sync_parent(path)
}

/// Says whether a file of `bytes` could be put in the place of another.
///
/// # Errors
/// There is no room, or the place cannot be written.
pub fn check_room(path: &Path, bytes: usize) -> Result<(), FileFault> {
    Temporary::write(path, &vec![0; bytes], Mode::Secret).map(drop)
}

/// Moves a file over another, or to a name that is free.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileFault> {
    fs::rename(from, to).map_err(|error| FileFault::new("replace", to, error))?;
    sync_parent(to)
}

/// Waits until nobody else changes files beside `path`, and keeps others from it until dropped. The
/// directory is what is locked: the file itself is replaced.
///
/// # Errors
/// The directory cannot be opened or locked.
pub fn lock(path: &Path) -> Result<Flock<File>, FileFault> {
    let parent = parent(path);
    let fail = |error| FileFault::new("lock the directory", parent, error);
    let dir = File::open(parent).map_err(fail)?;
    Flock::lock(dir, FlockArg::LockExclusive).map_err(|(_, errno)| fail(errno.into()))
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> Result<(), FileFault> {
    fs::remove_file(path).map_err(|error| FileFault::new("remove", path, error))?;
    sync_parent(path)
}

/// A temporary file: removed when dropped, which does nothing once it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    /// Writes beside `path`, to disk.
    fn write(path: &Path, content: &[u8], mode: Mode) -> Result<Self, FileFault> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let process = std::process::id();
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let this = Self(path.with_file_name(format!(".{name}.{process}.{turn}.tmp")));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode.bits())
            .open(&this.0)
            .and_then(|mut file| {
                // The umask may have taken bits away.
                file.set_permissions(fs::Permissions::from_mode(mode.bits()))?;
                file.write_all(content)?;
                file.sync_all()
            });
        written.map_err(|error| FileFault::new("write", path, error))?;
        Ok(this)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing to do about a failure: the error that led here is the one to report.
        let _ = fs::remove_file(&self.0);
    }
}

fn sync_parent(path: &Path) -> Result<(), FileFault> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| FileFault::new("sync the directory", parent, error))
}

fn parent(path: &Path) -> &Path {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SmallDisk;

    /// Everything below a directory.
    fn listing(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<String> = entries.map(|e| name(e).to_string_lossy().into()).collect();
        names.sort();
        names
    }

    #[test]
    fn full_or_read_only_disk_leaves_every_file_as_it_was() {
        SmallDisk::run("files on a full disk", 256 << 10, |disk| {
            let dir = disk.path().join("d");
            create_dir(&dir).unwrap();
            let path = dir.join("f");
            replace(&path, b"old", Mode::Secret).unwrap();
            let new = vec![b'n'; 64 << 10];
            let check = |word: &str| {
                for (step, result) in [
                    ("replace", replace(&path, &new, Mode::Secret)),
                    ("create", create_new(&dir.join("g"), &new, Mode::Secret)),
                    ("room", check_room(&path, new.len())),
                ] {
                    let error = result.unwrap_err();
                    assert!(
                        error.to_string().contains("cannot write /"),
                        "{step}: {error}"
                    );
                    let source = std::error::Error::source(&error).unwrap().to_string();
                    assert!(source.contains(word), "{step}: {source}");
                }
                assert_eq!(listing(&dir), ["f"], "nothing half-written stays");
                assert_eq!(&*read(&path, 100).unwrap(), "old");
            };
            let filled = disk.fill();
            check("No space left");
            drop(filled);
            disk.read_only(true);
            check("Read-only file system");
            for result in [rename(&path, &dir.join("g")), remove(&path)] {
                assert!(result.is_err());
            }
            assert!(create_dir(&dir.join("sub")).is_err());
            disk.read_only(false);
            replace(&path, &new, Mode::Secret).unwrap();
            assert_eq!(fs::read(&path).unwrap(), new);
        });
    }
}
