//! What fronts refuse and record: streams over a limit, and audit events of those that pass API
//! servers.

use super::break_glass::{self, BreakGlassReport};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::OnceLock;

/// What is known of the fronts of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontReport {
    /// Streams that were refused, by limit.
    pub limited: Vec<(&'static str, u64)>,
    /// Where audit events go.
    pub events: Vec<EventSink>,
    /// Break-glass, where it is configured.
    pub break_glass: Option<BreakGlassReport>,
}

/// How one place does that audit events go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSink {
    /// `file` or `webhook`.
    pub sink: &'static str,
    /// Events that it took.
    pub delivered: u64,
    /// Events that were given up.
    pub lost: u64,
    /// Writes or requests that failed; their events are tried again.
    pub failures: u64,
    /// Events that wait.
    pub waiting: u64,
}

type Source = Box<dyn Fn() -> FrontReport + Send + Sync>;

/// The fronts of this process, if it has some.
#[derive(Default, derive_more::Debug)]
#[debug("Fronts")]
pub struct Fronts(OnceLock<Source>);

impl Fronts {
    /// Shows what this tells from now on; only the first call counts.
    pub fn attach(&self, source: impl Fn() -> FrontReport + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(source));
    }
}

/// The fronts as they are shown.
#[derive(Debug)]
pub(super) struct Shown(pub(super) std::sync::Arc<Fronts>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(source) = self.0.0.get() else {
            return Ok(());
        };
        let FrontReport {
            limited,
            events,
            break_glass,
        } = source();
        if let Some(report) = &break_glass {
            break_glass::encode(report, &mut encoder)?;
        }
        let counter = MetricType::Counter;
        let help = "Streams of pods that were refused, by the limit of front.limits";
        let mut metric = encoder.encode_descriptor("front_streams_limited", help, None, counter)?;
        for (limit, count) in limited {
            let labels = [("limit", limit)];
            ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
        }
        let help = "Audit events of streams that pass API servers";
        let mut metric = encoder.encode_descriptor("front_audit_events", help, None, counter)?;
        for sink in &events {
            for (result, count) in [("delivered", sink.delivered), ("lost", sink.lost)] {
                let labels = [("sink", sink.sink), ("result", result)];
                ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Writes and requests of audit events that failed; they are tried again";
        let mut metric = encoder.encode_descriptor("front_audit_failures", help, None, counter)?;
        for sink in &events {
            let labels = [("sink", sink.sink)];
            ConstCounter::new(sink.failures).encode(metric.encode_family(&labels)?)?;
        }
        let help = "Audit events that wait to be written or sent";
        let gauge = MetricType::Gauge;
        let mut metric =
            encoder.encode_descriptor("front_audit_events_waiting", help, None, gauge)?;
        for sink in &events {
            let labels = [("sink", sink.sink)];
            ConstGauge::new(sink.waiting as f64).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
