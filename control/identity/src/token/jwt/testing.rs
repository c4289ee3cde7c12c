//! Keys for tests, made on the spot.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use super::{Algorithm, SigningKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::process::Command;

/// A new key; RSA ones are made by openssl, and `None` says that it is not here.
pub fn key(algorithm: Algorithm) -> Option<SigningKey> {
    if algorithm != Algorithm::Rs256 {
        return Some(SigningKey::generate(algorithm).unwrap().0);
    }
    let made = Command::new("openssl").args(["genrsa", "2048"]).output();
    let made = made.ok().filter(|made| made.status.success())?;
    let der = PrivateKeyDer::from_pem_slice(&made.stdout).unwrap();
    Some(SigningKey::from_der(&der).unwrap())
}

/// A new key of each algorithm that can be had here.
#[cfg(test)]
pub(crate) fn keys() -> Vec<SigningKey> {
    let mut keys = Vec::new();
    for algorithm in Algorithm::ALL {
        match key(algorithm) {
            Some(key) => keys.push(key),
            None => eprintln!("SKIPPED: jwt::testing::keys: {algorithm}: no openssl"),
        }
    }
    keys
}
