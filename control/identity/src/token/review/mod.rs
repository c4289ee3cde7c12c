//! TokenReview of authentication.k8s.io, asked of another API server; `authn` answers it for others.
//! Of tokens of pods it is asked where the pod runs.

mod cache;
mod client;
mod error;
mod pod;
mod settings;
mod types;

pub use client::ReviewClient;
pub use error::{ReviewError, ReviewSetupError};
pub use pod::{BoundPod, PodError, PodRefusal, PodReviewer, PodTokens};
pub use settings::{ReviewCredential, TokenReviewSettings};
pub(crate) use types::{API_VERSIONS, KIND};
pub use types::{BETA_PATH, PATH, ReviewSpec, ReviewStatus, TokenReview, is_path};

#[cfg(test)]
mod tests;
