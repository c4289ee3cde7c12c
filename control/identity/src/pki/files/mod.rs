//! Changes a set of files so that either all of the change is there or none of it.
//!
//! All new files are written and synced in a directory of their own beside the old ones. Renaming
//! that directory commits the change; then each file is moved to its place. Whoever opens the tree
//! next finishes a change that was committed, and discards one that was not.

use super::disk::{Disk, PUBLIC_MODE, SECRET_MODE};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Holds a change that is being written.
const STAGED: &str = ".eyesplice-staged";
/// Holds a change that must be finished.
const COMMITTED: &str = ".eyesplice-committed";
/// In it, the new files.
const NEW: &str = "new";
/// In it, the names of the files to remove, one on a line.
const REMOVE: &str = "remove";

/// How many existing files an error names; the rest is counted.
const NAMED_FILES: usize = 5;
/// How deep the tree is: a rotation's `rotation/etcd/ca.key`, with room.
const MAX_DEPTH: usize = 8;

/// Why files were not written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Files would have been overwritten.
    #[error(
        "{} has {} already ({count} in all); choose another directory, or overwrite with --force",
        .dir.display(), .named.join(", ")
    )]
    Exists {
        /// The directory.
        dir: PathBuf,
        /// The first few of them.
        named: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// Another process changes the same files.
    #[error("another eyesplice process works on {}; wait for it and try again", .0.display())]
    Locked(PathBuf),
    /// A step failed, and nothing was changed.
    #[error("cannot {step} {}; nothing was changed", .path.display())]
    Io {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A step failed after the change was decided.
    #[error(
        "cannot {step} {}; remove the cause and run any pki command, which finishes the change",
        .path.display()
    )]
    Unfinished {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One file to write.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the tree.
    pub(super) name: String,
    contents: Contents,
}

#[derive(derive_more::Debug)]
enum Contents {
    #[debug("{_0:?}")]
    Public(String),
    #[debug("(redacted)")]
    Secret(Zeroizing<String>),
}

impl File {
    /// A file that everybody may read.
    pub(super) fn public(name: String, contents: String) -> Self {
        Self {
            name,
            contents: Contents::Public(contents),
        }
    }

    /// A file for its owner only.
    pub(super) fn secret(name: String, contents: Zeroizing<String>) -> Self {
        Self {
            name,
            contents: Contents::Secret(contents),
        }
    }

    pub(super) fn text(&self) -> &str {
        match &self.contents {
            Contents::Public(text) => text,
            Contents::Secret(text) => text,
        }
    }

    fn mode(&self) -> u32 {
        match self.contents {
            Contents::Public(_) => PUBLIC_MODE,
            Contents::Secret(_) => SECRET_MODE,
        }
    }
}

/// What becomes of a tree's files.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// New or replaced.
    pub(super) files: Vec<File>,
    /// Gone afterwards.
    pub(super) remove: Vec<String>,
}

impl Change {
    /// Takes nothing away.
    pub(super) fn writing(files: Vec<File>) -> Self {
        Self {
            files,
            remove: Vec::new(),
        }
    }
}

/// Refuses if any of `names` is in `dir`, unless `force`.
pub(super) fn refuse_existing(dir: &Path, names: &[String], force: bool) -> Result<(), FileError> {
    if force {
        return Ok(());
    }
    // symlink_metadata: a dangling link is something that somebody put there, too.
    let exists = |name: &&String| fs::symlink_metadata(dir.join(name.as_str())).is_ok();
    let existing: Vec<&String> = names.iter().filter(exists).collect();
    if existing.is_empty() {
        return Ok(());
    }
    Err(FileError::Exists {
        dir: dir.to_owned(),
        named: existing
            .iter()
            .take(NAMED_FILES)
            .map(|name| (*name).clone())
            .collect(),
        count: existing.len(),
    })
}

/// Makes the change, or leaves everything as it was.
pub(super) fn apply(disk: &dyn Disk, dir: &Path, change: &Change) -> Result<(), FileError> {
    let staged = dir.join(STAGED);
    let result = stage(disk, dir, &staged, change);
    if result.is_err() {
        // Nothing to do about a failure: the error that led here is the one to report, and whoever
        // opens the tree next discards what is left.
        let _ = disk.remove_all(&staged);
    }
    result?;
    finish(disk, dir)
}

