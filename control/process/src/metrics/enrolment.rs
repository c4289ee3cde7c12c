//! What the gateway asked of an authority, and what came of it.

use super::family::{Add, Counters};
use eyesplice_identity::x509::Signer;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What the gateway asked of an authority; clones count together.
#[derive(Clone, Debug, Default)]
pub struct EnrolmentMetrics {
    requests: Counters<2>,
    /// Leaves from the authority that are held.
    pub leaves: Gauge,
}

impl EnrolmentMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            requests: registry.add(
                "certificate_requests",
                "Certificates that were asked of the authority: issued, refused, rejected (it came \
                 and failed its role check, so it is not used), failed",
            ),
            leaves: registry.add("leaves_held", "Leaves from the authority that are held"),
        }
    }

    /// An answer came, or none.
    pub fn answered(&self, signer: Signer, result: &'static str) {
        let labels = [("signer", signer.name()), ("result", result)];
        self.requests.get_or_create(&labels).inc();
    }
}
