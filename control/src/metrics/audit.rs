//! Counters of the audit log.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Counters of the audit log.
#[derive(Debug, Default)]
pub struct AuditMetrics {
    /// Lines that were written whole.
    pub written: Counter,
    /// Writes and reopenings that failed; the lines wait and are tried again.
    pub failed: Counter,
    /// Lines that were given up, because too many waited or the process ended.
    pub lost: Counter,
}

impl AuditMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "audit_lines_written",
            "Audit lines written",
            metrics.written.clone(),
        );
        registry.register(
            "audit_write_failures",
            "Writes to the audit log that failed; their lines are tried again",
            metrics.failed.clone(),
        );
        registry.register(
            "audit_lines_lost",
            "Audit lines given up because the log took no more",
            metrics.lost.clone(),
        );
        metrics
    }
}
