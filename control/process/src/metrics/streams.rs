//! Metrics of streams that ended, fed by their end records.

use super::family::{Add, Counters, Labels};
use eyesplice_dataplane::seam::{ListenerName, StreamRecord, VerificationResult};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Seconds: a refused stream takes milliseconds, a log is followed for hours (a kubelet cuts it
/// after four).
const DURATION_BUCKETS: [f64; 12] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0,
];

/// The label of what a stream does not have.
const NONE: &str = "none";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    listener: ListenerName,
    mode: &'static str,
    action: &'static str,
    reason: &'static str,
    side: &'static str,
}

/// Metrics of streams that ended.
#[derive(Debug)]
pub struct StreamMetrics {
    ended: Family<EndLabels, Counter>,
    duration: Family<Labels<2>, Histogram, fn() -> Histogram>,
    verifications: Counters<2>,
    front_requests: Counters<3>,
}

impl StreamMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let ended = registry.add(
            "streams_ended",
            "Streams that ended; of a terminated connection to a kubelet, each request is one",
        );
        let duration = Family::<_, _, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(DURATION_BUCKETS)
        });
        registry.register_with_unit(
            "stream_duration",
            "How long streams lived, from accept or request to their end",
            Unit::Seconds,
            duration.clone(),
        );
        Self {
            ended,
            duration,
            verifications: registry.add(
                "verifications",
                "Certificates of kubelets and other upstreams that were judged; observed ones \
                 would have been refused under verification: enforce",
            ),
            front_requests: registry.add(
                "front_requests",
                "Requests to front listeners: through the API server, past it (short), or answered \
                 by the gateway; and why a stream went through the API server",
            ),
        }
    }

    /// Counts a stream that ended.
    pub fn ended(&self, record: &StreamRecord) {
        let action = record
            .exchange_labels
            .as_ref()
            .map_or(NONE, |labels| labels.action.as_str());
        let mode = record.mode.as_str();
        self.ended
            .get_or_create(&EndLabels {
                listener: record.listener.clone(),
                mode,
                action,
                reason: record.reason.as_str(),
                side: record.side.as_str(),
            })
            .inc();
        self.duration
            .get_or_create(&[("mode", mode), ("action", action)])
            .observe(record.duration.as_secs_f64());
        self.verified(record);
        if let Some(path) = record
            .exchange_labels
            .as_ref()
            .and_then(|labels| labels.path)
        {
            let why = path.why().unwrap_or(NONE);
            let labels = [("path", path.as_str()), ("action", action), ("why", why)];
            self.front_requests.get_or_create(&labels).inc();
        }
    }

    /// A connection is verified once, however many requests it carries.
    fn verified(&self, record: &StreamRecord) {
        if record.exchange > 1 {
            return;
        }
        let (result, cause) = match &record.verification {
            VerificationResult::NotApplicable => return,
            VerificationResult::Verified(_) => ("verified", NONE),
            VerificationResult::Observed { cause, .. } => ("observed", *cause),
            VerificationResult::Refused { cause } => ("refused", *cause),
        };
        self.verifications
            .get_or_create(&[("result", result), ("cause", cause)])
            .inc();
    }
}
