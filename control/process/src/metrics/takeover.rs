//! Listening sockets that pass from one process to the next.

use super::family::{Add, Counters};
use prometheus_client::registry::Registry;

/// How often the sockets passed from or to this process; clones count together.
#[derive(Clone, Debug)]
pub struct TakeoverMetrics {
    takeovers: Counters<1>,
}

impl TakeoverMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        Self {
            takeovers: registry.add(
                "takeovers",
                "Takeovers of the listening sockets: by this process (completed), or by others \
                 that did not become ready (failed) or may not or cannot have them (refused)",
            ),
        }
    }

    /// This process takes over, and can be taken over from.
    pub(crate) fn serves(&self) {
        for result in ["completed", "failed", "refused"] {
            self.at(result, 0);
        }
    }

    /// This process took over from another one.
    pub(crate) fn completed(&self) {
        self.at("completed", 1);
    }

    /// Another process did not become ready.
    pub(crate) fn failed(&self) {
        self.at("failed", 1);
    }

    /// Another process was refused.
    pub(crate) fn refused(&self) {
        self.at("refused", 1);
    }

    fn at(&self, result: &'static str, times: u64) {
        let counter = self.takeovers.get_or_create(&[("result", result)]);
        counter.inc_by(times);
    }
}
