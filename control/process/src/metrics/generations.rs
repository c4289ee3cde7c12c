//! Live streams by the configuration generation that they began with.

use eyesplice_dataplane::seam::Snapshot;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::{Arc, Weak};

/// Generations that are remembered while streams hold them. Beyond, the oldest are shown no more.
const MAX_GENERATIONS: usize = 64;

/// Live streams by generation: a stream holds its snapshot for as long as it lives, so the holders
/// of a snapshot are its streams.
#[derive(Debug, Default)]
pub struct Generations(Mutex<Vec<Weak<Snapshot>>>);

impl Generations {
    /// Shows this generation from now on, until no stream holds it.
    pub fn published(&self, snapshot: &Arc<Snapshot>) {
        let mut known = self.0.lock();
        known.retain(|snapshot| snapshot.strong_count() > 0);
        if known.len() == MAX_GENERATIONS {
            known.remove(0);
        }
        known.push(Arc::downgrade(snapshot));
    }

    /// Generations with their holders, oldest first; the last is in force.
    fn holders(&self) -> Vec<(u64, usize)> {
        let mut known = self.0.lock();
        known.retain(|snapshot| snapshot.strong_count() > 0);
        let last = known.len().saturating_sub(1);
        let mut holders = Vec::with_capacity(known.len());
        for (index, weak) in known.iter().enumerate() {
            if let Some(snapshot) = weak.upgrade() {
                // Ours is one; the snapshot in force is also held by its cell.
                let others = 1 + usize::from(index == last);
                let streams = Arc::strong_count(&snapshot).saturating_sub(others);
                holders.push((snapshot.generation, streams));
            }
        }
        holders
    }
}

impl Collector for Generations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let holders = self.holders();
        if holders.is_empty() {
            return Ok(());
        }
        let mut metric = encoder.encode_descriptor(
            "generation_streams",
            "Live streams by the configuration generation that they began with",
            None,
            MetricType::Gauge,
        )?;
        for (generation, streams) in holders {
            let labels = [("generation", generation.to_string())];
            let streams = i64::try_from(streams).unwrap_or(i64::MAX);
            ConstGauge::new(streams).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
