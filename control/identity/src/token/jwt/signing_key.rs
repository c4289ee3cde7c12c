//! A key that signs tokens.

use super::public_key::{RawKey, coordinate_bytes};
use super::{Algorithm, KeyProblem, PublicKey, der};
use crate::pem::encode_key;
use data_encoding::BASE64URL_NOPAD;
use rcgen::{KeyPair as NewKey, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use serde::Serialize;
use x509_parser::asn1_rs::{Any, Integer, Tag};
use x509_parser::prelude::FromDer;
use x509_parser::x509::AlgorithmIdentifier;
use zeroize::Zeroizing;

const RSA_OID: &str = "1.2.840.113549.1.1.1";
const EC_OID: &str = "1.2.840.10045.2.1";

/// What ring says of an EC private key without its public half.
const NO_PUBLIC_HALF: &str = "PublicKeyIsMissing";

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The claims are no JSON.
    #[error("cannot write the token's claims as JSON")]
    Json(#[from] serde_json::Error),
    /// The library refused; the system's random source is its only reason.
    #[error("cannot sign the token: the system's random source or the key failed")]
    Sign,
    /// The library made no key.
    #[error("cannot make a key")]
    Generate(#[from] rcgen::Error),
    /// No library of ours makes such keys.
    #[error("RSA keys are not made here; use es256, or make one with `openssl genrsa 2048`")]
    NoRsa,
    /// What was made cannot be read again.
    #[error("the key that was made {0}")]
    Key(KeyProblem),
}

/// A key that signs tokens: never printed, wiped when dropped.
#[derive(derive_more::Debug)]
#[debug("SigningKey({public:?})")]
pub struct SigningKey {
    /// An RSA key in PKCS #1, another in PKCS #8.
    der: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a private key: PKCS #1, SEC 1 or PKCS #8.
    ///
    /// # Errors
    /// It is broken, or not one that signs tokens.
    pub fn from_der(key: &PrivateKeyDer<'_>) -> Result<Self, KeyProblem> {
        match key {
            PrivateKeyDer::Pkcs1(key) => rsa(key.secret_pkcs1_der()),
            PrivateKeyDer::Sec1(key) => {
                let der = key.secret_sec1_der();
                let algorithm = algorithm_of_sec1(der).ok_or(KeyProblem::Unsupported)?;
                ec(algorithm, &Zeroizing::new(der::pkcs8(algorithm, der)))
            }
            PrivateKeyDer::Pkcs8(key) => {
                let der = key.secret_pkcs8_der();
                let (kind, inner) = open_pkcs8(der).ok_or(KeyProblem::Malformed)?;
                match kind.as_str() {
                    RSA_OID => rsa(inner),
                    EC_OID => {
                        let algorithm = algorithm_of_sec1(inner).ok_or(KeyProblem::Unsupported)?;
                        ec(algorithm, der)
                    }
                    _ => Err(KeyProblem::Unsupported),
                }
            }
            _ => Err(KeyProblem::Unsupported),
        }
    }

    /// Makes a new key; also returns it as PKCS #8 in PEM.
    ///
    /// # Errors
    /// The random source failed, or RSA was asked for.
    pub fn generate(algorithm: Algorithm) -> Result<(Self, Zeroizing<String>), SignError> {
        let der = match algorithm {
            Algorithm::Rs256 => return Err(SignError::NoRsa),
            Algorithm::Es256 => NewKey::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_der(),
            Algorithm::Es384 => NewKey::generate_for(&PKCS_ECDSA_P384_SHA384)?.serialize_der(),
        };
        let der = Zeroizing::new(der);
        let pem = encode_key(&der);
        let key = Self::from_der(&PrivateKeyDer::Pkcs8(der.as_slice().into()));
        Ok((key.map_err(SignError::Key)?, pem))
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs claims as a compact token whose header names algorithm and key, as the API server's do.
    ///
    /// # Errors
    /// The claims are no JSON, or the random source failed.
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<Zeroizing<String>, SignError> {
        self.sign_with_header(&self.header(), claims)
    }

    /// The header of tokens of this key.
    fn header(&self) -> serde_json::Value {
        let alg = self.public.algorithm().as_str();
        serde_json::json!({"alg": alg, "kid": self.public.kid()})
    }

    pub(super) fn sign_with_header<T: Serialize>(
        &self,
        header: &serde_json::Value,
        claims: &T,
    ) -> Result<Zeroizing<String>, SignError> {
        let mut token = BASE64URL_NOPAD.encode(&serde_json::to_vec(header)?);
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&serde_json::to_vec(claims)?));
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(Zeroizing::new(token))
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match self.public.algorithm() {
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_der(&self.der).map_err(|_| SignError::Sign)?;
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature);
                signed.map(|()| signature).map_err(|_| SignError::Sign)
            }
            algorithm => {
                let pair = ecdsa(algorithm, &self.der).map_err(|_| SignError::Sign)?;
                let signed = pair.sign(&random, message);
                signed
                    .map(|signed| signed.as_ref().to_vec())
                    .map_err(|_| SignError::Sign)
            }
        }
    }
}

