//! Signed JSON Web Tokens in compact form (RFC 7515, 7519), as far as Kubernetes uses them.
//!
//! RS256, ES256, ES384 and ES512 and nothing else: no symmetric algorithm, no `none`. The key
//! decides the algorithm, never the token. Three of them are signed and verified by the
//! `jsonwebtoken` crate on top of ring (`provider`); neither it nor ring has P-521, so ES512 is
//! the `p521` crate's (`es512`).

mod algorithm;
mod compact;
mod der;
mod error;
mod es512;
mod jwk;
mod pem;
mod provider;
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
