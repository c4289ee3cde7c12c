//! Writes a set of files so that either all are there or none is.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const DIR_MODE: u32 = 0o700;
const SECRET_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// How many existing files an error names; the rest is counted.
const NAMED_FILES: usize = 5;

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
    /// A step failed.
    #[error("cannot {step} {}", .path.display())]
    Io {
        /// What was attempted.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One file to write.
pub(super) struct File {
    pub(super) name: String,
    contents: Contents,
}

enum Contents {
    Public(String),
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

    fn bytes(&self) -> &[u8] {
        match &self.contents {
            Contents::Public(text) => text.as_bytes(),
            Contents::Secret(text) => text.as_bytes(),
        }
    }

    fn mode(&self) -> u32 {
        match self.contents {
            Contents::Public(_) => PUBLIC_MODE,
            Contents::Secret(_) => SECRET_MODE,
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

/// Writes all files under temporary names, syncs them, then renames them all.
pub(super) fn write_all(dir: &Path, files: &[File]) -> Result<(), FileError> {
    let failed = |step, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Io { step, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(dir)
        .map_err(failed("create the directory", dir))?;
    let mut temporary = Vec::with_capacity(files.len());
    for file in files {
        let path = dir.join(format!(".{}.{}.tmp", file.name, std::process::id()));
        let written = write_synced(&path, file);
        temporary.push(Temporary(path));
        if let (Err(source), Some(Temporary(path))) = (written, temporary.last()) {
            return Err(failed("write", path)(source));
        }
    }
    for (file, from) in files.iter().zip(&temporary) {
        let to = dir.join(&file.name);
        fs::rename(&from.0, &to).map_err(failed("move a file to", &to))?;
    }
    let sync = fs::File::open(dir).and_then(|dir| dir.sync_all());
    sync.map_err(failed("sync the directory", dir))
}

/// A temporary file: removed when dropped, which does nothing once it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing to do about a failure: the error that led here is the one to report.
        let _ = fs::remove_file(&self.0);
    }
}

fn write_synced(path: &Path, file: &File) -> io::Result<()> {
    // The mode holds from the first moment; the second call undoes the umask.
    let mut open = OpenOptions::new();
    let mut out = open
        .write(true)
        .create_new(true)
        .mode(file.mode())
        .open(path)?;
    out.set_permissions(fs::Permissions::from_mode(file.mode()))?;
    out.write_all(file.bytes())?;
    out.sync_all()
}
