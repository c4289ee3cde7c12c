//! How a gateway keeps up with the others by Leases.

use super::family::{Add, Counters};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a gateway keeps up with the others by Leases; clones count together.
#[derive(Clone, Debug, Default)]
pub struct MembershipMetrics {
    /// Gateways that are present by their Leases.
    pub members: Gauge,
    succeeded: Gauge,
    failures: Counters<1>,
}

impl MembershipMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            members: registry.add(
                "tunnel_members",
                "Gateways that are present by their Leases (tunnel.leases)",
            ),
            succeeded: registry.add(
                "tunnel_membership_last_success_timestamp_seconds",
                "When the Leases of gateways were last renewed and read, in seconds since 1970; 0: \
                 never, or there is no tunnel.leases",
            ),
            failures: registry.add(
                "tunnel_membership_failures",
                "Times that the Leases of gateways could not be renewed or read",
            ),
        }
    }

    /// The Leases were renewed and read.
    pub fn succeeded(&self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.succeeded
            .set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    }

    /// They were not.
    pub fn failed(&self, cause: &'static str) {
        self.failures.get_or_create(&[("cause", cause)]).inc();
    }
}
