//! Names a file by the field of the configuration that does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file, and the field of the configuration that names it.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{} ({field})", path.display())]
pub struct FileRef {
    /// As in `kubelet.caFile`.
    pub field: String,
    /// Where it is.
    pub path: PathBuf,
}

impl FileRef {
    /// Names a file by field and path.
    pub fn new(field: impl Into<String>, path: impl AsRef<Path>) -> Self {
        Self {
            field: field.into(),
            path: path.as_ref().to_owned(),
        }
    }
}

/// Where files are, without their fields.
pub fn paths<'a>(files: impl IntoIterator<Item = &'a FileRef>) -> BTreeSet<PathBuf> {
    files.into_iter().map(|file| file.path.clone()).collect()
}