/// Writes the new files beside the old ones, then commits.
fn stage(disk: &dyn Disk, dir: &Path, staged: &Path, change: &Change) -> Result<(), FileError> {
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Io { step, path, source }
    };
    let created = disk.create_dir(dir);
    created.map_err(failed("create the directory", dir))?;
    for file in &change.files {
        let target = dir.join(&file.name);
        if fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir()) {
            let source = io::Error::from(ErrorKind::IsADirectory);
            return Err(failed("replace", &target)(source));
        }
        for parent in [dir.to_owned(), staged.join(NEW)] {
            let parent = parent.join(&file.name);
            let parent = parent.parent().unwrap_or(dir);
            let created = disk.create_dir(parent);
            created.map_err(failed("create the directory", parent))?;
        }
        let path = staged.join(NEW).join(&file.name);
        let written = disk.write(&path, file.text().as_bytes(), file.mode());
        written.map_err(failed("write", &path))?;
    }
    let path = staged.join(REMOVE);
    disk.create_dir(staged)
        .and_then(|()| disk.write(&path, change.remove.join("\n").as_bytes(), SECRET_MODE))
        .map_err(failed("write", &path))?;
    for parent in directories(&staged.join(NEW), change) {
        let synced = disk.sync_dir(&parent);
        synced.map_err(failed("sync the directory", &parent))?;
    }
    let synced = disk.sync_dir(staged);
    synced.map_err(failed("sync the directory", staged))?;
    let committed = dir.join(COMMITTED);
    let renamed = disk.rename(staged, &committed);
    renamed.map_err(failed("commit the change to", dir))
}

/// Finishes a change that was committed, and discards one that was not.
pub(super) fn recover(disk: &dyn Disk, dir: &Path) -> Result<(), FileError> {
    let staged = dir.join(STAGED);
    if fs::symlink_metadata(&staged).is_ok() {
        disk.remove_all(&staged).map_err(|source| FileError::Io {
            step: "discard",
            path: staged,
            source,
        })?;
    }
    if fs::symlink_metadata(dir.join(COMMITTED)).is_ok() {
        finish(disk, dir)?;
    }
    Ok(())
}

/// Moves committed files to their places. May be repeated at any point.
fn finish(disk: &dyn Disk, dir: &Path) -> Result<(), FileError> {
    let committed = dir.join(COMMITTED);
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Unfinished { step, path, source }
    };
    // The commit itself must be on disk before its first effect.
    disk.sync_dir(dir)
        .map_err(failed("sync the directory", dir))?;
    let new = committed.join(NEW);
    let mut names = Vec::new();
    list(&new, Path::new(""), 0, &mut names).map_err(failed("list", &new))?;
    names.sort();
    let mut touched = BTreeSet::from([dir.to_owned()]);
    for name in &names {
        let to = dir.join(name);
        let moved = disk.rename(&new.join(name), &to);
        moved.map_err(failed("move a file to", &to))?;
        touched.extend(to.parent().map(Path::to_owned));
    }
    let list = committed.join(REMOVE);
    let remove = match fs::read_to_string(&list) {
        Ok(text) => text,
        // Removed already, by somebody who then crashed.
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed("read", &list)(error)),
    };
    for name in remove.lines() {
        let path = dir.join(name);
        match disk.remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error));
            }
            _ => touched.extend(path.parent().map(Path::to_owned)),
        }
    }
    for parent in touched.iter().filter(|parent| parent.is_dir()) {
        let synced = disk.sync_dir(parent);
        synced.map_err(failed("sync the directory", parent))?;
    }
    for name in remove.lines() {
        remove_empty(dir, name);
    }
    let removed = disk.remove_all(&committed);
    removed.map_err(failed("remove", &committed))
}

/// Removes the directories that a removed file leaves empty. One that stays does no harm, so nobody
/// hears of it.
fn remove_empty(dir: &Path, name: &str) {
    for parent in Path::new(name).ancestors().skip(1) {
        if parent.as_os_str().is_empty() || fs::remove_dir(dir.join(parent)).is_err() {
            return;
        }
    }
}

/// The directories that the new files are in.
fn directories(new: &Path, change: &Change) -> BTreeSet<PathBuf> {
    let parent = |file: &File| new.join(&file.name).parent().map(Path::to_owned);
    change.files.iter().filter_map(parent).collect()
}

/// Lists files below `base`, relative to it.
fn list(base: &Path, below: &Path, depth: usize, names: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs::read_dir(base.join(below)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if depth == MAX_DEPTH {
                return Err(io::Error::from(ErrorKind::InvalidInput));
            }
            list(base, &name, depth + 1, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
