//! A file of CA certificates.

use super::{Fault, FileRef, Note, PemError, note, read};
use crate::certificate::CertificateFacts;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use std::time::SystemTime;

/// The trust anchors of one file.
#[derive(Clone, Debug)]
pub struct CaBundle {
    /// The file.
    pub file: FileRef,
    /// Ready for a verifier; never empty.
    pub roots: Arc<RootCertStore>,
    /// What each certificate says, in the order of the file.
    pub certificates: Vec<CertificateFacts>,
}

impl CaBundle {
    /// Loads a bundle. Every certificate in it must be a usable trust anchor: a bad one is an
    /// error, not a gap in what is trusted.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate, or a broken one.
    pub fn load(file: FileRef) -> Result<Self, PemError> {
        let found = read::certificates(&file)?;
        Self::new(file, found)
    }

    /// Checks what was read already; the file is for errors.
    pub(crate) fn new(
        file: FileRef,
        found: Vec<CertificateDer<'static>>,
    ) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        let mut certificates = Vec::new();
        for (index, der) in found.into_iter().enumerate() {
            let number = index + 1;
            let facts = CertificateFacts::read(&der)
                .map_err(|problem| PemError::new(&file, Fault::BadCertificate(number, problem)))?;
            // An anchor is trusted for standing here, by whatever it is signed.
            if let Some(weakness) = facts.weak_key.clone() {
                let subject = facts.subject.to_string();
                let fault = Fault::Weak {
                    number,
                    subject,
                    weakness: Box::new(weakness),
                };
                return Err(PemError::new(&file, fault));
            }
            let usable = facts.authority && facts.usage.sign_certificates;
            if !usable || roots.add(der).is_err() {
                let subject = facts.subject.to_string();
                return Err(PemError::new(&file, Fault::BadAnchor(number, subject)));
            }
            certificates.push(facts);
        }
        Ok(Self {
            file,
            roots: Arc::new(roots),
            certificates,
        })
    }

    /// What an operator should know of the bundle. An expired CA stays in it: verification takes
    /// anchors as they are, and so do other TLS stacks.
    pub fn notes(&self, now: SystemTime) -> Vec<Note> {
        self.certificates
            .iter()
            .filter_map(|facts| note(&self.file, facts, now))
            .collect()
    }
}
