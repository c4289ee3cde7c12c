//! A CA that signs: checked when it is loaded, so that nobody finds out when it should sign.

use super::key::SigningKey;
use super::name;
use crate::certificate::{CertificateFacts, FactsError, Subject, Weakness};
use crate::pem::{self, FileRef, PemError, PrivateKey, Role};
use rcgen::{CertificateParams, Issuer, PublicKeyData};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

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
    /// Its key is too weak to sign.
    #[error("the CA {0} {1}")]
    Weak(Subject, Weakness),
    /// It may not sign certificates.
    #[error("{0} may not sign certificates: its key usage lacks keyCertSign; reissue it")]
    NoCertSign(Subject),
    /// What it signs could not be used so.
    #[error("{0} may not sign for {1}: its extended key usage lacks that; reissue it")]
    NoExtendedUsage(Subject, Role),
    /// The key is of a kind that cannot sign certificates here.
    #[error("the key of {0} is not supported; use ECDSA P-256 or P-384, Ed25519 or RSA")]
    UnsupportedKey(Subject),
    /// The key is another one's.
    #[error("the key does not belong to the CA {0}; pair certificate and key again")]
    KeyMismatch(Subject),
}

/// A CA certificate with its key, able to issue.
#[derive(derive_more::Debug)]
#[debug("Authority({})", facts.describe())]
pub struct Authority {
    facts: CertificateFacts,
    issuer: Issuer<'static, SigningKey>,
    /// The subject of the certificate, as it stands there.
    name: Vec<u8>,
    certificate: CertificateDer<'static>,
    intermediates: Vec<CertificateDer<'static>>,
}

impl Authority {
    /// Loads the CA's certificate (with what leads to it from other CAs: the intermediates above it,
    /// and certificates of its own key by the CA before it) and key.
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
        let (certificate, facts) = may_sign(&chain)?;
        let subject = || facts.subject.clone();
        let key = SigningKey::new(key).map_err(|_| AuthorityError::UnsupportedKey(subject()))?;
        if key.spki() != facts.spki {
            return Err(AuthorityError::KeyMismatch(subject()));
        }
        let issuer = Issuer::from_ca_cert_der(certificate, key)
            .map_err(|_| AuthorityError::UnsupportedKey(subject()))?;
        let name =
            name::subject(certificate).ok_or_else(|| AuthorityError::UnsupportedKey(subject()))?;
        Ok(Self {
            intermediates: sent(&chain),
            certificate: certificate.clone(),
            name,
            facts,
            issuer,
        })
    }

    /// What the certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The certificate itself: what its verifiers trust.
    pub fn certificate(&self) -> &CertificateDer<'static> {
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
        Err(AuthorityError::NoExtendedUsage(subject, role))
    }

    /// Signs a certificate for a key. Its issuer is this CA's name byte for byte; so is its subject,
    /// if one is given in DER, and else what `params` has.
    ///
    /// # Errors
    /// What no certificate can hold, or a key that cannot sign.
    pub fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        subject: Option<&[u8]>,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        let made = params.signed_by(key, &self.issuer)?;
        name::rename(made.der(), Some(&self.name), subject, self.key())
    }

    pub(super) fn key(&self) -> &SigningKey {
        self.issuer.key()
    }

    /// The certificate, with what is sent behind a leaf.
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        let sent = self.intermediates.iter().cloned();
        let others = sent.filter(|der| *der != self.certificate);
        [self.certificate.clone()]
            .into_iter()
            .chain(others)
            .collect()
    }

    /// What is sent after a leaf.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }
}

/// Checks that the first of a chain is a CA that may sign; for that, nobody needs its key.
pub(super) fn may_sign<'a>(
    chain: &'a [CertificateDer<'static>],
) -> Result<(&'a CertificateDer<'static>, CertificateFacts), AuthorityError> {
    let certificate = chain.first().ok_or(AuthorityError::NoCertificate)?;
    let facts = CertificateFacts::read(certificate).map_err(AuthorityError::Unreadable)?;
    let subject = || facts.subject.clone();
    if !facts.authority {
        return Err(AuthorityError::NoAuthority(subject()));
    }
    // It is trusted for what others made of it, by whatever it is signed.
    if let Some(weakness) = facts.weak_key.clone() {
        let subject = subject();
        return Err(AuthorityError::Weak(subject, weakness));
    }
    // RFC 5280, section 4.2.1.3: without the extension, every usage is allowed.
    if !facts.usage.sign_certificates {
        return Err(AuthorityError::NoCertSign(subject()));
    }
    Ok((certificate, facts))
}

/// What of a CA's chain is sent behind its leaves: first what leads to the root, then its
/// certificates by the CA before it, for those who know that one only. In this order because openssl
/// follows the first issuer that fits and no other; who knows a CA that is no root is Go or ours, and
/// both try all. Roots are not sent: a peer that trusts one has it.
fn sent(chain: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
    let (mut sent, mut crosses) = (Vec::new(), Vec::new());
    for der in chain {
        match CertificateFacts::read(der) {
            Ok(facts) if !facts.self_issued => sent.push(der.clone()),
            Ok(_) if !is_self_signed(der) => crosses.push(der.clone()),
            _ => {}
        }
    }
    sent.extend(crosses);
    sent
}

/// Says whether a certificate is signed by its own key. One that only repeats its own name as issuer
/// may be a CA's by the CA before it.
pub(super) fn is_self_signed(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, certificate)| certificate.verify_signature(None).is_ok())
}
