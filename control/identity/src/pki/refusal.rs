//! Why a certificate that was signed elsewhere is not accepted.

use std::fmt;
use std::path::PathBuf;

/// Why a certificate that was given is not accepted, and what to ask its CA for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where the certificate stands.
    pub(super) given: Option<Place>,
    /// What is wrong.
    pub(super) problem: String,
}

/// One certificate of one file, by subject.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{}, certificate {number} ({subject})", file.display())]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) number: usize,
    pub(super) subject: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.given {
            Some(place) => write!(f, "{place} {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}
