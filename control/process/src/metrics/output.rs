//! How the log and the audit log do, read from their outputs at each scrape.

use crate::output::{Output, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What is shown of one output; zeros before it is attached.
#[derive(Debug, Default)]
pub struct OutputMetrics(OnceLock<Output>);

/// An output's metrics under the first part of their names.
#[derive(Debug)]
pub(super) struct Shown(pub(super) &'static str, pub(super) Arc<OutputMetrics>);

impl OutputMetrics {
    /// Shows this output from now on; only the first call counts.
    pub fn attach(&self, output: Output) {
        self.0.get_or_init(|| output);
    }

    /// How the output does.
    pub fn status(&self) -> Status {
        self.0.get().map(Output::status).unwrap_or_default()
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(part, metrics) = self;
        let status = metrics.status();
        let counters = [
            ("lines_written", "Lines written", status.written),
            (
                "write_failures",
                "Writes that failed; their lines are tried again",
                status.failures,
            ),
            (
                "lines_lost",
                "Lines given up because disk or reader took no more",
                status.lost,
            ),
        ];
        for (name, help, value) in counters {
            let name = format!("{part}_{name}");
            let kind = MetricType::Counter;
            let metric = encoder.encode_descriptor(&name, help, None, kind)?;
            ConstCounter::new(value).encode(metric)?;
        }
        let blocked = status.blocked.unwrap_or(Duration::ZERO);
        let gauges = [
            (
                "lines_waiting",
                "Lines that wait to be written",
                status.lines as f64,
            ),
            ("bytes_waiting", "Their bytes", status.bytes as f64),
            (
                "blocked_seconds",
                "For how long nothing was written although lines wait",
                blocked.as_secs_f64(),
            ),
        ];
        for (name, help, value) in gauges {
            let name = format!("{part}_{name}");
            let metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(metric)?;
        }
        Ok(())
    }
}
