//! Where an old and a new process of a kind meet: a socket in a directory of their own user.

use super::error::TakeoverError;
use eyesplice_sys::socket::{SocketFile, listen_messages};
use nix::unistd::geteuid;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Processes that wait to ask.
const BACKLOG: u32 = 8;

/// Below the service manager's runtime directory.
const DEFAULT: &str = "handover";

/// A directory, mode 0700, and the socket in it.
#[derive(Clone, Debug)]
pub struct Meeting {
    path: PathBuf,
}

impl Meeting {
    /// In this directory, or one below the service manager's runtime directory; none without
    /// either.
    /// `kind` is what the process is.
    pub fn of(directory: Option<PathBuf>, kind: &str) -> Option<Self> {
        let directory = directory.or_else(|| {
            let all = std::env::var_os("RUNTIME_DIRECTORY")?;
            // Several have a colon between them (systemd.exec(5)).
            let first = all
                .to_str()?
                .split(':')
                .next()
                .filter(|first| !first.is_empty())?;
            Some(Path::new(first).join(DEFAULT))
        })?;
        Some(Self {
            path: directory.join(format!("{kind}.sock")),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Listens there; makes the directory where there is none.
    pub(super) fn listen(&self) -> Result<(OwnedFd, SocketFile), TakeoverError> {
        self.checked()?;
        listen_messages(&self.path, BACKLOG).map_err(|source| TakeoverError::Listen {
            path: self.path.clone(),
            source,
        })
    }

    /// Makes sure that nobody else can come here.
    fn checked(&self) -> Result<(), TakeoverError> {
        let directory = self.directory();
        let failed = |source: io::Error| TakeoverError::Directory {
            path: directory.to_owned(),
            source,
        };
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
        let found = fs::symlink_metadata(directory).map_err(failed)?;
        let why = if !found.is_dir() {
            "it is no directory"
        } else if found.uid() != geteuid().as_raw() {
            "it belongs to another user"
        } else if found.mode() & 0o077 != 0 {
            "others than its owner have access; set mode 0700"
        } else {
            return Ok(());
        };
        Err(failed(io::Error::other(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn directory_is_made_for_its_owner_alone_and_one_that_is_open_to_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("inner");
        let meeting = Meeting::of(Some(inner.clone()), "gateway").unwrap();
        let (_socket, file) = meeting.listen().unwrap();
        assert_eq!(file.path(), meeting.path());
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
        drop(file);
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o750)).unwrap();
        let error = meeting.listen().unwrap_err();
        assert!(matches!(error, TakeoverError::Directory { .. }), "{error}");
    }
}
