//! Metrics of one name and several labels, and how they are registered.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

/// N labels with their values.
pub(super) type Labels<const N: usize, V = &'static str> = [(&'static str, V); N];

/// Counters of one name, by their labels.
pub(super) type Counters<const N: usize, V = &'static str> = Family<Labels<N, V>, Counter>;

/// The same of gauges.
pub(super) type Gauges<const N: usize, V = &'static str> = Family<Labels<N, V>, Gauge>;

/// Adds metrics to a registry.
pub(super) trait Add {
    /// Shows a metric, at zero.
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M;
}

impl Add for Registry {
    fn add<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.register(name, help, metric.clone());
        metric
    }
}
