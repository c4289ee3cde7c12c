//! Service-account tokens: bound JWTs as the API server's TokenRequest makes them.
//!
//! Minted here, the real API server accepts them; minted there, they are verified here by its
//! public keys. What only the API server knows, that the account and the pod still exist, needs a
//! TokenReview. Legacy tokens of Secrets never expire and live as long as their Secret, so they are
//! refused here. Source: Kubernetes `pkg/serviceaccount/{claims,jwt}.go`.

mod claims;
mod discovery;
mod mint;
mod rotation;
mod verify;

pub use claims::{Audiences, BoundObject, Claims, KubernetesClaims, NumericDate, ObjectRef};
pub use discovery::{DISCOVERY_PATH, Discovery, DiscoveryError, JWKS_PATH};
pub use mint::{MAX_LIFETIME, MIN_LIFETIME, MintError, MintRequest, Minted, RequestProblem, mint};
pub use rotation::{LONGEST_TOKEN, Rotation, RotationError, Stage};
pub use verify::{DEFAULT_LEEWAY, Refusal, Verified, Verifier};

#[cfg(test)]
mod tests;
