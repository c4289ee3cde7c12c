//! TokenReview of authentication.k8s.io/v1: answered for others, and asked of another API server.

mod cache;
mod client;
mod endpoint;
mod error;
mod server;
mod types;

pub use client::ReviewClient;
pub use endpoint::{Endpoint, EndpointError};
pub use error::{ReviewError, ReviewSetupError};
pub use server::{PATH, handle};
pub use types::{ReviewSpec, ReviewStatus, TokenReview};

#[cfg(test)]
mod tests;
