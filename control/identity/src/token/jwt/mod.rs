//! Signed JSON Web Tokens in compact form (RFC 7515, 7519), as far as Kubernetes uses them.
//!
//! RS256, ES256 and ES384 and nothing else: no symmetric algorithm, no `none`. The key decides the
//! algorithm, never the token. They are signed and verified by ring, which has no P-521: ES512, which
//! API servers take and nothing defaults to, is refused by name.
//!
//! `jsonwebtoken` (11) would take tokens apart and call what signs and verifies, by a provider of
//! our own on ring: aws-lc is optional here, and the `rsa` of RustCrypto is not constant-time. What
//! makes up most of this folder it lacks: keys in SEC 1, the `kid` that Kubernetes computes, errors
//! that name the part of a token, the refusal of weak keys, and a JWKS in Kubernetes' order.

mod algorithm;
mod compact;
mod der;
mod error;
mod jwk;
mod pem;
mod public_key;
mod signing_key;

pub use algorithm::Algorithm;
pub use compact::{Compact, Header};
pub use error::{JwtError, Part};
pub use jwk::{Jwk, JwkError, JwkSet};
pub use pem::{KeyFileError, KeyFileProblem, load_public_keys, load_signing_key};
pub use public_key::{KeyProblem, PublicKey};
pub use signing_key::{SignError, SigningKey};

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
