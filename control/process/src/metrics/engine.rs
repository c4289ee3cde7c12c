//! Shows the workers' own counters, summed at each scrape.

use eyesplice_dataplane::counters::{CounterTotals, FAMILIES, Kind, Values, WorkerCounters};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// The workers' counters, once there are workers; zero before.
#[derive(Debug, Default)]
pub struct EngineMetrics(OnceLock<Vec<Arc<WorkerCounters>>>);

impl EngineMetrics {
    /// Shows these workers from now on; only the first call counts.
    pub fn attach(&self, workers: &[Arc<WorkerCounters>]) {
        self.0.get_or_init(|| workers.to_vec());
    }

    /// Sums the workers' counters.
    pub fn totals(&self) -> CounterTotals {
        CounterTotals::sum(self.0.get().into_iter().flatten().map(|worker| &**worker))
    }
}

impl Collector for EngineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals = self.totals();
        for family in FAMILIES {
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            match family.values {
                Values::One(value) => show(family.kind, value(&totals), metric)?,
                Values::By(label, values) => {
                    for (word, value) in values {
                        let row = [(label, *word)];
                        show(family.kind, value(&totals), metric.encode_family(&row)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn show(kind: Kind, value: u64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}
