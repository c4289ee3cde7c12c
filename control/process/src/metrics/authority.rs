//! What the authority decides, signs and leaves.

use super::Table;
use super::family::{Add, Counters};
use prometheus_client::registry::Registry;
use std::sync::Arc;

/// What the authority decides, signs and leaves.
#[derive(Debug)]
pub struct AuthorityMetrics {
    requests: Counters<2, String>,
    strangers: Counters<2>,
    decisions: Counters<2>,
    signatures: Counters<2>,
    checks: Counters<2>,
    cleaned: Counters<1>,
    limited: Counters<1>,
    /// CSRs that nobody decided about; labels `signer`, `reason`.
    pub pending: Arc<Table>,
    /// The age of the oldest of them; labels `signer`, `reason`.
    pub pending_age: Arc<Table>,
}

impl AuthorityMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: registry.add(
                "authority_requests",
                "Requests to the authority that were answered",
            ),
            strangers: registry.add(
                "authority_authentication_failures",
                "Requests that have no user, by the credential that was looked at and what failed",
            ),
            decisions: registry.add(
                "authority_decisions",
                "CSRs that the approver decided about",
            ),
            signatures: registry.add(
                "authority_signatures",
                "Approved CSRs that the signer signed, refused or could not sign for now",
            ),
            checks: registry.add(
                "authority_approval_checks",
                "Names that were looked up and nodes that were probed for the approver, by what was seen",
            ),
            cleaned: registry.add(
                "authority_csrs_cleaned",
                "CSRs that were removed because their time was over",
            ),
            limited: registry.add(
                "authority_csrs_limited",
                "CSRs that were refused because of a limit",
            ),
            pending: Table::register(
                registry,
                "authority_csrs_pending",
                "CSRs without a decision, by why they are left",
            ),
            pending_age: Table::register(
                registry,
                "authority_csrs_pending_oldest_age_seconds",
                "Age of the oldest CSR without a decision, by why it is left",
            ),
        }
    }

    /// A request was answered.
    pub fn request(&self, verb: &'static str, code: u16) {
        let labels = [("verb", verb.to_owned()), ("code", code.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// A request had no user.
    pub fn authentication_failure(&self, credential: &'static str, cause: &'static str) {
        let labels = [("credential", credential), ("cause", cause)];
        self.strangers.get_or_create(&labels).inc();
    }

    /// The approver decided.
    pub fn decision(&self, signer: &'static str, decision: &'static str) {
        let labels = [("signer", signer), ("decision", decision)];
        self.decisions.get_or_create(&labels).inc();
    }

    /// The signer did its work, or not.
    pub fn signature(&self, signer: &'static str, result: &'static str) {
        let labels = [("signer", signer), ("result", result)];
        self.signatures.get_or_create(&labels).inc();
    }

    /// A name was looked up, or an address probed.
    pub fn check(&self, check: &'static str, result: &'static str) {
        let labels = [("check", check), ("result", result)];
        self.checks.get_or_create(&labels).inc();
    }

    /// A CSR was removed.
    pub fn cleaned(&self, reason: &'static str) {
        self.cleaned.get_or_create(&[("reason", reason)]).inc();
    }

    /// A CSR was refused.
    pub fn limited(&self, reason: &'static str) {
        self.limited.get_or_create(&[("reason", reason)]).inc();
    }
}