fn rsa(pkcs1: &[u8]) -> Result<SigningKey, KeyProblem> {
    let pair =
        RsaKeyPair::from_der(pkcs1).map_err(|rejected| match rejected.to_string().as_str() {
            "InvalidEncoding" => KeyProblem::Malformed,
            "TooSmall" | "TooLarge" => KeyProblem::RsaSize,
            _ => KeyProblem::Inconsistent,
        })?;
    let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(pair.public());
    Ok(SigningKey {
        der: Zeroizing::new(pkcs1.to_vec()),
        public: PublicKey::from_raw(RawKey::Rsa { n, e })?,
    })
}

fn ec(algorithm: Algorithm, pkcs8: &[u8]) -> Result<SigningKey, KeyProblem> {
    let point = ecdsa(algorithm, pkcs8)?.public_key().as_ref().to_vec();
    Ok(SigningKey {
        der: Zeroizing::new(pkcs8.to_vec()),
        public: PublicKey::from_raw(RawKey::Ec(algorithm, point))?,
    })
}

fn ecdsa(algorithm: Algorithm, pkcs8: &[u8]) -> Result<EcdsaKeyPair, KeyProblem> {
    let curve = match algorithm {
        Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        Algorithm::Rs256 => return Err(KeyProblem::Unsupported),
    };
    let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8, &SystemRandom::new());
    pair.map_err(|rejected| match rejected.to_string().as_str() {
        NO_PUBLIC_HALF => KeyProblem::NoPublicHalf,
        "InconsistentComponents" => KeyProblem::Inconsistent,
        "WrongAlgorithm" => KeyProblem::Unsupported,
        _ => KeyProblem::Malformed,
    })
}

/// Takes PKCS #8 (RFC 5958) apart: the algorithm's OID and the key within.
fn open_pkcs8(der: &[u8]) -> Option<(String, &[u8])> {
    let content = content_of(der, Tag::Sequence)?;
    let (rest, _version) = Integer::from_der(content).ok()?;
    let (rest, identifier) = AlgorithmIdentifier::from_der(rest).ok()?;
    let key = content_of(rest, Tag::OctetString)?;
    Some((identifier.algorithm.to_id_string(), key))
}

/// Tells the curve of an ECPrivateKey (RFC 5915) by the length of its number, which the RFC fixes;
/// who reads the key checks the curve's name.
fn algorithm_of_sec1(der: &[u8]) -> Option<Algorithm> {
    let (rest, _version) = Integer::from_der(content_of(der, Tag::Sequence)?).ok()?;
    let number = content_of(rest, Tag::OctetString)?;
    [Algorithm::Es256, Algorithm::Es384]
        .into_iter()
        .find(|algorithm| coordinate_bytes(*algorithm) == number.len())
}

/// What stands inside of the first element, if that is of this kind.
fn content_of(der: &[u8], kind: Tag) -> Option<&[u8]> {
    let (_, element) = Any::from_der(der).ok()?;
    (element.tag() == kind).then_some(element.data)
}
