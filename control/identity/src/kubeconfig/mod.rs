//! Kubeconfigs: written for every kind of client, and checked.
//!
//! Format: client-go `tools/clientcmd/api/v1/types.go`. Whoever uses a kubeconfig runs what its
//! `exec` says, so a foreign one is checked, never used, here. That of a webhook is the
//! operator's own, and may hold no `exec`.

mod check;
mod cluster;
mod connect;
mod flaw;
mod model;
mod named;
mod render;
mod severity;
#[cfg(test)]
mod tests;
mod user;
mod webhook;
mod yaml_of_go;

#[cfg(any(test, feature = "fuzzing"))]
pub use check::check_any;
pub use check::{CheckOptions, Checked, check, check_all, judge_server};
pub use connect::{Target, connect};
pub use flaw::Flaw;
pub use named::{Named, named};
pub use render::{Credential, Kubeconfig, Source};
pub use severity::Severity;
pub use webhook::{Webhook, WebhookError, WebhookToken, webhook};
pub use yaml_of_go::decode;
