//! The CA that signs leaves: checked when it is loaded, so that no stream finds out.

use crate::identity::{CertificateFacts, FactsError, Subject};
use crate::pem::{self, FileRef, PemError, PrivateKey};
use rcgen::{
    Issuer, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::SignatureScheme;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::SigningKey;
use std::fmt;
use std::sync::Arc;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Why a CA cannot issue leaves.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] PemError),
    /// There is no certificate.
    #[error("the egress CA has no certificate")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error("the egress CA's certificate {0}; write the file again")]
    Unreadable(FactsError),
    /// It is no CA.
    #[error("{0} is no CA: its basic constraints lack CA:TRUE; give the egress CA itself")]
    NoAuthority(Subject),
    /// It may not sign certificates.
    #[error("{0} may not sign certificates: its key usage lacks keyCertSign; reissue it")]
    NoCertSign(Subject),
    /// Its leaves could not be servers'.
    #[error("{0} may not sign for servers: its extended key usage lacks serverAuth; reissue it")]
    NoServerAuth(Subject),
    /// The key is of a kind that cannot sign certificates here.
    #[error("the key of {0} is not supported; use ECDSA P-256 or P-384, Ed25519 or RSA")]
    UnsupportedKey(Subject),
    /// The key is another one's.
    #[error("the key does not belong to the egress CA {0}; pair certificate and key again")]
    KeyMismatch(Subject),
    /// The key of the leaves cannot be made.
    #[error("cannot make the key of the leaves")]
    LeafKey(#[source] rcgen::Error),
    /// The TLS library does not take that key.
    #[error("cannot use the key of the leaves")]
    Tls(#[source] rustls::Error),
}

/// A CA certificate with its key, able to issue.
pub struct Authority {
    facts: CertificateFacts,
    issuer: Issuer<'static, AuthorityKey>,
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
    /// A file cannot be used, or it is no CA that may sign for servers, or the key is not its own.
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
        if !facts.usage.server {
            return Err(AuthorityError::NoServerAuth(subject()));
        }
        let key = AuthorityKey::new(key, &facts)?;
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
            facts,
            issuer,
            intermediates,
        })
    }

    /// What the certificate says.
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, impl rcgen::SigningKey + use<>> {
        &self.issuer
    }

    /// What is sent after a leaf.
    pub(super) fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.intermediates
    }
}

/// Signs certificates by a rustls key: it takes every key format that TLS keys have, which the
/// certificate library's own key type does not.
struct AuthorityKey {
    key: Arc<dyn SigningKey>,
    scheme: SignatureScheme,
    algorithm: &'static SignatureAlgorithm,
    public: Vec<u8>,
}

impl AuthorityKey {
    fn new(key: &PrivateKey, facts: &CertificateFacts) -> Result<Self, AuthorityError> {
        let unsupported = || AuthorityError::UnsupportedKey(facts.subject.clone());
        let provider = default_provider();
        let key = provider
            .key_provider
            .load_private_key(key.der().clone_key());
        let key = key.map_err(|_| unsupported())?;
        match key.public_key() {
            Some(spki) if spki.as_ref() == facts.spki => {}
            Some(_) => return Err(AuthorityError::KeyMismatch(facts.subject.clone())),
            None => return Err(unsupported()),
        }
        let schemes: [(SignatureScheme, &'static SignatureAlgorithm); 4] = [
            (
                SignatureScheme::ECDSA_NISTP256_SHA256,
                &PKCS_ECDSA_P256_SHA256,
            ),
            (
                SignatureScheme::ECDSA_NISTP384_SHA384,
                &PKCS_ECDSA_P384_SHA384,
            ),
            (SignatureScheme::ED25519, &PKCS_ED25519),
            (SignatureScheme::RSA_PKCS1_SHA256, &PKCS_RSA_SHA256),
        ];
        let fits = |(scheme, _): &(SignatureScheme, _)| key.choose_scheme(&[*scheme]).is_some();
        let (scheme, algorithm) = schemes.into_iter().find(fits).ok_or_else(unsupported)?;
        let (_, public) = SubjectPublicKeyInfo::from_der(&facts.spki).map_err(|_| unsupported())?;
        let public = public.subject_public_key.data.to_vec();
        Ok(Self {
            key,
            scheme,
            algorithm,
            public,
        })
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.choose_scheme(&[self.scheme]);
        let signer = signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer
            .sign(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}
