//! Takes a compact token apart, before anything of it is believed.

use super::{Algorithm, JwtError, Part, PublicKey};
use crate::certificate::printable;
use crate::token::MAX_TOKEN;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

/// Longest name of an algorithm that is repeated in an error.
const MAX_NAME: usize = 32;

/// Longest key identifier: Kubernetes' have 43 bytes; others are names or thumbprints.
pub(super) const MAX_KEY_ID: usize = 256;

/// A token that was taken apart. Nothing is verified.
#[derive(Clone, derive_more::Debug)]
#[debug("Compact({header:?})")]
pub struct Compact<'a> {
    /// Its header.
    pub header: Header,
    /// What is signed: header and payload as they stand in the token.
    signed: &'a [u8],
    /// Decoded.
    payload: Vec<u8>,
    /// Decoded.
    signature: Vec<u8>,
}

/// What a header says of the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// By which key.
    pub kid: Option<String>,
}

/// Fields that are not here (`jwk`, `jku`, `x5c`, ..) are never a reason to trust a key.
#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    cty: Option<String>,
    crit: Option<serde::de::IgnoredAny>,
}

impl<'a> Compact<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is no signed JWT, or one that cannot be verified here whatever its key.
    pub fn parse(token: &'a str) -> Result<Self, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::TooLong(MAX_TOKEN));
        }
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(JwtError::Shape(token.split('.').count()));
        };
        let parsed = parse_header(&decode(header, Part::Header)?)?;
        let decoded = decode(payload, Part::Payload)?;
        Ok(Self {
            header: parsed,
            signed: &token.as_bytes()[..header.len() + 1 + payload.len()],
            payload: decoded,
            signature: decode(signature, Part::Signature)?,
        })
    }

    /// Reads the payload although nothing is verified: to find out whose the token might be.
    ///
    /// # Errors
    /// It is not JSON of this shape.
    pub fn unverified<T: serde::de::DeserializeOwned>(&self) -> Result<T, JwtError> {
        serde_json::from_slice(&self.payload).map_err(|_| JwtError::Json(Part::Payload))
    }

    /// Verifies the signature, with the key that the header names, or with each key if it names
    /// none (Kubernetes' `serviceaccount/jwt.go`).
    ///
    /// # Errors
    /// The key is not there, is for another algorithm, or did not make the signature.
    pub fn verify<'k>(&self, keys: &'k [PublicKey]) -> Result<&'k PublicKey, JwtError> {
        let Header { algorithm, kid } = &self.header;
        let Some(kid) = kid else {
            let fits = |key: &&PublicKey| {
                key.algorithm() == *algorithm && key.verify(self.signed, &self.signature).is_ok()
            };
            return keys.iter().find(fits).ok_or(JwtError::Signature);
        };
        let key = keys.iter().find(|key| key.kid() == kid).ok_or_else(|| {
            let known: Vec<&str> = keys.iter().map(PublicKey::kid).collect();
            JwtError::UnknownKey(kid.clone(), known.join(", "))
        })?;
        if key.algorithm() != *algorithm {
            return Err(JwtError::WrongAlgorithm {
                token: *algorithm,
                key: key.algorithm(),
                kid: kid.clone(),
            });
        }
        key.verify(self.signed, &self.signature)?;
        Ok(key)
    }
}

fn decode(part: &str, which: Part) -> Result<Vec<u8>, JwtError> {
    let decoded = BASE64URL_NOPAD.decode(part.as_bytes());
    decoded.map_err(|_| JwtError::Base64(which))
}

fn parse_header(json: &[u8]) -> Result<Header, JwtError> {
    let raw: RawHeader = serde_json::from_slice(json).map_err(|_| JwtError::Json(Part::Header))?;
    if raw.alg.eq_ignore_ascii_case("none") {
        return Err(JwtError::Unsigned);
    }
    let algorithm = Algorithm::from_name(&raw.alg)
        .ok_or_else(|| JwtError::Algorithm(printable(&raw.alg, MAX_NAME)))?;
    if raw.crit.is_some() {
        return Err(JwtError::Critical);
    }
    if let Some(cty) = raw.cty {
        return Err(JwtError::Nested(printable(&cty, MAX_NAME)));
    }
    let usable =
        |kid: &String| kid.len() <= MAX_KEY_ID && kid.bytes().all(|byte| byte.is_ascii_graphic());
    if !raw.kid.as_ref().is_none_or(usable) {
        return Err(JwtError::KeyId(MAX_KEY_ID));
    }
    Ok(Header {
        algorithm,
        kid: raw.kid,
    })
}
