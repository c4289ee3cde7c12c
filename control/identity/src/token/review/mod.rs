//! TokenReview of authentication.k8s.io: its objects, and whom to ask. `access` asks, and `authn`
//! answers.

mod settings;
mod types;

pub use settings::{ReviewCredential, TokenReviewSettings};
pub(crate) use types::{API_VERSION, API_VERSIONS, KIND};
pub use types::{BETA_PATH, PATH, ReviewSpec, ReviewStatus, TokenReview, is_path};
