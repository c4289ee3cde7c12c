//! Judges the validity of a loaded certificate.

use super::FileRef;
use crate::certificate::{CertificateFacts, instant};
use std::time::{Duration, SystemTime};

/// A certificate that ends sooner than this is worth a word: long enough to renew by hand.
const SOON: Duration = Duration::from_secs(7 * 86_400);

/// Something about a loaded certificate that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{file}: certificate {subject} {}", kind.remedied())]
pub struct Note {
    /// The file that holds it.
    pub file: FileRef,
    /// The certificate's subject.
    pub subject: String,
    /// What it is.
    pub kind: NoteKind,
}

/// What is noteworthy about a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
// What is to be done about it, after the name of the certificate.
pub enum NoteKind {
    /// Its time is over; nobody will accept it.
    #[display("expired {}; renew it", instant((*_0).into()))]
    Expired(SystemTime),
    /// Its time is over within seven days.
    #[display("expires {}; renew it", instant((*_0).into()))]
    ExpiresSoon(SystemTime),
    /// Its time has not come; check the clocks.
    #[display("is valid from {} only; check the clock", instant((*_0).into()))]
    NotYetValid(SystemTime),
}

impl NoteKind {
    /// The same where somebody stands to replace what has expired.
    fn remedied(self) -> String {
        match self {
            Self::Expired(end) => format!("expired {}; replace it", instant(end.into())),
            Self::ExpiresSoon(_) => self.to_string(),
            Self::NotYetValid(start) => {
                let start = instant(start.into());
                format!("is valid from {start}; check the clock")
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
