//! Reads the PEM blocks of one bounded file.

use super::{Fault, FileRef, PemError};
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::{ErrorKind, Read};
use zeroize::{Zeroize, Zeroizing};

/// Largest file that is read: a bundle of 500 CAs at 2 KiB.
const MAX_FILE: u64 = 1 << 20;

/// A private key: never printed, wiped when dropped.
#[derive(derive_more::Debug)]
#[debug("PrivateKey(redacted)")]
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// Loads the one key of a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no key, several, or an encrypted one.
    pub fn load(file: &FileRef) -> Result<Self, PemError> {
        parse_key(&read(file)?).map_err(|fault| PemError::new(file, fault))
    }

    /// Lends the key to a library that copies it.
    pub fn der(&self) -> &PrivateKeyDer<'static> {
        &self.0
    }
}

impl From<PrivateKeyDer<'static>> for PrivateKey {
    fn from(key: PrivateKeyDer<'static>) -> Self {
        Self(key)
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Loads all certificates of a file, in order; there is at least one.
///
/// # Errors
/// It cannot be read, or has none.
pub fn certificates(file: &FileRef) -> Result<Vec<CertificateDer<'static>>, PemError> {
    certificates_of(&read(file)?).map_err(|fault| PemError::new(file, fault))
}

/// Reads all certificates of a text, in order; there is at least one.
///
/// # Errors
/// It has none, or a damaged one.
pub fn certificates_of(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|_| Fault::Damaged)?;
    if found.is_empty() {
        Err(Fault::NoCertificate)
    } else {
        Ok(found)
    }
}

/// Reads the one key of a text.
///
/// # Errors
/// It has none, or a damaged one.
pub fn key_of(bytes: &[u8]) -> Result<PrivateKey, Fault> {
    parse_key(bytes)
}

/// Reads a whole file, within the bound of PEM files; wiped when dropped.
pub(crate) fn text(file: &FileRef) -> Result<Zeroizing<String>, PemError> {
    let bytes = read(file)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| PemError::new(file, Fault::Damaged))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn parse_key(bytes: &[u8]) -> Result<PrivateKey, Fault> {
    if has_encrypted_key(bytes) {
        return Err(Fault::EncryptedKey);
    }
    let mut keys = Vec::new();
    for block in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = block.map_err(|_| Fault::Damaged)?;
        if let Some(key) = PrivateKeyDer::from_pem(kind, der) {
            keys.push(PrivateKey(key));
        }
    }
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => Err(Fault::SeveralKeys(others + 1)),
        (None, _) => Err(Fault::NoKey),
    }
}

/// PKCS#8 names it in the block's label, the older formats in a header below it, which makes
/// their block undecodable.
fn has_encrypted_key(bytes: &[u8]) -> bool {
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    has(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// Reads a whole file, within bounds; wiped afterwards, since it may hold a key.
pub(crate) fn read(file: &FileRef) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let fail = |error: std::io::Error| {
        let fault = match error.kind() {
            ErrorKind::NotFound => Fault::Missing,
            ErrorKind::PermissionDenied => Fault::Forbidden(nix::unistd::geteuid().as_raw()),
            _ => Fault::Unreadable(error),
        };
        PemError::new(file, fault)
    };
    let open = File::open(&file.path).map_err(fail)?;
    // Room for all of it from the start: a buffer that grows leaves copies of the key behind.
    let size = open.metadata().map_err(fail)?.len().min(MAX_FILE);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    open.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(PemError::new(file, Fault::TooLarge(MAX_FILE)));
    }
    Ok(bytes)
}
