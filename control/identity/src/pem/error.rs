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
    #[error("may not be read by this process (uid {uid}); give it read permission")]
    Forbidden {
        /// Our effective user id.
        uid: u32,
    },
    /// The kernel failed to read it.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is too large for what it should be.
    #[error("is larger than {limit} bytes; it is no PEM file of certificates or keys")]
    TooLarge {
        /// The bound.
        limit: u64,
    },
    /// A block is cut or is not base64.
    #[error("has a damaged PEM block; write the file again")]
    Damaged,
    /// There is no certificate.
    #[error("holds no CERTIFICATE block; put the PEM certificate there, not a key or a DER file")]
    NoCertificate,
    /// A certificate cannot be parsed.
    #[error("certificate {number} {problem}; write the file again")]
    BadCertificate {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        problem: FactsError,
    },
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
    #[error("certificate {number} ({subject}) cannot be a trust anchor; put CA certificates there")]
    BadAnchor {
        /// Which one, from 1.
        number: usize,
        /// Whose it is.
        subject: String,
    },
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
    #[error("does not belong to the certificate in {certificate}; pair them again")]
    KeyMismatch {
        /// The certificate's file.
        certificate: FileRef,
    },
    /// The certificate is made for something else.
    #[error("certificate {subject} has no extended key usage {wanted}; issue one that has it")]
    WrongUsage {
        /// Whose it is.
        subject: String,
        /// What it is needed for.
        wanted: Role,
    },
}
