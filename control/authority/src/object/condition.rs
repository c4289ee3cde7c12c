//! The conditions of a CSR.

use super::scalar::{Timestamp, nullable};
use serde::{Deserialize, Serialize};

/// An approver said yes.
pub(crate) const APPROVED: &str = "Approved";
/// An approver said no.
pub(crate) const DENIED: &str = "Denied";
/// The signer could not sign it.
pub(crate) const FAILED: &str = "Failed";
/// The only status that the three may have.
pub(crate) const TRUE: &str = "True";

/// One condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Condition {
    #[serde(rename = "type", with = "nullable")]
    pub(crate) kind: String,
    #[serde(with = "nullable")]
    pub(crate) status: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    pub(crate) last_update_time: Option<Timestamp>,
    pub(crate) last_transition_time: Option<Timestamp>,
}

impl Condition {
    /// A condition that holds since `now`.
    pub(crate) fn new(kind: &str, reason: &str, message: String, now: Timestamp) -> Self {
        Self {
            kind: kind.to_owned(),
            status: TRUE.to_owned(),
            reason: reason.to_owned(),
            message,
            last_update_time: Some(now),
            last_transition_time: Some(now),
        }
    }
}
