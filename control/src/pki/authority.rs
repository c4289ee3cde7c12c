//! A CA that signs: checked when it is loaded, so that nobody finds out when it should sign.

use super::key::SigningKey;
use crate::identity::{CertificateFacts, FactsError, Subject};
use crate::pem::{self, FileRef, PemError, PrivateKey, Role};
use rcgen::Issuer;
use rustls::pki_types::CertificateDer;
use std::fmt;

/// Why a CA cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] PemError),
    /// There is no certificate.
    #[error("the CA has no certificate")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error("the CA's certificate {0}; write the file again")]
    Unreadable(FactsError),
    /// It is no CA.
    #[error("{0} is no CA: its basic constraints lack CA:TRUE; give the CA itself")]
    NoAuthority(Subject),
    /// It may not sign certificates.
    #[error("{0} may not sign certificates: its key usage lacks keyCertSign; reissue it")]
    NoCertSign(Subject),
    /// What it signs could not be used so.
    #[error("{subject} may not sign for {role}: its extended key usage lacks that; reissue it")]
    NoExtendedUsage {
        /// The CA.
        subject: Subject,
        /// What it should sign for.
        role: Role,
    },
    /// The key is of a kind that cannot sign certificates here.
    #[error("the key of {0} is not supported; use ECDSA P-256 or P-384, Ed25519 or RSA")]
    UnsupportedKey(Subject),
    /// The key is another one's.
    #[error("the key does not belong to the CA {0}; pair certificate and key again")]
    KeyMismatch(Subject),
}

/// A CA certificate with its key, able to issue.
pub struct Authority {
    facts: CertificateFacts,
    issuer: Issuer<'static, SigningKey>,
    certificate: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("facts", &self.facts.describe())
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Loads the CA's certificate (with the intermediates above it, if it is no root) and key.
    ///
    /// # Errors
    /// A file cannot be used, or it is no CA that may sign, or the key is not its own.
    pub fn load(certificate: &FileRef, key: &FileRef) -> Result<Self, AuthorityError> {
        let chain = pem::certificates(certificate)?;
        Self::new(chain, &PrivateKey::load(key)?)
    }

    /// Checks a CA and its key. An expired CA passes here, and is refused when it should issue.
    ///
    /// # Errors
    /// As [`Authority::load`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKey,
    ) -> Result<Self, AuthorityError> {
        let certificate = chain.first().ok_or(AuthorityError::NoCertificate)?;
        let facts = CertificateFacts::read(certificate).map_err(AuthorityError::Unreadable)?;
        let subject = || facts.subject.clone();
        if !facts.authority {
            return Err(AuthorityError::NoAuthority(subject()));
        }
        // RFC 5280, section 4.2.1.3: without the extension, every usage is allowed.
        if !facts.usage.sign_certificates {
            return Err(AuthorityError::NoCertSign(subject()));
        }
        let key = SigningKey::new(key).map_err(|_| AuthorityError::UnsupportedKey(subject()))?;
        if key.spki() != facts.spki {
            return Err(AuthorityError::KeyMismatch(subject()));
        }
        let issuer = Issuer::from_ca_cert_der(certificate, key)
            .map_err(|_| AuthorityError::UnsupportedKey(subject()))?;
        // Roots are not sent: a peer that trusts one has it.
        let is_intermediate = |der: &CertificateDer<'_>| {
            CertificateFacts::read(der).is_ok_and(|facts| !facts.self_issued)
        };
        let intermediates = chain
            .iter()
            .filter(|der| is_intermediate(der))
            .cloned()
            .collect();
        Ok(Self {
            certificate: certificate.clone(),
            facts,
            issuer,
            intermediates,
        })
    }

    /// What the certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The certificate itself: what its verifiers trust.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Says whether its extended key usage, if it has one, lets it sign for `role`.
    ///
    /// # Errors
    /// It does not.
    pub fn signs_for(&self, role: Role) -> Result<(), AuthorityError> {
        let allowed = match role {
            Role::Client => self.facts.usage.client,
            Role::Server => self.facts.usage.server,
        };
        if allowed {
            return Ok(());
        }
        let subject = self.facts.subject.clone();
        Err(AuthorityError::NoExtendedUsage { subject, role })
    }

    pub(crate) fn issuer(&self) -> &Issuer<'static, impl rcgen::SigningKey + use<>> {
        &self.issuer
    }

    /// What is sent after a leaf.
    pub(crate) fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }
}
