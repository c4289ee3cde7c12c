//! Why the store could not do something.

use std::io::ErrorKind;
use std::path::PathBuf;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another process has it.
    #[error(
        "store {} is in use by another process; stop it, or give this one a store of its own",
        .path.display()
    )]
    InUse { path: PathBuf },
    /// It cannot be opened.
    #[error("cannot open the store {}; check path, permissions and free space", .path.display())]
    Open {
        path: PathBuf,
        source: Box<redb::Error>,
    },
    /// The directory does not exist or the file cannot be made.
    #[error("cannot open the store {}; check path, permissions and free space", .path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    /// Its pages make no sense.
    #[error(
        "store {} is damaged; restore a copy, or move it away: nodes ask again for what was in it",
        .path.display()
    )]
    Damaged { path: PathBuf },
    /// It is of another version.
    #[error(
        "store {} has format {found}, this version knows {known}; use the version that wrote it",
        .path.display()
    )]
    Format {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    /// An object in it cannot be read.
    #[error("store {} holds an object {name:?} that cannot be read; restore it", .path.display())]
    Object {
        path: PathBuf,
        name: String,
        source: serde_json::Error,
    },
    /// The disk failed.
    #[error("cannot {step} the store {}; check free space and the disk", .path.display())]
    Disk {
        step: &'static str,
        path: PathBuf,
        source: Box<redb::Error>,
    },
    /// The object cannot be written as JSON.
    #[error("cannot write {name:?} as JSON")]
    Encode {
        name: String,
        source: serde_json::Error,
    },
    /// The serial number was drawn before.
    #[error("the serial number {serial} is in use already; nothing was signed with it")]
    SerialUsed { serial: String },
    /// There is an object of this name.
    #[error("an object named {name:?} exists already")]
    Exists { name: String },
    /// There is no object of this name.
    #[error("there is no object named {name:?}")]
    Missing { name: String },
}

impl StoreError {
    /// Says whether room is what is missing.
    pub(crate) fn is_full(&self) -> bool {
        let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        match self {
            Self::File { source, .. } => full(source.kind()),
            Self::Open { source, .. } | Self::Disk { source, .. } => {
                matches!(&**source, redb::Error::Io(error) if full(error.kind()))
            }
            _ => false,
        }
    }

    /// Says whether the file must be opened again before anything else is written.
    pub(super) fn is_disk(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}
