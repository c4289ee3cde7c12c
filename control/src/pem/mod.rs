//! Loads certificates, keys and CA bundles from PEM files.
//!
//! Every error names the file, the configuration field and the remedy. What is allowed but soon
//! fatal (an expired certificate) comes back as a value: [`Note`].

mod bundle;
mod credential;
mod error;
mod read;
mod write;

pub use bundle::CaBundle;
pub use credential::{Credential, Role};
pub use error::{Fault, PemError};
pub use read::PrivateKey;
pub(crate) use read::{certificates, certificates_of, key_of, read, text};
pub(crate) use write::{encode, encode_key, encode_request};

use crate::identity::CertificateFacts;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A certificate that ends sooner than this is worth a word: long enough to renew by hand.
const SOON: Duration = Duration::from_secs(7 * 86_400);

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

/// Something about a loaded certificate that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The file that holds it.
    pub file: FileRef,
    /// The certificate's subject.
    pub subject: String,
    /// What it is.
    pub kind: NoteKind,
}

/// What is noteworthy about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Its time is over; nobody will accept it.
    Expired(SystemTime),
    /// Its time is over within seven days.
    ExpiresSoon(SystemTime),
    /// Its time has not come; check the clocks.
    NotYetValid(SystemTime),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            subject,
            kind,
        } = self;
        let at = |time: SystemTime| crate::identity::instant(time.into());
        match *kind {
            NoteKind::Expired(end) => {
                write!(
                    f,
                    "{file}: certificate {subject} expired {}; replace it",
                    at(end)
                )
            }
            NoteKind::ExpiresSoon(end) => {
                write!(
                    f,
                    "{file}: certificate {subject} expires {}; renew it",
                    at(end)
                )
            }
            NoteKind::NotYetValid(start) => {
                let start = at(start);
                write!(
                    f,
                    "{file}: certificate {subject} is valid from {start}; check the clock"
                )
            }
        }
    }
}

/// Judges the validity of one certificate at `now`.
pub fn note(file: &FileRef, facts: &CertificateFacts, now: SystemTime) -> Option<Note> {
    let (start, end) = (
        SystemTime::from(facts.not_before),
        SystemTime::from(facts.not_after),
    );
    let kind = if now < start {
        NoteKind::NotYetValid(start)
    } else if now > end {
        NoteKind::Expired(end)
    } else if now.checked_add(SOON).is_some_and(|soon| soon > end) {
        NoteKind::ExpiresSoon(end)
    } else {
        return None;
    };
    Some(Note {
        file: file.clone(),
        subject: facts.subject.to_string(),
        kind,
    })
}

#[cfg(test)]
mod tests;
