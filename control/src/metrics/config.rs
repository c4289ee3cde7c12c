//! Which configuration is in force, and how its last reload went.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

const SUCCESS: ResultLabel = ResultLabel { result: "success" };
const FAILURE: ResultLabel = ResultLabel { result: "failure" };

/// Which configuration is in force, and how its last reload went; clones count together.
#[derive(Clone, Debug, Default)]
pub struct ConfigMetrics {
    generation: Gauge,
    successful: Gauge,
    success_time: Gauge<f64, AtomicU64>,
    reloads: Family<ResultLabel, Counter>,
    restart_required: Gauge,
}

impl ConfigMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        // Both results exist from the start, so that a first failure is a step that rate() sees.
        drop(metrics.reloads.get_or_create(&SUCCESS));
        drop(metrics.reloads.get_or_create(&FAILURE));
        registry.register(
            "config_generation",
            "Number of the configuration that new streams get",
            metrics.generation.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "1 if the last load of configuration and certificates succeeded, else 0: the last good \
             state is in force",
            metrics.successful.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When configuration and certificates were last loaded successfully",
            metrics.success_time.clone(),
        );
        registry.register(
            "config_reloads",
            "Reloads of configuration and certificates",
            metrics.reloads.clone(),
        );
        registry.register(
            "config_restart_required",
            "Configuration fields whose new value waits for a restart",
            metrics.restart_required.clone(),
        );
        metrics
    }

    /// The same of an authority that runs in this process. Where none does, nothing of it failed.
    pub(super) fn register_embedded(registry: &mut Registry) -> Self {
        let metrics = Self::register(registry.sub_registry_with_prefix("authority"));
        metrics.successful.set(1);
        metrics
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
