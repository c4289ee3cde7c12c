//! A key that verifies tokens.

use super::{Algorithm, JwtError, der};
use crate::certificate::{Weakness, judge_rsa};
use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey as Parsed;
use x509_parser::x509::SubjectPublicKeyInfo;

/// First byte of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// Why a public key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// It is not DER of the right shape.
    #[error("is no public key; write it again with `openssl pkey -pubout`")]
    Malformed,
    /// No token is signed with it.
    #[error(
        "is not RSA or ECDSA on P-256 or P-384, the keys that sign service-account tokens here \
         (ES512 on P-521 is not supported)"
    )]
    Unsupported,
    /// An RSA key whose numbers are not taken.
    #[error("{0}")]
    Weak(Weakness),
    /// An RSA private key of a size that cannot sign here.
    #[error("is RSA of a size that does not sign here; use 2048 to 4096 bits")]
    RsaSize,
    /// A point in its short form.
    #[error(
        "has a compressed point; write it again with \
             `openssl ec -pubin -conv_form uncompressed`"
    )]
    Compressed,
    /// A private key without its public half.
    #[error("lacks its public key; write it again with `openssl pkey`")]
    NoPublicHalf,
    /// A private key that contradicts itself.
    #[error("is inconsistent; restore it from a backup, or make a new one")]
    Inconsistent,
}

/// A key that verifies tokens of one algorithm.
#[derive(Clone, derive_more::Debug)]
#[debug("PublicKey({kid}, {})", self.algorithm())]
pub struct PublicKey {
    kid: String,
    spki: Vec<u8>,
    raw: RawKey,
}

/// The numbers of a key, big-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RawKey {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    Ec(Algorithm, Vec<u8>),
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kid == other.kid && self.spki == other.spki
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// It is none, or not one that signs tokens.
    pub fn from_spki(spki: &[u8]) -> Result<Self, KeyProblem> {
        let (rest, info) =
            SubjectPublicKeyInfo::from_der(spki).map_err(|_| KeyProblem::Malformed)?;
        if !rest.is_empty() {
            return Err(KeyProblem::Malformed);
        }
        match info.parsed().map_err(|_| KeyProblem::Malformed)? {
            Parsed::RSA(rsa) => Self::from_raw(RawKey::Rsa {
                n: trimmed(rsa.modulus).to_vec(),
                e: trimmed(rsa.exponent).to_vec(),
            }),
            Parsed::EC(point) => {
                let curve = info.algorithm.parameters.as_ref();
                let curve = curve.and_then(|any| any.as_oid().ok());
                let algorithm = curve
                    .and_then(|oid| algorithm_of_curve(&oid.to_id_string()))
                    .ok_or(KeyProblem::Unsupported)?;
                Self::from_raw(RawKey::Ec(algorithm, point.data().to_vec()))
            }
            _ => Err(KeyProblem::Unsupported),
        }
    }

    pub(super) fn from_raw(raw: RawKey) -> Result<Self, KeyProblem> {
        let spki = match &raw {
            RawKey::Rsa { n, e } => {
                judge_rsa(n, e).map_err(KeyProblem::Weak)?;
                der::spki(Algorithm::Rs256, &der::rsa_public_key(n, e))
            }
            RawKey::Ec(algorithm, point) => {
                if point.len() != 1 + 2 * coordinate_bytes(*algorithm) {
                    let short = matches!(point.first(), Some(2 | 3));
                    return Err(if short {
                        KeyProblem::Compressed
                    } else {
                        KeyProblem::Malformed
                    });
                }
                if point.first() != Some(&UNCOMPRESSED) {
                    return Err(KeyProblem::Malformed);
                }
                der::spki(*algorithm, point)
            }
        };
        Ok(Self {
            kid: BASE64URL_NOPAD.encode(digest(&SHA256, &spki).as_ref()),
            spki,
            raw,
        })
    }

    /// The one algorithm that it verifies.
    pub fn algorithm(&self) -> Algorithm {
        match &self.raw {
            RawKey::Rsa { .. } => Algorithm::Rs256,
            RawKey::Ec(algorithm, _) => *algorithm,
        }
    }

    /// The key's identifier: base64url of SHA-256 over its SubjectPublicKeyInfo (Kubernetes'
    /// `keyIDFromPublicKey`).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Names the key otherwise than by its own hash: what a JWKS says it is called.
    pub(super) fn named(mut self, kid: String) -> Self {
        self.kid = kid;
        self
    }

    pub(super) fn raw(&self) -> &RawKey {
        &self.raw
    }

    /// Verifies a signature; one by ECDSA has the fixed size of RFC 7518, section 3.4.
    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), JwtError> {
        let verified = match &self.raw {
            RawKey::Rsa { n, e } => {
                PublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            RawKey::Ec(algorithm, point) => {
                let curve = match algorithm {
                    Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
                    Algorithm::Es256 | Algorithm::Rs256 => &ECDSA_P256_SHA256_FIXED,
                };
                UnparsedPublicKey::new(curve, point).verify(message, signature)
            }
        };
        verified.map_err(|_| JwtError::Signature)
    }
}

/// Bytes of one coordinate of a point (RFC 7518, section 6.2.1.2).
pub(super) fn coordinate_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Es384 => 48,
        Algorithm::Es256 | Algorithm::Rs256 => 32,
    }
}

pub(super) fn algorithm_of_curve(oid: &str) -> Option<Algorithm> {
    match oid {
        "1.2.840.10045.3.1.7" => Some(Algorithm::Es256),
        "1.3.132.0.34" => Some(Algorithm::Es384),
        _ => None,
    }
}

/// DER puts a zero before numbers whose first bit is set.
fn trimmed(number: &[u8]) -> &[u8] {
    &number[number.iter().take_while(|byte| **byte == 0).count()..]
}
