//! What a run came to.

use crate::meter::{Interval, Percentiles, Usage};
use crate::work::{Point, Work};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const GIB: f64 = (1_u64 << 30) as f64;

/// A whole measurement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// From the end of the warm-up to the end of the window.
    pub(crate) seconds: f64,
    /// One per workload.
    pub(crate) parts: Vec<Part>,
    /// What the proxy used meanwhile, with its sizes at the end; none if it is not watched.
    pub(crate) proxy: Option<Usage>,
    /// The most that it had resident.
    pub(crate) peak_rss: u64,
    /// CPU seconds of this process: clients, and the far end where it is in it.
    pub(crate) generator_seconds: f64,
    /// Cores that it may use.
    pub(crate) generator_cores: usize,
    /// How all that went over time.
    pub(crate) rows: Vec<Row>,
    /// The proxy's memory with so many idle streams.
    pub(crate) memory: Vec<Point>,
    /// What went wrong; figures are void if there is any.
    pub(crate) failures: Vec<String>,
}

/// What one workload came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) work: Work,
    /// Operations that ended in the window.
    pub(crate) operations: u64,
    /// Operations of an open loop that were due and never began.
    pub(crate) never_sent: u64,
    /// Payload bytes sent and received by clients in the window.
    pub(crate) bytes: u64,
    /// Streams opened, warm-up included.
    pub(crate) streams: u64,
    pub(crate) full_handshakes: u64,
    pub(crate) resumed_handshakes: u64,
    /// From when operations were due.
    pub(crate) latency: Percentiles,
    /// From when they really began.
    pub(crate) service: Percentiles,
    /// Latencies by interval, for the log.
    #[serde(skip)]
    pub(crate) log: Vec<Interval>,
    /// All latencies, for the plot.
    #[serde(skip)]
    pub(crate) histogram: Option<Histogram<u64>>,
}

/// One interval.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Its end, in seconds since the measurement began to count.
    pub(crate) at: f64,
    pub(crate) gib_per_second: f64,
    pub(crate) operations_per_second: f64,
    /// CPU seconds of the proxy per second.
    pub(crate) proxy_cores: f64,
    pub(crate) generator_cores: f64,
    pub(crate) rss: u64,
    pub(crate) fds: u64,
    /// Microseconds, of each workload.
    pub(crate) p99: Vec<f64>,
}

/// The figures by which proxies are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Measured {
    pub(crate) gib_per_second: f64,
    pub(crate) operations_per_second: f64,
    /// CPU seconds of the proxy per GiB of payload.
    pub(crate) cpu_per_gib: f64,
    /// CPU microseconds of the proxy per operation.
    pub(crate) cpu_us_per_operation: f64,
    pub(crate) switches_per_operation: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_99: f64,
    /// Resident bytes per idle stream, where streams were parked.
    pub(crate) rss_per_stream: f64,
    pub(crate) peak_rss: f64,
    /// CPU seconds of the generator per second and core.
    pub(crate) generator_share: f64,
    /// TLS handshakes that resumed a session, of all.
    pub(crate) resumed_share: f64,
    /// Operations done by operations due, in an open loop.
    pub(crate) done_share: f64,
    /// CPU time of the busiest worker by that of all workers; none known where there is only one.
    pub(crate) busiest_worker: f64,
}

impl Outcome {
    /// Payload bytes of all parts.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Operations of all parts.
    pub(crate) fn operations(&self) -> u64 {
        self.parts.iter().map(|part| part.operations).sum()
    }

    /// Operations done by operations due, of the worst part that has an arrival rate.
    pub(crate) fn done(&self) -> Option<f64> {
        let of = |part: &Part| {
            let rate = part.work.rate?;
            Some(part.operations as f64 / (rate * self.seconds))
        };
        self.parts.iter().filter_map(of).reduce(f64::min)
    }

    /// CPU seconds of the proxy per second.
    pub(crate) fn proxy_cores(&self) -> Option<f64> {
        Some(self.proxy?.cpu_seconds / self.seconds.max(f64::EPSILON))
    }

    /// CPU seconds of the generator per second and core.
    pub(crate) fn generator_share(&self) -> f64 {
        let cores = self.generator_cores.max(1) as f64;
        self.generator_seconds / (self.seconds.max(f64::EPSILON) * cores)
    }

