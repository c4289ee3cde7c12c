//! Break-glass of this process: what it counts, and what the admin endpoint asks about it.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::fmt;
use std::sync::OnceLock;

/// What is known of break-glass where it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakGlassReport {
    /// It is in force.
    pub in_force: bool,
    /// What came of requests, by outcome.
    pub requests: Vec<(&'static str, u64)>,
    /// Reviews that are remembered.
    pub reviews: usize,
    /// Pods whose place is.
    pub places: usize,
    /// Their kubelets, by whether they take us.
    pub kubelets: Vec<(&'static str, usize)>,
}

/// An answer to the admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakGlassAnswer {
    /// JSON.
    Known(String),
    /// What is wrong with the question.
    Unclear(String),
    /// There is no break-glass.
    Absent,
}

type Source = Box<dyn Fn(Option<&str>) -> BreakGlassAnswer + Send + Sync>;

/// What answers the admin endpoint, once there is a gateway.
#[derive(Default)]
pub struct BreakGlass(OnceLock<Source>);

impl fmt::Debug for BreakGlass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakGlass").finish_non_exhaustive()
    }
}

impl BreakGlass {
    /// Answers as this does from now on; only the first call counts.
    pub fn attach(
        &self,
        source: impl Fn(Option<&str>) -> BreakGlassAnswer + Send + Sync + 'static,
    ) {
        self.0.get_or_init(|| Box::new(source));
    }

    /// How it is, or what a drill's question comes to.
    pub fn answer(&self, drill: Option<&str>) -> BreakGlassAnswer {
        match self.0.get() {
            Some(source) => source(drill),
            None => BreakGlassAnswer::Absent,
        }
    }
}

/// Writes all of it.
pub(super) fn encode(
    report: &BreakGlassReport,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
    let help = "Whether break-glass is in force: every API server has failed on both paths";
    let metric = encoder.encode_descriptor("break_glass_in_force", help, None, gauge)?;
    ConstGauge::new(i64::from(report.in_force)).encode(metric)?;
    let help = "Requests with a certificate for break-glass, by what came of them";
    let mut metric = encoder.encode_descriptor("break_glass_requests", help, None, counter)?;
    for (outcome, count) in &report.requests {
        let labels = [("outcome", *outcome)];
        ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
    }
    let help = "What break-glass remembers of the short way: reviews, and places of pods";
    let mut metric = encoder.encode_descriptor("break_glass_remembered", help, None, gauge)?;
    for (kind, count) in [("reviews", report.reviews), ("places", report.places)] {
        let labels = [("kind", kind)];
        ConstGauge::new(count as f64).encode(metric.encode_family(&labels)?)?;
    }
    let help = "Kubelets of remembered places: warm ones take our certificate by themselves";
    let mut metric = encoder.encode_descriptor("break_glass_kubelets", help, None, gauge)?;
    for (state, count) in &report.kubelets {
        let labels = [("state", *state)];
        ConstGauge::new(*count as f64).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
