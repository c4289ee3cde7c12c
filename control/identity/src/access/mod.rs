//! Asks the API servers of a cluster: whose a token is, what a user may do, which objects there
//! are.
//!
//! They alone know. What is remembered of their answers, and for how long, stands with each
//! question.

mod cluster;
mod error;
mod pod;
mod review;
mod subject;
mod token;

pub use cluster::{Ask, Cluster, ClusterSettings, Section, token_of};
pub use error::{AskError, ReviewSetupError};
pub use pod::{BoundPod, PodError, PodRefusal, PodReviewer, PodTokens};
pub use subject::{Access, AccessReviews};
pub use token::{TokenReviews, expires};

#[cfg(test)]
mod tests;
