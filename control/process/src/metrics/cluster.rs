//! How an authority in a cluster stands with the API server.

use super::family::{Add, Counters, Gauges};
use prometheus_client::registry::Registry;

/// How an authority in a cluster stands with the API server; a process that is none shows nothing of it.
#[derive(Debug)]
pub struct ClusterMetrics {
    leader: Gauges<1, String>,
    terms: Counters<1, String>,
    watches: Gauges<1>,
    failures: Counters<3>,
    foreign: Counters<1>,
}

impl ClusterMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            leader: registry.add(
                "authority_leader",
                "Whether this replica is the one that approves and signs",
            ),
            terms: registry.add(
                "authority_terms",
                "How often this replica became the leader",
            ),
            watches: registry.add(
                "authority_watch_healthy",
                "Whether the last list or watch of a resource succeeded",
            ),
            failures: registry.add(
                "authority_api_failures",
                "Requests to the API server that failed",
            ),
            foreign: registry.add(
                "authority_foreign_certificates",
                "Certificates that another process issued for a signer of this authority",
            ),
        }
    }

    /// This replica holds a Lease (`namespace/name`), or does not.
    pub fn leads(&self, lease: &str, leads: bool) {
        let lease = [("lease", lease.to_owned())];
        self.leader.get_or_create(&lease).set(leads.into());
        let terms = self.terms.get_or_create(&lease);
        if leads {
            terms.inc();
        }
    }

    /// A watch stands, or failed.
    pub fn watch(&self, resource: &'static str, healthy: bool) {
        let gauge = self.watches.get_or_create(&[("resource", resource)]);
        gauge.set(healthy.into());
    }

    /// A request failed.
    pub fn failed(&self, verb: &'static str, resource: &'static str, cause: &'static str) {
        let labels = [("verb", verb), ("resource", resource), ("cause", cause)];
        self.failures.get_or_create(&labels).inc();
    }

    /// Somebody else issued a certificate for a signer of ours.
    pub fn foreign(&self, signer: &'static str) {
        self.foreign.get_or_create(&[("signer", signer)]).inc();
    }
}
