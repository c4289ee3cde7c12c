//! TokenReview of authentication.k8s.io: answered for others, and asked of another API server.

mod cache;
mod client;
mod endpoint;
mod error;
mod server;
mod types;

pub use client::ReviewClient;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ReviewError, ReviewSetupError};
pub use server::{BETA_PATH, PATH, handle, is_path};
pub use types::{ReviewSpec, ReviewStatus, TokenReview};

#[cfg(test)]
mod tests;
