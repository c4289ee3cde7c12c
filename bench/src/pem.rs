//! Certificates and keys in PEM files.

use crate::{Error, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// The certificates of a PEM file.
pub(crate) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| pem(file, &error))
}

/// The key of a PEM file.
pub(crate) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| pem(file, &error))
}

fn pem(file: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::Unfit(format!("cannot read {} as PEM: {error}", file.display()))
}
