//! Kubeconfigs: written for every kind of client, and checked.
//!
//! Format: client-go `tools/clientcmd/api/v1/types.go`. Whoever uses a kubeconfig runs what its
//! `exec` says, so a foreign one is checked, never used, here.

mod check;
mod cluster;
mod connect;
#[cfg(test)]
mod corpus;
mod flaw;
mod model;
mod render;
mod severity;
#[cfg(test)]
mod tests;
mod user;
mod yaml_of_go;

#[cfg(any(test, feature = "fuzzing"))]
pub use check::check_any;
pub use check::{CheckOptions, Checked, check, check_all, judge_server};
pub use connect::{Target, connect};
pub use flaw::Flaw;
pub use render::{Credential, Kubeconfig, Source};
pub use severity::Severity;
pub use yaml_of_go::decode;
