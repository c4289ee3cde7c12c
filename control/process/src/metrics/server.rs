//! Connections of the HTTP servers of this process.

use super::family::{Add, Counters, Gauges};
use prometheus_client::registry::Registry;

/// Connections of the HTTP servers of this process; clones count together.
#[derive(Clone, Debug)]
pub struct ServerMetrics {
    connections: Gauges<1>,
    closed: Counters<2>,
}

impl ServerMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            connections: registry.add(
                "server_connections",
                "Connections of the admin endpoint and the authority",
            ),
            closed: registry.add(
                "server_connections_closed",
                "Connections that had to go because there were too many: of their source address (source), \
                 of strangers, in all (full), for the descriptors, or handshakes of their source in a second",
            ),
        }
    }

    /// A server begins.
    pub(crate) fn serves(&self, server: &'static str) {
        drop(self.connections.get_or_create(&[("server", server)]));
    }

    /// A connection came.
    pub(crate) fn entered(&self, server: &'static str) {
        self.connections.get_or_create(&[("server", server)]).inc();
    }

    /// A connection is over.
    pub(crate) fn left(&self, server: &'static str) {
        self.connections.get_or_create(&[("server", server)]).dec();
    }

    /// A connection had to go.
    pub(crate) fn closed(&self, server: &'static str, reason: &'static str) {
        let labels = [("server", server), ("reason", reason)];
        self.closed.get_or_create(&labels).inc();
    }
}
