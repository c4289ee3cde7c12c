//! Listens on a UNIX socket whose file only the intended user can ever open.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use super::file::SocketFile;
use super::listen::backlog_argument;
use super::option::{PeerCredentials, peer_credentials};

/// Whom a socket file belongs to; `None` leaves this process's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
}

/// Why a UNIX socket could not be listened on.
#[derive(Debug, Error)]
pub enum ListenUnixError {
    /// Another process accepts there.
    #[error("{} listens on {path}; stop it or configure another path", Who(.owner.as_ref()))]
    InUse {
        /// The configured path.
        path: PathBuf,
        /// Who listens, if it took a connection.
        owner: Option<PeerCredentials>,
    },
    /// Another process is about to listen there.
    #[error("another process is just about to listen on {path}; start one of them")]
    Contended {
        /// The configured path.
        path: PathBuf,
    },
    /// Something else has the name; it is not ours to remove.
    #[error("{path} exists and is not a socket; remove it or configure another path")]
    NotASocket {
        /// The configured path.
        path: PathBuf,
    },
    /// The path ends in `..` or `/`.
    #[error("{path} does not name a file")]
    NoFileName {
        /// The configured path.
        path: PathBuf,
    },
    /// The file system or the socket refused.
    #[error("{attempt} {path}")]
    Refused {
        /// What was attempted, with "cannot" before it.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Names the process that has a socket.
struct Who<'a>(Option<&'a PeerCredentials>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // The number of a process that this one cannot see, or of none that still runs.
            Some(PeerCredentials { pid: 0, uid, .. }) => {
                write!(f, "another process (uid {uid}, of another PID namespace)")
            }
            Some(PeerCredentials { pid, uid, .. }) => {
                write!(f, "another process (pid {pid}, uid {uid})")
            }
            None => f.write_str("another process"),
        }
    }
}

/// Bytes in a stream, or messages with their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// SOCK_STREAM.
    Stream,
    /// SOCK_SEQPACKET.
    Messages,
}

impl Kind {
    pub(super) fn socket(self) -> io::Result<Socket> {
        let kind = match self {
            Self::Stream => Type::STREAM,
            Self::Messages => Type::SEQPACKET,
        };
        Socket::new_raw(Domain::UNIX, kind.nonblocking().cloexec(), None)
    }
}

/// Listens on `path`, non-blocking and close-on-exec, with exactly `mode` and `ownership`.
///
/// The socket is made under a temporary name next to `path`, gets its mode and owner there, and is
/// renamed when it listens: nobody can connect who may not, not for a moment, and a client never
/// meets a socket that refuses. A stale socket (nobody accepts on it) is replaced; anything else at
/// `path` is left alone. Of two processes that start at the same moment one has the path: the look
/// and the rename are made under a lock beside it. The directory must exist. Share the descriptor
/// between workers by cloning it.
///
/// # Errors
///
/// See [`ListenUnixError`].
pub fn listen_unix(
    path: &Path,
    mode: u32,
    ownership: Ownership,
    backlog: u32,
) -> Result<(OwnedFd, SocketFile), ListenUnixError> {
    listen(path, Kind::Stream, mode, ownership, backlog)
}

/// The same with a socket that keeps the bounds of messages (SOCK_SEQPACKET), for this process's
/// own user alone.
///
/// # Errors
///
/// See [`ListenUnixError`].
pub fn listen_messages(
    path: &Path,
    backlog: u32,
) -> Result<(OwnedFd, SocketFile), ListenUnixError> {
    listen(path, Kind::Messages, 0o600, Ownership::default(), backlog)
}

