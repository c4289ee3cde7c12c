//! Loads the keys of tokens from PEM files.
//!
//! A file of verifying keys may hold several, as `--service-account-key-file` of the API server:
//! public keys, certificates, and private keys, whose public half is taken.

use super::{KeyProblem, PublicKey, SigningKey};
use crate::certificate::{CertificateFacts, FactsError};
use crate::pem::{Fault, FileRef, PemError, PrivateKey, encode_block, read};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{PemObject, SectionKind};

/// Keys of one file; more than a few rotations leave behind is a mistake.
const MAX_KEYS: usize = 64;

/// A file of keys that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read as PEM.
    #[error(transparent)]
    File(#[from] PemError),
    /// What it holds is wrong.
    #[error("{0}: {1}")]
    Key(FileRef, KeyFileProblem),
}

/// What is wrong with the keys of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileProblem {
    /// It has no key.
    #[error("holds no key; put PEM blocks of public keys, private keys or certificates there")]
    Empty,
    /// It has too many.
    #[error("holds more than {0} keys; drop those that no live token is signed with")]
    TooMany(usize),
    /// One of them is not usable.
    #[error("key {0} {1}")]
    Bad(usize, KeyProblem),
    /// One of them is a broken certificate.
    #[error("key {0} is in a certificate that {1}")]
    Certificate(usize, FactsError),
}

/// Loads every key of a file, in order, each once.
///
/// # Errors
/// The file cannot be read, holds no key, or one that cannot be used: a gap would look like a
/// forged token later.
pub fn load_public_keys(file: &FileRef) -> Result<Vec<PublicKey>, KeyFileError> {
    let bytes = read(file)?;
    let damaged = |_| PemError::new(file, Fault::Damaged);
    let fail = |problem| KeyFileError::Key(file.clone(), problem);
    let mut keys: Vec<PublicKey> = Vec::new();
    let mut number = 0;
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        let (kind, der) = block.map_err(damaged)?;
        let der = zeroize::Zeroizing::new(der);
        if !matches!(
            kind,
            SectionKind::PublicKey
                | SectionKind::Certificate
                | SectionKind::RsaPrivateKey
                | SectionKind::EcPrivateKey
                | SectionKind::PrivateKey
        ) {
            continue;
        }
        number += 1;
        if number > MAX_KEYS {
            return Err(fail(KeyFileProblem::TooMany(MAX_KEYS)));
        }
        let key = match kind {
            SectionKind::PublicKey => PublicKey::from_spki(&der),
            SectionKind::Certificate => match CertificateFacts::read(&der) {
                Ok(facts) => PublicKey::from_spki(&facts.spki),
                Err(problem) => return Err(fail(KeyFileProblem::Certificate(number, problem))),
            },
            SectionKind::RsaPrivateKey => public_half(&PrivateKeyDer::Pkcs1(der.as_slice().into())),
            SectionKind::EcPrivateKey => public_half(&PrivateKeyDer::Sec1(der.as_slice().into())),
            _ => public_half(&PrivateKeyDer::Pkcs8(der.as_slice().into())),
        };
        let key = key.map_err(|problem| fail(KeyFileProblem::Bad(number, problem)))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        return Err(fail(KeyFileProblem::Empty));
    }
    Ok(keys)
}

fn public_half(key: &PrivateKeyDer<'_>) -> Result<PublicKey, KeyProblem> {
    SigningKey::from_der(key).map(|key| key.public().clone())
}

/// Loads the one private key of a file.
///
/// # Errors
/// The file cannot be read, holds no key or several, or one that cannot sign tokens.
pub fn load_signing_key(file: &FileRef) -> Result<SigningKey, KeyFileError> {
    let key = PrivateKey::load(file)?;
    SigningKey::from_der(key.der())
        .map_err(|problem| KeyFileError::Key(file.clone(), KeyFileProblem::Bad(1, problem)))
}

impl PublicKey {
    /// Writes it as a PEM block, as `openssl pkey -pubout` does.
    pub fn to_pem(&self) -> String {
        encode_block("PUBLIC KEY", self.spki()).to_string()
    }
}
