//! Where lines go: a descriptor that was inherited, or a path.
//!
//! An inherited descriptor shares its file description with whoever else has it, so its flags are left alone,
//! and a write to it may block for ever. A path is opened here, without blocking: a FIFO that nobody reads is
//! opened later, and one whose reader stalls does not hold up its writer.

use super::limits::{FILE_CHUNK, PIPE_CHUNK};
use nix::errno::Errno;
use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Permission bits of a file that is created: an audit log names users, pods and times.
const FILE_MODE: u32 = 0o600;

/// Where lines go.
#[derive(Debug)]
pub enum Target {
    /// A descriptor that the process was started with.
    Inherited(File),
    /// A path; no file: a FIFO that nobody reads.
    Path {
        /// It.
        path: PathBuf,
        /// What it opened.
        open: Option<Open>,
    },
    /// What a test lets it take.
    #[cfg(any(test, feature = "testing"))]
    Scripted(super::testing::Script),
}

/// An open path.
#[derive(Debug)]
pub struct Open {
    file: File,
    regular: bool,
    /// The length of the file if it ended within a line: that of a process that was killed or of a
    /// full disk, or that another process is just writing.
    torn: Option<u64>,
}

impl Target {
    /// Standard output.
    ///
    /// # Errors
    /// It is closed.
    pub fn stdout() -> io::Result<Self> {
        Ok(Self::Inherited(
            io::stdout().as_fd().try_clone_to_owned()?.into(),
        ))
    }

    /// Standard error.
    pub(crate) fn stderr() -> io::Result<Self> {
        Ok(Self::Inherited(
            io::stderr().as_fd().try_clone_to_owned()?.into(),
        ))
    }

    /// Opens a path for appending; makes a file where there is none.
    ///
    /// # Errors
    /// It cannot be opened or made.
    pub fn path(path: &Path) -> io::Result<Self> {
        let open = match open(path) {
            Err(error) if lacks_reader(path, &error) => None,
            opened => Some(opened?),
        };
        Ok(Self::Path {
            path: path.to_owned(),
            open,
        })
    }

    /// Whether it waits for somebody to open its other end.
    pub fn awaits_reader(&self) -> bool {
        matches!(self, Self::Path { open: None, .. })
    }

    /// Opens the path again, so that lines go to the file that has the name now; on failure the open file stays
    /// in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Inherited(_) => Ok(()),
            Self::Path { path, open } => {
                *open = match self::open(path) {
                    Err(error) if lacks_reader(path, &error) => None,
                    opened => Some(opened?),
                };
                Ok(())
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Scripted(script) => script.reopen(),
        }
    }

    /// Writes once. `WouldBlock`: see [`wait`](Self::wait).
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Inherited(file) => file.write(bytes),
            Self::Path { path, open } => {
                let now = match open {
                    Some(now) => now,
                    None => open.insert(self::open(path)?),
                };
                if let Some(length) = now.torn {
                    // One that grew has its line's end from the process that began it.
                    if now.file.metadata()?.len() == length {
                        now.file.write_all(b"\n")?;
                    }
                    now.torn = None;
                }
                let wrote = now.file.write(bytes);
                if !now.regular && wrote.as_ref().is_err_and(is_broken) {
                    // Its next reader is found by opening it again.
                    *open = None;
                }
                wrote
            }
            #[cfg(any(test, feature = "testing"))]
            Self::Scripted(script) => script.write(bytes),
        }
    }

    /// Waits until a write would not block, or for `patience`.
    pub(super) fn wait(&self, patience: Duration) {
        let file = match self {
            Self::Inherited(file)
            | Self::Path {
                open: Some(Open { file, .. }),
                ..
            } => file,
            _ => return std::thread::sleep(patience),
        };
        let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        // Whatever it says, the next write tells.
        let _ = poll(&mut fds, timeout);
    }

    /// What one write may have.
    pub(super) fn chunk(&self) -> usize {
        match self {
            Self::Path {
                open: Some(Open { regular: true, .. }),
                ..
            } => FILE_CHUNK,
            _ => PIPE_CHUNK,
        }
    }
}

/// Whether the error of a write says that its reader is gone.
pub(super) fn is_broken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

/// Whether opening failed because nobody has the other end of a FIFO.
fn lacks_reader(path: &Path, error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENXIO as i32)
        && fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .custom_flags(O_NONBLOCK | O_NOCTTY)
        .open(path)?;
    let regular = file.metadata()?.is_file();
    Ok(Open {
        torn: match regular {
            true => torn_at(path).ok().flatten(),
            false => None,
        },
        file,
        regular,
    })
}

/// The length of a file that ends within a line. One that may not be read counts as whole.
fn torn_at(path: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(None);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(length - 1))?;
    file.read_exact(&mut last)?;
    Ok((last != *b"\n").then_some(length))
}
