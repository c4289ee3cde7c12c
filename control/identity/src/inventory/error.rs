//! Why an inventory or pins file cannot be used.

use crate::document::ConfigErrors;
use std::fmt;

/// Problems that one error tells; a file of another kind would have thousands.
const MAX_PROBLEMS: usize = 50;

/// Why a file of nodes cannot be used: everything that is wrong with it, in one line.
#[derive(Debug)]
pub struct NodeListError(pub ConfigErrors);

impl fmt::Display for NodeListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigErrors { file, errors } = &self.0;
        write!(f, "{} is not usable: ", file.display())?;
        for (index, error) in errors.iter().take(MAX_PROBLEMS).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        match errors.len().saturating_sub(MAX_PROBLEMS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for NodeListError {}

impl From<ConfigErrors> for NodeListError {
    fn from(errors: ConfigErrors) -> Self {
        Self(errors)
    }
}
