//! Connections of the HTTP servers of this process.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Closed {
    server: &'static str,
    reason: &'static str,
}

/// Connections of the HTTP servers of this process; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    connections: Family<Server, Gauge>,
    closed: Family<Closed, Counter>,
}

impl ServerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "server_connections",
            "Connections of the admin endpoint and the authority",
            metrics.connections.clone(),
        );
        registry.register(
            "server_connections_closed",
            "Connections that had to go because there were too many: of their source address (source), \
             of strangers, in all (full), for the descriptors, or handshakes of their source in a second",
            metrics.closed.clone(),
        );
        metrics
    }

    /// A server begins.
    pub(crate) fn serves(&self, server: &'static str) {
        drop(self.connections.get_or_create(&Server { server }));
    }

    /// A connection came.
    pub(crate) fn entered(&self, server: &'static str) {
        self.connections.get_or_create(&Server { server }).inc();
    }

    /// A connection is over.
    pub(crate) fn left(&self, server: &'static str) {
        self.connections.get_or_create(&Server { server }).dec();
    }

    /// A connection had to go.
    pub(crate) fn closed(&self, server: &'static str, reason: &'static str) {
        self.closed.get_or_create(&Closed { server, reason }).inc();
    }
}
