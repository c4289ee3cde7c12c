//! What the gateway asked of an authority, and what came of it.

use eyesplice_identity::x509::Signer;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    signer: &'static str,
    result: &'static str,
}

/// What the gateway asked of an authority; clones count together.
#[derive(Clone, Debug, Default)]
pub struct EnrolmentMetrics {
    requests: Family<Labels, Counter>,
    /// Leaves from the authority that are held.
    pub leaves: Gauge,
}

impl EnrolmentMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "certificate_requests",
            "Certificates that were asked of the authority: issued, refused, rejected (it came and \
             failed its role check, so it is not used), failed",
            metrics.requests.clone(),
        );
        registry.register(
            "leaves_held",
            "Leaves from the authority that are held",
            metrics.leaves.clone(),
        );
        metrics
    }

    /// An answer came, or none.
    pub fn answered(&self, signer: Signer, result: &'static str) {
        let labels = Labels {
            signer: signer.name(),
            result,
        };
        self.requests.get_or_create(&labels).inc();
    }
}