fn listen(
    path: &Path,
    kind: Kind,
    mode: u32,
    ownership: Ownership,
    backlog: u32,
) -> Result<(OwnedFd, SocketFile), ListenUnixError> {
    let refused = |attempt, path: &Path| {
        let path = path.to_owned();
        move |source| ListenUnixError::Refused {
            attempt,
            path,
            source,
        }
    };
    // The temporary name is short; clients need the real one to fit too.
    let real = SockAddr::unix(path).map_err(refused("cannot use the socket path", path))?;
    let temporary = temporary_name(path)?;
    let lock = match Lock::beside(path) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            return Err(ListenUnixError::Contended {
                path: path.to_owned(),
            });
        }
        // The bind would fail for the same reason, and says it better.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(refused("cannot bind", &temporary)(error));
        }
        Err(error) => return Err(refused("cannot make a lock file beside", path)(error)),
    };
    require_free(path, kind, &real)?;
    let address =
        SockAddr::unix(&temporary).map_err(refused("cannot use the socket path", &temporary))?;
    let socket = kind
        .socket()
        .map_err(refused("cannot make a socket for", path))?;

    // Before the bind the mode of the descriptor is the mode that the file will be made with.
    fchmod(&socket, Mode::from_bits_truncate(mode))
        .map_err(io::Error::from)
        .map_err(refused("cannot set the mode of", path))?;
    socket
        .bind(&address)
        .map_err(refused("cannot bind", &temporary))?;
    let made = fs::symlink_metadata(&temporary).map_err(refused("cannot inspect", &temporary))?;
    // From here on an error removes the file.
    let mut file = SocketFile::made(temporary, &made);
    // A sandbox may deny the call, and most have no use for it.
    if ownership != Ownership::default() {
        chown(file.path(), ownership.uid, ownership.gid)
            .map_err(refused("cannot set the owner of", file.path()))?;
    }
    // Again: the umask may have taken bits away.
    fs::set_permissions(file.path(), fs::Permissions::from_mode(mode))
        .map_err(refused("cannot set the mode of", file.path()))?;
    socket
        .listen(backlog_argument(backlog))
        .map_err(refused("cannot listen on", file.path()))?;
    fs::rename(file.path(), path).map_err(refused("cannot rename a socket to", path))?;
    file.renamed(path);
    drop(lock);
    Ok((socket.into(), file))
}

/// Keeps others from replacing a socket between the look at it and the rename; gone when dropped.
struct Lock {
    path: PathBuf,
    /// The kernel takes the lock off when this is closed, however the process ends.
    _file: File,
}

impl Lock {
    /// Takes the lock beside a socket; `None`: another process has it.
    fn beside(path: &Path) -> io::Result<Option<Self>> {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".lock");
        let path = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Who had it before removed the file, perhaps between our two calls: then this locks
        // nothing.
        let opened = file.metadata()?;
        let current = fs::symlink_metadata(&path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (opened.dev(), opened.ino()));
        Ok(current.then_some(Self { path, _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock itself goes; one that is left behind is taken like a new one.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes sure that `path` is not there, or is a socket on which nobody accepts.
fn require_free(path: &Path, kind: Kind, address: &SockAddr) -> Result<(), ListenUnixError> {
    let refused = |attempt| {
        let path = path.to_owned();
        move |source| ListenUnixError::Refused {
            attempt,
            path,
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(refused("cannot inspect")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ListenUnixError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let socket = kind
        .socket()
        .map_err(refused("cannot make a socket to look at"))?;
    let in_use = |owner| ListenUnixError::InUse {
        path: path.to_owned(),
        owner,
    };
    match socket.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        // Removed between the two looks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Listens, with a full backlog.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(in_use(None)),
        Err(error) => Err(refused("cannot find out who listens on")(error)),
        Ok(()) => Err(in_use(peer_credentials(socket.as_fd()).ok())),
    }
}

/// A short name in the same directory: a socket's path has 107 bytes at most.
fn temporary_name(path: &Path) -> Result<PathBuf, ListenUnixError> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if path.file_name().is_none() {
        return Err(ListenUnixError::NoFileName {
            path: path.to_owned(),
        });
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    Ok(path.with_file_name(format!(".{:x}.{count:x}", std::process::id())))
}

#[cfg(test)]
#[path = "unix_tests.rs"]
mod tests;
