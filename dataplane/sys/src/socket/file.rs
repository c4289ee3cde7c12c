//! A socket's file, and what becomes of it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use super::place::Place;
use super::unix::Ownership;

/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// The file of a socket that listens. Dropped, it removes the file, unless another file has its
/// name by then, or another process still has the socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    at_end: AtEnd,
}

/// What becomes of a socket's file when this process lets go of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtEnd {
    Remove,
    /// Another process listens, and has it as it was.
    Restore {
        mode: u32,
        owner: Ownership,
    },
    Leave,
}

impl SocketFile {
    pub(super) fn made(path: PathBuf, found: &Metadata) -> Self {
        Self {
            path,
            device: found.dev(),
            inode: found.ino(),
            at_end: AtEnd::Remove,
        }
    }

    pub(super) fn renamed(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    /// The file of a socket that another process made, with another mode and owner from now on, if
    /// they are not these already. Dropped before [`keep`](Self::keep), it is as it was.
    pub(super) fn taken(path: &Path, mode: u32, owner: Ownership) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        let before = Ownership {
            uid: Some(found.uid()),
            gid: Some(found.gid()),
        };
        let old_mode = found.permissions().mode() & PERMISSIONS;
        let mut file = Self::made(path.to_owned(), &found);
        file.at_end = AtEnd::Leave;
        let is = |wanted: Option<u32>, now: u32| wanted.is_none_or(|wanted| wanted == now);
        let owned = is(owner.uid, found.uid()) && is(owner.gid, found.gid());
        if owned && old_mode == mode {
            return Ok(file);
        }
        file.at_end = AtEnd::Restore {
            mode: old_mode,
            owner: before,
        };
        if !owned {
            chown(path, owner.uid, owner.gid)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        Ok(file)
    }

    /// Nobody else has the socket from now on.
    pub fn keep(&mut self) {
        self.at_end = AtEnd::Remove;
    }

    /// Somebody else has the socket from now on.
    pub fn leave(&mut self) {
        self.at_end = AtEnd::Leave;
    }

    /// Where the socket listens.
    pub fn place(&self) -> Place {
        Place::Unix {
            path: self.path.clone(),
            device: self.device,
            inode: self.inode,
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a path still is the file of a socket, that with these numbers.
pub(super) fn is_at(path: &Path, device: u64, inode: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| {
        found.file_type().is_socket() && (found.dev(), found.ino()) == (device, inode)
    })
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !is_at(&self.path, self.device, self.inode) {
            return;
        }
        // What fails here leaves a stale socket, which the next start replaces, or one of another
        // mode, which the process that has it may mend.
        match self.at_end {
            AtEnd::Leave => {}
            AtEnd::Remove => {
                let _ = fs::remove_file(&self.path);
            }
            AtEnd::Restore { mode, owner } => {
                let _ = chown(&self.path, owner.uid, owner.gid);
                let _ = fs::set_permissions(&self.path, fs::Permissions::from_mode(mode));
            }
        }
    }
}