    /// The figures by which proxies are compared; latencies are those of the first part.
    pub(crate) fn measured(&self) -> Measured {
        let seconds = self.seconds.max(f64::EPSILON);
        let (bytes, operations) = (self.bytes() as f64, self.operations() as f64);
        let proxy = self.proxy.unwrap_or_default();
        let latency = self.parts.first().map(|part| part.latency.clone());
        let latency = latency.unwrap_or_default();
        let per = |amount: f64, of: f64| if of > 0.0 { amount / of } else { 0.0 };
        let switches = proxy.voluntary_switches + proxy.involuntary_switches;
        Measured {
            gib_per_second: bytes / GIB / seconds,
            operations_per_second: operations / seconds,
            cpu_per_gib: per(proxy.cpu_seconds, bytes / GIB),
            cpu_us_per_operation: per(proxy.cpu_seconds * 1e6, operations),
            switches_per_operation: per(switches as f64, operations),
            p50: latency.p50,
            p99: latency.p99,
            p99_99: latency.p99_99,
            rss_per_stream: rss_per_stream(&self.memory),
            peak_rss: self.peak_rss as f64,
            generator_share: self.generator_share(),
            resumed_share: self.resumed_share(),
            done_share: self.done().unwrap_or(0.0),
            busiest_worker: 0.0,
        }
    }

    /// TLS handshakes that resumed a session, of all.
    fn resumed_share(&self) -> f64 {
        let resumed: u64 = self.parts.iter().map(|part| part.resumed_handshakes).sum();
        let full: u64 = self.parts.iter().map(|part| part.full_handshakes).sum();
        resumed as f64 / (resumed + full).max(1) as f64
    }
}

/// What a stream adds: the slope by least squares over all points but the first, in which pools and
/// allocator are still cold.
fn rss_per_stream(points: &[Point]) -> f64 {
    let warm = points.get(1..).unwrap_or_default();
    let count = warm.len() as f64;
    if warm.len() < 2 {
        return 0.0;
    }
    let x = |point: &Point| point.streams as f64;
    let y = |point: &Point| point.proxy.rss as f64;
    let mean_x = warm.iter().map(x).sum::<f64>() / count;
    let mean_y = warm.iter().map(y).sum::<f64>() / count;
    let spread: f64 = warm.iter().map(|point| (x(point) - mean_x).powi(2)).sum();
    let both: f64 = warm
        .iter()
        .map(|point| (x(point) - mean_x) * (y(point) - mean_y))
        .sum();
    if spread > 0.0 { both / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(streams: usize, rss: u64) -> Point {
        Point {
            streams,
            proxy: Usage {
                rss,
                ..Usage::default()
            },
        }
    }

    #[test]
    fn memory_per_stream_is_the_slope_behind_the_cold_start() {
        let cold = point(0, 1);
        let points = [
            cold,
            point(100, 5_000_100),
            point(200, 5_000_200),
            point(300, 5_000_300),
        ];
        assert!((rss_per_stream(&points) - 1.0).abs() < 1e-6);
        assert_eq!(rss_per_stream(&[]), 0.0);
        assert_eq!(rss_per_stream(&[cold, cold, cold]), 0.0);
    }

    #[test]
    fn figures_are_per_second_byte_and_operation() {
        let part = Part {
            work: serde_json::from_str(
                r#"{"name":"x","workload":"rr","connections":1,"direction":"upload",
                    "rate":100.0,"arrivals":"constant","ask":1,"answer":1,"slots":1}"#,
            )
            .unwrap(),
            operations: 150,
            never_sent: 0,
            bytes: 1 << 29,
            streams: 1,
            full_handshakes: 0,
            resumed_handshakes: 0,
            latency: Percentiles::default(),
            service: Percentiles::default(),
            log: Vec::new(),
            histogram: None,
        };
        let outcome = Outcome {
            seconds: 2.0,
            parts: vec![part],
            proxy: Some(Usage {
                cpu_seconds: 0.3,
                voluntary_switches: 100,
                involuntary_switches: 50,
                ..Usage::default()
            }),
            generator_seconds: 1.0,
            generator_cores: 1,
            ..Outcome::default()
        };
        let measured = outcome.measured();
        assert!((measured.gib_per_second - 0.25).abs() < 1e-9);
        assert!((measured.cpu_per_gib - 0.6).abs() < 1e-9);
        assert!((measured.cpu_us_per_operation - 2000.0).abs() < 1e-9);
        assert!((measured.switches_per_operation - 1.0).abs() < 1e-9);
        assert!((measured.generator_share - 0.5).abs() < 1e-9);
        assert_eq!(outcome.done(), Some(0.75));
    }
}
