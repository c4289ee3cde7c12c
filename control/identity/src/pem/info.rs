//! What is shown of a loaded certificate.

use super::FileRef;
use crate::certificate::{CertificateFacts, instant};
use std::path::PathBuf;
use std::time::SystemTime;

/// A loaded certificate, for metrics.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
// For people: its field, whose it is, and when it ends.
#[display("{field}: {subject}, until {}", instant((*not_after).into()))]
pub struct CertificateInfo {
    /// The field that names its file, as in `kubelet.clientCertFile`.
    pub field: String,
    /// The file.
    pub file: PathBuf,
    /// Whose it is.
    pub subject: String,
    /// Its serial number, in hex.
    pub serial: String,
    /// It signs others.
    pub authority: bool,
    /// When it begins.
    pub not_before: SystemTime,
    /// When it ends.
    pub not_after: SystemTime,
}

impl CertificateInfo {
    /// Says whether it is the same certificate, wherever it lies.
    pub fn is_same(&self, other: &Self) -> bool {
        self.serial == other.serial
            && self.subject == other.subject
            && (self.not_before, self.not_after) == (other.not_before, other.not_after)
    }

    /// Takes what metrics show of a certificate.
    pub fn new(file: &FileRef, facts: &CertificateFacts) -> Self {
        Self {
            field: file.field.clone(),
            file: file.path.clone(),
            subject: facts.subject.to_string(),
            serial: facts.serial.clone(),
            authority: facts.authority,
            not_before: facts.not_before.into(),
            not_after: facts.not_after.into(),
        }
    }
}
