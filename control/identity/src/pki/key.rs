//! Private keys that sign: made here, or loaded in every format that TLS takes.

use crate::pem::{self, PrivateKey};
use eyesplice_proto::tls::provider;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256,
    PublicKeyData, SignatureAlgorithm,
};
use rustls::SignatureScheme;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey as TlsKey;
use std::sync::Arc;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

/// What keys are made of. RSA keys are used where they exist; none is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyAlgorithm {
    /// What kubelets use for themselves.
    #[default]
    EcdsaP256,
    /// For those who must.
    EcdsaP384,
    /// Not for service accounts, whose tokens Kubernetes signs by RSA and ECDSA only.
    Ed25519,
}

impl KeyAlgorithm {
    /// The names in a configuration; kubeadm's, where it has the algorithm.
    pub(super) const NAMES: [(&'static str, Self); 3] = [
        ("ECDSA-P256", Self::EcdsaP256),
        ("ECDSA-P384", Self::EcdsaP384),
        ("Ed25519", Self::Ed25519),
    ];

    /// What the service-account key is made of (Kubernetes `pkg/serviceaccount/jwt.go`).
    pub(super) fn for_service_accounts(self) -> Self {
        match self {
            Self::Ed25519 => Self::EcdsaP256,
            other => other,
        }
    }

    /// As a configuration names it.
    pub(super) fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, algorithm)| *algorithm == self);
        found.map_or("", |(name, _)| name)
    }

    fn signature(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &PKCS_ED25519,
        }
    }
}

/// A key of a kind that cannot sign certificates here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key is not supported; use ECDSA P-256 or P-384, Ed25519 or RSA")]
pub(crate) struct UnsupportedKey;

/// Signs certificates by a rustls key: it takes every key format that TLS keys have, which the
/// certificate library's own key type does not.
#[derive(Clone, derive_more::Debug)]
#[debug("SigningKey(redacted)")]
pub(crate) struct SigningKey {
    key: Arc<dyn TlsKey>,
    scheme: SignatureScheme,
    algorithm: &'static SignatureAlgorithm,
    spki: Vec<u8>,
    public: Vec<u8>,
}

impl SigningKey {
    /// Makes ready a key that was loaded.
    pub(crate) fn new(key: &PrivateKey) -> Result<Self, UnsupportedKey> {
        let provider = provider::shared();
        let key = provider
            .key_provider
            .load_private_key(key.der().clone_key())
            .map_err(|_| UnsupportedKey)?;
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
        let (scheme, algorithm) = schemes.into_iter().find(fits).ok_or(UnsupportedKey)?;
        let spki = key.public_key().ok_or(UnsupportedKey)?.to_vec();
        let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| UnsupportedKey)?;
        let public = parsed.subject_public_key.data.to_vec();
        Ok(Self {
            key,
            scheme,
            algorithm,
            spki,
            public,
        })
    }

    /// The public key with its algorithm (SubjectPublicKeyInfo), DER.
    pub(crate) fn spki(&self) -> &[u8] {
        &self.spki
    }
}

impl PublicKeyData for SigningKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.key.choose_scheme(&[self.scheme]);
        let signer = signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer
            .sign(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A key that was made here, with its text.
pub(super) struct NewKey {
    pub(super) key: PrivateKey,
    /// PKCS#8.
    pub(super) pem: Zeroizing<String>,
    /// SubjectPublicKeyInfo.
    pub(super) public_pem: String,
}

/// Makes a key.
pub(super) fn generate(algorithm: KeyAlgorithm) -> Result<NewKey, rcgen::Error> {
    let pair = KeyPair::generate_for(algorithm.signature())?;
    let mut der = Zeroizing::new(pair.serialize_der());
    if algorithm == KeyAlgorithm::Ed25519 {
        der = first_version(&der).ok_or(rcgen::Error::CouldNotParseKeyPair)?;
    }
    Ok(NewKey {
        pem: pem::encode_key(&der),
        key: PrivateKey::from(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.to_vec()))),
        public_pem: pair.public_key_pem(),
    })
}

/// An Ed25519 key comes in the second version of PKCS#8 (RFC 5958), which has the public key too,
/// and which OpenSSL 3.0 cannot read. This gives the first (RFC 8410, section 7).
fn first_version(second: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    /// Sequence, version 0, the algorithm, and the octet string in an octet string of the seed.
    const HEAD: [u8; 16] = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    const SEED: usize = 32;
    let seed = second.get(HEAD.len()..HEAD.len() + SEED)?;
    // Both versions differ in their length and number alone up to here.
    if second[5..HEAD.len()] != HEAD[5..] {
        return None;
    }
    let mut first = Zeroizing::new(Vec::with_capacity(HEAD.len() + SEED));
    first.extend_from_slice(&HEAD);
    first.extend_from_slice(seed);
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::SigningKey as _;

    #[test]
    fn generated_key_of_every_algorithm_signs() {
        for (name, algorithm) in KeyAlgorithm::NAMES {
            let made = generate(algorithm).unwrap();
            let key = SigningKey::new(&made.key).unwrap();
            assert_eq!(algorithm.name(), name);
            assert!(made.pem.contains("PRIVATE KEY"));
            assert!(!key.sign(b"message").unwrap().is_empty(), "{name}");
            // What is written is what was made.
            let written = pem::key_of(made.pem.as_bytes()).unwrap();
            assert_eq!(
                SigningKey::new(&written).unwrap().spki(),
                key.spki(),
                "{name}"
            );
            assert_eq!(format!("{key:?}"), "SigningKey(redacted)");
        }
    }

    #[test]
    fn service_account_key_is_never_ed25519() {
        let of = |algorithm: KeyAlgorithm| algorithm.for_service_accounts().name();
        assert_eq!(of(KeyAlgorithm::Ed25519), "ECDSA-P256");
        assert_eq!(of(KeyAlgorithm::EcdsaP384), "ECDSA-P384");
    }

    #[test]
    fn key_that_is_none_is_unsupported() {
        let key = PrivateKey::from(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(vec![0; 9])));
        assert_eq!(SigningKey::new(&key).unwrap_err(), UnsupportedKey);
    }
}
