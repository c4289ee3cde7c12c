//! What break-glass keeps from one configuration to the next: what is remembered, how kubelets are,
//! and what came of requests.

use super::warm::Warm;
use crate::front::short::Memory;
use eyesplice_process::metrics::BreakGlassReport;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(super) memory: Arc<Memory>,
    pub(super) warm: Warm,
    /// Since when it is in force.
    since: Mutex<Option<SystemTime>>,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

/// What came of a request with a certificate for break-glass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It went to the kubelet.
    Opened,
    /// It was what kubectl reads before a stream, and was answered.
    Read,
    /// The certificate is not good.
    Certificate,
    /// An API server answers, or may.
    NotInForce,
    /// It is no stream of a pod, or has no one meaning.
    Request,
    /// The user had no such stream lately.
    NoReview,
    /// Nobody knows where the pod is.
    NoPlace,
    /// No rule allows it.
    NoRule,
    /// The kubelet cannot be reached, or did not do.
    Kubelet,
    /// Its audit events would be lost.
    Audit,
    /// A limit is reached.
    Limit,
}

impl Outcome {
    const ALL: [Self; 11] = [
        Self::Opened,
        Self::Read,
        Self::Certificate,
        Self::NotInForce,
        Self::Request,
        Self::NoReview,
        Self::NoPlace,
        Self::NoRule,
        Self::Kubelet,
        Self::Audit,
        Self::Limit,
    ];

    /// The label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Read => "read",
            Self::Certificate => "certificate",
            Self::NotInForce => "not_in_force",
            Self::Request => "request",
            Self::NoReview => "no_review",
            Self::NoPlace => "no_place",
            Self::NoRule => "no_rule",
            Self::Kubelet => "kubelet",
            Self::Audit => "audit",
            Self::Limit => "limit",
        }
    }
}

impl Kept {
    /// Counts what came of a request.
    pub(super) fn count(&self, outcome: Outcome) {
        let mut counters = Outcome::ALL.iter().zip(&self.outcomes);
        if let Some((_, counter)) = counters.find(|(each, _)| **each == outcome) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Notes whether it is in force, and says so when that changes.
    pub(super) fn stands(&self, why_not: Option<&str>, now: SystemTime) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        match (why_not, *since) {
            (None, None) => {
                *since = Some(now);
                tracing::warn!(
                    "break-glass is in force: every API server has failed on both paths"
                );
            }
            (Some(why), Some(_)) => {
                *since = None;
                tracing::warn!(why, "break-glass is in force no more");
            }
            (None, Some(_)) | (Some(_), None) => {}
        }
    }

    /// Since when it is in force, as it was noted last.
    pub(super) fn since(&self) -> Option<SystemTime> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What metrics show of it.
    pub(crate) fn report(&self) -> BreakGlassReport {
        let counted = Outcome::ALL.iter().zip(&self.outcomes);
        let requests = counted.map(|(outcome, count)| (outcome.as_str(), count.load(Relaxed)));
        let (reviews, places) = self.memory.counts();
        let kubelets = self.warm.all();
        let cold = kubelets.values().filter(|it| it.error.is_some()).count();
        BreakGlassReport {
            in_force: self.since().is_some(),
            requests: requests.collect(),
            reviews,
            places,
            kubelets: [("warm", kubelets.len() - cold), ("cold", cold)].into(),
        }
    }
}
