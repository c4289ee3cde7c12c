//! Watches when everything that the gateway holds ends: a metric always, a word when it is near.

use crate::admit::Gatekeeper;
use crate::leaf::LeafStore;
use eyesplice_process::expiry::Reminders;
use eyesplice_process::metrics::{Metrics, Row, certificate_rows, seconds};
use std::sync::Arc;
use std::time::SystemTime;

/// The row of all leaves from the authority.
const LEAVES: &str = "egressCA.fromAuthority";

/// Watches what the gateway holds.
#[derive(Debug)]
pub(super) struct Expiry {
    gatekeeper: Arc<Gatekeeper>,
    leaves: Arc<LeafStore>,
    metrics: Arc<Metrics>,
    reminders: Reminders,
}

impl Expiry {
    pub(super) fn new(
        gatekeeper: Arc<Gatekeeper>,
        leaves: Arc<LeafStore>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            gatekeeper,
            leaves,
            metrics,
            reminders: Reminders::default(),
        }
    }

    /// Shows the ends of all certificates, says which are near, and renews leaves. Needs a runtime.
    pub(super) fn look(&self, now: SystemTime) {
        let state = self.gatekeeper.state();
        let certificates = &state.material.certificates;
        let mut rows = certificate_rows(certificates);
        if let Some(requests) = &state.material.leaf_requests
            && let Some(end) = self.leaves.sweep(requests, now)
        {
            rows.push(Row {
                labels: vec![("name", LEAVES.to_owned()), ("file", String::new())],
                value: seconds(end),
            });
        }
        self.metrics.certificates.replace(rows);
        self.reminders.look(certificates, now);
    }
}
