//! What the authority decides, signs and leaves.

use super::Table;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    signer: &'static str,
    decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabels {
    signer: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AuthenticationLabels {
    credential: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    check: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// What the authority decides, signs and leaves.
#[derive(Debug)]
pub struct AuthorityMetrics {
    requests: Family<RequestLabels, Counter>,
    strangers: Family<AuthenticationLabels, Counter>,
    decisions: Family<DecisionLabels, Counter>,
    signatures: Family<ResultLabels, Counter>,
    checks: Family<CheckLabels, Counter>,
    cleaned: Family<ReasonLabel, Counter>,
    limited: Family<ReasonLabel, Counter>,
    /// CSRs that nobody decided about; labels `signer`, `reason`.
    pub pending: Arc<Table>,
    /// The age of the oldest of them; labels `signer`, `reason`.
    pub pending_age: Arc<Table>,
}

impl AuthorityMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let table = |registry: &mut Registry, name, help| {
            let table = Arc::new(Table::new(name, help));
            registry.register_collector(Box::new(Arc::clone(&table)));
            table
        };
        let metrics = Self {
            requests: Family::default(),
            strangers: Family::default(),
            decisions: Family::default(),
            signatures: Family::default(),
            checks: Family::default(),
            cleaned: Family::default(),
            limited: Family::default(),
            pending: table(
                registry,
                "authority_csrs_pending",
                "CSRs that nobody decided about, by why they are left",
            ),
            pending_age: table(
                registry,
                "authority_csrs_pending_oldest_age_seconds",
                "Age of the oldest CSR that nobody decided about, by why it is left",
            ),
        };
        registry.register(
            "authority_requests",
            "Requests to the authority that were answered",
            metrics.requests.clone(),
        );
        registry.register(
            "authority_authentication_failures",
            "Requests that have no user, by the credential that was looked at and what failed",
            metrics.strangers.clone(),
        );
        registry.register(
            "authority_decisions",
            "CSRs that the approver decided about",
            metrics.decisions.clone(),
        );
        registry.register(
            "authority_signatures",
            "Approved CSRs that the signer signed, refused or could not sign for now",
            metrics.signatures.clone(),
        );
        registry.register(
            "authority_approval_checks",
            "Names that were looked up and nodes that were probed for the approver, by what was seen",
            metrics.checks.clone(),
        );
        registry.register(
            "authority_csrs_cleaned",
            "CSRs that were removed because their time was over",
            metrics.cleaned.clone(),
        );
        registry.register(
            "authority_csrs_limited",
            "CSRs that were refused because of a limit",
            metrics.limited.clone(),
        );
        metrics
    }

    /// A request was answered.
    pub fn request(&self, verb: &'static str, code: u16) {
        let labels = RequestLabels { verb, code };
        self.requests.get_or_create(&labels).inc();
    }

    /// A request had no user.
    pub fn authentication_failure(&self, credential: &'static str, cause: &'static str) {
        let labels = AuthenticationLabels { credential, cause };
        self.strangers.get_or_create(&labels).inc();
    }

    /// The approver decided.
    pub fn decision(&self, signer: &'static str, decision: &'static str) {
        let labels = DecisionLabels { signer, decision };
        self.decisions.get_or_create(&labels).inc();
    }

    /// The signer did its work, or not.
    pub fn signature(&self, signer: &'static str, result: &'static str) {
        let labels = ResultLabels { signer, result };
        self.signatures.get_or_create(&labels).inc();
    }

    /// A name was looked up, or an address probed.
    pub fn check(&self, check: &'static str, result: &'static str) {
        let labels = CheckLabels { check, result };
        self.checks.get_or_create(&labels).inc();
    }

    /// A CSR was removed.
    pub fn cleaned(&self, reason: &'static str) {
        self.cleaned.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// A CSR was refused.
    pub fn limited(&self, reason: &'static str) {
        self.limited.get_or_create(&ReasonLabel { reason }).inc();
    }
}
