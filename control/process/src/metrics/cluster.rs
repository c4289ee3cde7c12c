//! How an authority in a cluster stands with the API server.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Resource {
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    verb: &'static str,
    resource: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Signer {
    signer: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lease {
    lease: String,
}

/// How an authority in a cluster stands with the API server; a process that is none shows nothing of it.
#[derive(Debug, Default)]
pub struct ClusterMetrics {
    leader: Family<Lease, Gauge>,
    terms: Family<Lease, Counter>,
    watches: Family<Resource, Gauge>,
    failures: Family<Failure, Counter>,
    foreign: Family<Signer, Counter>,
}

impl ClusterMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "authority_leader",
            "Whether this replica is the one that approves and signs",
            self.leader.clone(),
        );
        registry.register(
            "authority_terms",
            "How often this replica became the leader",
            self.terms.clone(),
        );
        registry.register(
            "authority_watch_healthy",
            "Whether the last list or watch of a resource succeeded",
            self.watches.clone(),
        );
        registry.register(
            "authority_api_failures",
            "Requests to the API server that failed",
            self.failures.clone(),
        );
        registry.register(
            "authority_foreign_certificates",
            "Certificates that somebody else issued for a signer of this authority",
            self.foreign.clone(),
        );
    }

    /// This replica holds a Lease (`namespace/name`), or does not.
    pub fn leads(&self, lease: &str, leads: bool) {
        let lease = Lease {
            lease: lease.to_owned(),
        };
        self.leader.get_or_create(&lease).set(leads.into());
        let terms = self.terms.get_or_create(&lease);
        if leads {
            terms.inc();
        }
    }

    /// A watch stands, or failed.
    pub fn watch(&self, resource: &'static str, healthy: bool) {
        let gauge = self.watches.get_or_create(&Resource { resource });
        gauge.set(healthy.into());
    }

    /// A request failed.
    pub fn failed(&self, verb: &'static str, resource: &'static str, cause: &'static str) {
        let labels = Failure {
            verb,
            resource,
            cause,
        };
        self.failures.get_or_create(&labels).inc();
    }

    /// Somebody else issued a certificate for a signer of ours.
    pub fn foreign(&self, signer: &'static str) {
        self.foreign.get_or_create(&Signer { signer }).inc();
    }
}
