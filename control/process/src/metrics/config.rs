//! Which configuration is in force, and how its last reload went.

use super::family::Counters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

const SUCCESS: [(&str, &str); 1] = [("result", "success")];
const FAILURE: [(&str, &str); 1] = [("result", "failure")];

/// Which configuration is in force, and how its last reload went; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ConfigMetrics {
    generation: Gauge,
    successful: Gauge,
    success_time: Gauge<f64, AtomicU64>,
    reloads: Counters<1>,
    restart_required: Gauge,
}

impl ConfigMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::new();
        metrics.show(registry, true);
        metrics
    }

    /// The same of an authority that runs in this process. Where none does, nothing is shown: a success
    /// of what is not there would be a lie.
    pub(super) fn register_embedded(registry: &mut Registry) -> Self {
        let metrics = Self::new();
        metrics.show(registry.sub_registry_with_prefix(AUTHORITY), false);
        metrics
    }

    /// Shows these under an authority's name, too: the process is the authority's own.
    pub(super) fn register_as_authority(&self, registry: &mut Registry) -> Self {
        self.show(registry.sub_registry_with_prefix(AUTHORITY), false);
        self.clone()
    }

    fn new() -> Self {
        let metrics = Self::default();
        // Both results exist from the start, so that a first failure is a step that rate() sees.
        drop(metrics.reloads.get_or_create(&SUCCESS));
        drop(metrics.reloads.get_or_create(&FAILURE));
        metrics
    }

    fn show(&self, registry: &mut Registry, always: bool) {
        let metrics = self.clone();
        registry.register_collector(Box::new(Shown { metrics, always }));
    }

    fn each(&self) -> [(&'static str, &'static str, &dyn EncodeMetric); 5] {
        [
            (
                "config_generation",
                "Number of the configuration that new streams get",
                &self.generation,
            ),
            (
                "config_last_reload_successful",
                "1 if the last load of configuration and certificates succeeded, else 0: the last good \
                 state is in force",
                &self.successful,
            ),
            (
                "config_last_reload_success_timestamp_seconds",
                "When configuration and certificates were last loaded successfully",
                &self.success_time,
            ),
            (
                "config_reloads",
                "Reloads of configuration and certificates",
                &self.reloads,
            ),
            (
                "config_restart_required",
                "Configuration fields whose new value waits for a restart",
                &self.restart_required,
            ),
        ]
    }

    /// The first load succeeded.
    pub fn loaded(&self, generation: u64, now: SystemTime) {
        self.generation
            .set(i64::try_from(generation).unwrap_or(i64::MAX));
        self.successful.set(1);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.success_time.set(now.as_secs_f64());
    }

    /// A reload succeeded; `restart_required` fields keep their old value until a restart.
    pub fn reloaded(&self, generation: u64, restart_required: usize, now: SystemTime) {
        self.loaded(generation, now);
        self.reloads.get_or_create(&SUCCESS).inc();
        self.restart_required
            .set(i64::try_from(restart_required).unwrap_or(i64::MAX));
    }

    /// A reload failed and the last good state stays.
    pub fn reload_failed(&self) {
        self.successful.set(0);
        self.reloads.get_or_create(&FAILURE).inc();
    }

    /// Whether the last load succeeded.
    pub fn last_successful(&self) -> bool {
        self.successful.get() == 1
    }
}

/// The prefix of an authority's own.
const AUTHORITY: &str = "authority";

/// Shows a configuration: always, or once it has been loaded.
#[derive(Debug)]
struct Shown {
    metrics: ConfigMetrics,
    always: bool,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if !self.always && self.metrics.generation.get() == 0 {
            return Ok(());
        }
        for (name, help, metric) in self.metrics.each() {
            let kind = metric.metric_type();
            // As the registry ends its own.
            let help = format!("{help}.");
            metric.encode(encoder.encode_descriptor(name, &help, None, kind)?)?;
        }
        Ok(())
    }
}
