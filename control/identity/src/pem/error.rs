//! What can be wrong with a PEM file.

use super::FileRef;
use super::credential::Role;
use crate::certificate::{FactsError, Weakness};
use std::io;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {fault}")]
pub struct PemError {
    /// Which file, by which field.
    pub file: FileRef,
    /// What is wrong with it; part of the message, so no source of it.
    pub fault: Fault,
}

impl PemError {
    pub(crate) fn new(file: &FileRef, fault: Fault) -> Self {
        Self {
            file: file.clone(),
            fault,
        }
    }
}

/// What is wrong with a file. None of them quotes the file: it may hold a key.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is not there.
    #[error("does not exist; create it or correct the path")]
    Missing,
    /// We may not read it.
    #[error("may not be read by this process (uid {0}); give it read permission")]
    Forbidden(u32),
    /// The kernel failed to read it.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is too large for what it should be.
    #[error("is larger than {0} bytes; it is no PEM file of certificates or keys")]
    TooLarge(u64),
    /// A block is cut or is not base64.
    #[error("has a damaged PEM block; write the file again")]
    Damaged,
    /// There is no certificate.
    #[error("holds no CERTIFICATE block; put the PEM certificate there, not a key or a DER file")]
    NoCertificate,
    /// A certificate cannot be parsed.
    #[error("certificate {0} {1}; write the file again")]
    BadCertificate(usize, FactsError),
    /// A certificate has a key or a signature that is not taken.
    #[error("certificate {number} ({subject}) {weakness}")]
    Weak {
        /// Which one, from 1.
        number: usize,
        /// Whose it is.
        subject: String,
        /// What is weak.
        weakness: Box<Weakness>,
    },
    /// A certificate cannot be a trust anchor.
    #[error("certificate {0} ({1}) cannot be a trust anchor; put CA certificates there")]
    BadAnchor(usize, String),
    /// There is no key.
    #[error("holds no private key; put an unencrypted PKCS#8, SEC1 or PKCS#1 block in PEM there")]
    NoKey,
    /// There is more than one key.
    #[error("holds {0} private keys; leave only the one that belongs to the certificate")]
    SeveralKeys(usize),
    /// The key needs a pass phrase.
    #[error("holds an encrypted private key; decrypt it (openssl pkey) and protect it by its mode")]
    EncryptedKey,
    /// The key's algorithm is not known.
    #[error("holds a private key that is not supported; use ECDSA P-256 or P-384, Ed25519 or RSA")]
    UnsupportedKey,
    /// The key is another certificate's.
    #[error("does not belong to the certificate in {0}; pair them again")]
    KeyMismatch(FileRef),
    /// The certificate is made for something else.
    #[error("certificate {0} has no extended key usage {1}; issue one that has it")]
    WrongUsage(String, Role),
}
