//! A gauge whose rows are replaced all at once.

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One row: its labels and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Names and values, the same names in every row of a table.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: i64,
}

/// A gauge whose rows are replaced all at once, so that no scrape sees half of a change.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    help: &'static str,
    parts: ArcSwap<BTreeMap<&'static str, Vec<Row>>>,
}

impl Table {
    /// Shows a table that has no rows yet.
    pub(super) fn register(
        registry: &mut Registry,
        name: &'static str,
        help: &'static str,
    ) -> Arc<Self> {
        let table = Arc::new(Self {
            name,
            help,
            parts: ArcSwap::default(),
        });
        registry.register_collector(Box::new(Arc::clone(&table)));
        table
    }

    /// Replaces all rows.
    pub fn replace(&self, rows: Vec<Row>) {
        self.replace_part("", rows);
    }

    /// Replaces the rows of one part, where several fill one table.
    pub fn replace_part(&self, part: &'static str, rows: Vec<Row>) {
        self.parts.rcu(|old| {
            let mut parts = BTreeMap::clone(old);
            parts.insert(part, rows.clone());
            parts
        });
    }
}

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let parts = self.parts.load();
        if parts.values().all(Vec::is_empty) {
            return Ok(());
        }
        let mut metric =
            encoder.encode_descriptor(self.name, self.help, None, MetricType::Gauge)?;
        for row in parts.values().flatten() {
            ConstGauge::new(row.value).encode(metric.encode_family(&row.labels)?)?;
        }
        Ok(())
    }
}
