//! JSON Web Keys (RFC 7517): how public keys are published, and read where another API server
//! publishes its own.

use super::public_key::{RawKey, coordinate_bytes};
use super::{Algorithm, KeyProblem, PublicKey};
use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

/// Keys of one set that are read; API servers publish a handful.
const MAX_KEYS: usize = 64;

/// Longest set that is read.
pub(super) const MAX_JWKS: usize = 256 << 10;

/// One key, as Kubernetes publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwk {
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    kty: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

/// A set of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JwkSet {
    /// In no particular order.
    pub keys: Vec<Jwk>,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JwkError {
    /// It is longer than any.
    #[error("the key set is longer than {0} bytes; it is no JWKS")]
    TooLong(usize),
    /// It is not JSON of that shape.
    #[error("the key set is not JSON of the form {{\"keys\": [..]}}")]
    Json(#[source] serde_json::Error),
    /// It has too many keys.
    #[error("the key set has more than {0} keys")]
    TooMany(usize),
    /// It has no key that verifies tokens.
    #[error("the key set has no key for RS256, ES256 or ES384")]
    Empty,
    /// A key of a known kind is broken.
    #[error("key {0} of the set {1}")]
    Key(usize, KeyProblem),
}

impl From<&PublicKey> for Jwk {
    fn from(key: &PublicKey) -> Self {
        let encode = |bytes: &[u8]| Some(BASE64URL_NOPAD.encode(bytes));
        let blank = Self {
            usage: Some("sig".to_owned()),
            kty: String::new(),
            kid: Some(key.kid().to_owned()),
            crv: None,
            alg: Some(key.algorithm().to_string()),
            n: None,
            e: None,
            x: None,
            y: None,
        };
        match key.raw() {
            RawKey::Rsa { n, e } => Self {
                kty: "RSA".to_owned(),
                n: encode(n),
                e: encode(e),
                ..blank
            },
            RawKey::Ec(algorithm, point) => {
                let (x, y) = point[1..].split_at(coordinate_bytes(*algorithm));
                Self {
                    kty: "EC".to_owned(),
                    crv: Some(curve_name(*algorithm).to_owned()),
                    x: encode(x),
                    y: encode(y),
                    ..blank
                }
            }
        }
    }
}

impl JwkSet {
    /// Publishes keys.
    pub fn of(keys: &[PublicKey]) -> Self {
        Self {
            keys: keys.iter().map(Jwk::from).collect(),
        }
    }

    /// Reads a published set; keys of kinds that sign no service-account token are passed over.
    ///
    /// # Errors
    /// It is no set, has no usable key, or a broken one.
    pub fn parse(json: &[u8]) -> Result<Vec<PublicKey>, JwkError> {
        if json.len() > MAX_JWKS {
            return Err(JwkError::TooLong(MAX_JWKS));
        }
        let set: Self = serde_json::from_slice(json).map_err(JwkError::Json)?;
        if set.keys.len() > MAX_KEYS {
            return Err(JwkError::TooMany(MAX_KEYS));
        }
        let mut keys = Vec::new();
        for (index, jwk) in set.keys.iter().enumerate() {
            let key = jwk
                .public_key()
                .map_err(|problem| JwkError::Key(index + 1, problem))?;
            keys.extend(key);
        }
        if keys.is_empty() {
            return Err(JwkError::Empty);
        }
        Ok(keys)
    }
}

impl Jwk {
    /// `None` for a key that is not for signatures, or of a kind that we do not verify.
    fn public_key(&self) -> Result<Option<PublicKey>, KeyProblem> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        let decode = |field: &Option<String>| {
            let text = field.as_deref().ok_or(KeyProblem::Malformed)?;
            let bytes = BASE64URL_NOPAD.decode(text.as_bytes());
            bytes.map_err(|_| KeyProblem::Malformed)
        };
        let raw = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => RawKey::Rsa {
                n: decode(&self.n)?,
                e: decode(&self.e)?,
            },
            ("EC", Some(curve)) => {
                let Some(algorithm) = algorithm_of_name(curve) else {
                    return Ok(None);
                };
                let (x, y) = (decode(&self.x)?, decode(&self.y)?);
                RawKey::Ec(algorithm, [&[4][..], &x, &y].concat())
            }
            _ => return Ok(None),
        };
        let key = PublicKey::from_raw(raw)?;
        if self
            .alg
            .as_deref()
            .is_some_and(|alg| alg != key.algorithm().as_str())
        {
            return Ok(None);
        }
        Ok(Some(match &self.kid {
            Some(kid) => key.named(kid.clone()),
            None => key,
        }))
    }
}

fn curve_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Es384 => "P-384",
        Algorithm::Es256 | Algorithm::Rs256 => "P-256",
    }
}

fn algorithm_of_name(name: &str) -> Option<Algorithm> {
    match name {
        "P-256" => Some(Algorithm::Es256),
        "P-384" => Some(Algorithm::Es384),
        _ => None,
    }
}
