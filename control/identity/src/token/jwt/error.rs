//! What is wrong with a token as such: its form and its signature, not what it claims.

use super::Algorithm;

/// A part of a compact token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Part {
    /// Before the first dot.
    #[display("header")]
    Header,
    /// Between the dots.
    #[display("payload")]
    Payload,
    /// Behind the last dot.
    #[display("signature")]
    Signature,
}

/// Why a token is not taken. None of them quotes the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is longer than any.
    #[error("the token is longer than {0} bytes")]
    TooLong(usize),
    /// It has not three parts.
    #[error("the token has {0} parts, not 3; it is no signed JWT, or was cut when it was copied")]
    Shape(usize),
    /// A part is not base64url without padding.
    #[error("the token's {0} is not base64url without padding; it was damaged when it was copied")]
    Base64(Part),
    /// A part is no JSON object of the expected shape.
    #[error("the token's {0} is not the JSON object that it should be")]
    Json(Part),
    /// It is not signed.
    #[error("the token is unsigned (alg none); nothing of it can be believed")]
    Unsigned,
    /// Its algorithm is not one of ours.
    #[error("the token's alg is {0:?}; RS256, ES256 and ES384 are accepted")]
    Algorithm(String),
    /// It demands the understanding of an extension.
    #[error("the token's header has critical extensions (crit), and none is supported")]
    Critical,
    /// It wraps another token.
    #[error("the token wraps another token (cty {0:?}); send the inner one")]
    Nested(String),
    /// Its key identifier is no identifier of ours.
    #[error("the token's kid is not a key identifier: more than {0} bytes or not printable")]
    KeyId(usize),
    /// No key has its identifier.
    #[error(
        "the token is signed by key {0}, which is not among the configured keys ({1}); add \
         its public key, or issue the token again"
    )]
    UnknownKey(String, String),
    /// The key that it names is for another algorithm.
    #[error("the token says alg {token}, but its key {kid} is for {key}; it is forged or damaged")]
    WrongAlgorithm {
        /// The token's.
        token: Algorithm,
        /// The key's.
        key: Algorithm,
        /// The key.
        kid: String,
    },
    /// The signature is not that of the key.
    #[error("the token's signature is wrong; it is forged, damaged, or of another cluster")]
    Signature,
}
