//! Asks a CA whose key is elsewhere to sign: PKCS#10 requests (RFC 2986) beside the keys.
//!
//! A request says all that the certificate must say. Its key is never replaced while it waits, so
//! that a certificate that is in use and its key stay a pair until the signed one is accepted.

use super::PkiError;
use super::files::File;
use super::issue::{self, Request};
use super::key::{self, SigningKey};
use super::maker::Maker;
use super::name;
use super::plan::Plan;
use super::profile::Profile;
use crate::pem::{self, Fault, FileRef, PemError, PrivateKey};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// A request that waits for its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRequest {
    /// The CA that is to sign it.
    pub authority: String,
    /// Its file in the tree.
    pub file: String,
}

impl PendingRequest {
    pub(super) fn of(profile: &Profile) -> Self {
        Self {
            authority: profile.authority().to_owned(),
            file: profile.request_file(),
        }
    }
}

/// All requests that wait in a tree.
pub(super) fn pending(plan: &Plan, dir: &Path) -> Vec<PendingRequest> {
    let requested = plan.requested();
    let waiting = requested.filter(|profile| dir.join(profile.request_file()).exists());
    waiting.map(PendingRequest::of).collect()
}

impl Maker<'_> {
    /// Makes a key, and the request for its certificate. What was there for another key goes.
    pub(super) fn request_by_new_key(&mut self, profile: &Profile) -> Result<(), PkiError> {
        let failed = |source| PkiError::Issue(profile.name.clone(), source);
        let new = key::generate(self.plan.spec.keys).map_err(failed)?;
        let request = issue::from_profile(profile).map_err(failed)?;
        self.files.push(File::secret(profile.key_file(), new.pem));
        self.remove.push(profile.certificate_file());
        self.remove.extend(profile.kubeconfig_file());
        self.request(profile, request, &new.key)
    }

    /// Makes a request for the key that is there: for what the certificate that is there says, or
    /// without one for what the table says.
    pub(super) fn request_by_kept_key(&mut self, profile: &Profile) -> Result<(), PkiError> {
        let failed = |source| PkiError::Issue(profile.name.clone(), source);
        let key = PrivateKey::load(&self.file(profile, profile.key_file()))?;
        let certificate = self.file(profile, profile.certificate_file());
        let request = if certificate.path.exists() {
            let chain = pem::certificates(&certificate)?;
            issue::from_certificate(&chain[0], profile)
        } else {
            issue::from_profile(profile)
        };
        self.request(profile, request.map_err(failed)?, &key)
    }

    fn request(
        &mut self,
        profile: &Profile,
        request: Request,
        key: &PrivateKey,
    ) -> Result<(), PkiError> {
        let key = self.signing_key(profile, key)?;
        let text =
            write(request, &key).map_err(|source| PkiError::Issue(profile.name.clone(), source))?;
        self.files.push(File::public(profile.request_file(), text));
        Ok(())
    }
}

/// Encodes a request and signs it by its own key; PEM.
fn write(request: Request, key: &SigningKey) -> Result<String, rcgen::Error> {
    let Request { params, subject } = request;
    let made = params.serialize_request(key)?;
    let der = name::rename_request(made.der(), &subject, key)?;
    Ok(pem::encode_block("CERTIFICATE REQUEST", &der).to_string())
}

/// The public key that a request is for (SubjectPublicKeyInfo), DER.
pub(super) fn public_key(file: &FileRef) -> Result<Vec<u8>, PemError> {
    let damaged = || PemError::new(file, Fault::Damaged);
    let text = pem::text(file)?;
    let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes());
    let der = der.map_err(|_| damaged())?;
    let (_, request) = X509CertificationRequest::from_der(&der).map_err(|_| damaged())?;
    Ok(request.certification_request_info.subject_pki.raw.to_vec())
}
