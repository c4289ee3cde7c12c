//! Names a file by the field of the configuration that does.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file, and the field of the configuration that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path.display(), self.field)
    }
}
