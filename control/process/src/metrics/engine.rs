//! Shows the workers' own counters, summed at each scrape.

use eyesplice_dataplane::counters::{CounterTotals, WorkerCounters};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
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

/// Picks one counter.
type Value = fn(&CounterTotals) -> u64;

/// One metric with no labels.
struct Single {
    name: &'static str,
    help: &'static str,
    value: Value,
}

/// One metric of several counters, told apart by one label.
struct Split {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: [(&'static str, Value); 2],
}

const COUNTERS: [Single; 21] = [
    Single {
        name: "connections_accepted",
        help: "Connections accepted",
        value: |t| t.accepted,
    },
    Single {
        name: "accept_errors",
        help: "Failures of accept that were survived: out of descriptors, buffers or memory",
        value: |t| t.accept_errors,
    },
    Single {
        name: "streams_limited",
        help: "Streams refused at an admission limit",
        value: |t| t.limited,
    },
    Single {
        name: "unauthenticated_ended",
        help: "Connections over TCP that ended before anybody had authenticated: closed, silent, refused, failed",
        value: |t| t.unauthenticated_ended,
    },
    Single {
        name: "unauthenticated_evicted",
        help: "Those that were closed to make room for others, at limits.maxUnauthenticated",
        value: |t| t.unauthenticated_evicted,
    },
    Single {
        name: "unauthenticated_untold",
        help: "Those of which neither log nor audit tells, because one of the same kind was told of within the second before",
        value: |t| t.unauthenticated_untold,
    },
    Single {
        name: "handshakes_limited",
        help: "TLS handshakes that did not begin, at a limit of handshakes per second",
        value: |t| t.handshakes_limited,
    },
    Single {
        name: "dials",
        help: "Dials begun",
        value: |t| t.dials,
    },
    Single {
        name: "dial_failures",
        help: "Dials that failed or timed out",
        value: |t| t.dial_failures,
    },
    Single {
        name: "dial_cancels",
        help: "Dials cancelled because the downstream left",
        value: |t| t.dial_cancels,
    },
    Single {
        name: "handshakes_resumed",
        help: "TLS handshakes as server that resumed a session, whose client was verified anew; they count in handshakes, too",
        value: |t| t.handshakes_resumed,
    },
    Single {
        name: "handshake_failures",
        help: "TLS handshakes that failed, as server or client",
        value: |t| t.handshake_failures,
    },
    Single {
        name: "splice_starts",
        help: "Times a direction went over from copying to splicing",
        value: |t| t.splice_starts,
    },
    Single {
        name: "pipe_shortages",
        help: "Times a bulky direction kept copying because no pipe was free",
        value: |t| t.pipe_shortages,
    },
    Single {
        name: "reads_deferred",
        help: "Reads of steady one-way flows that were put off to take more at once",
        value: |t| t.reads_deferred,
    },
    Single {
        name: "watches_refused",
        help: "Times a direction of small messages had to poll for each of them, at fs.epoll.max_user_watches",
        value: |t| t.watches_refused,
    },
    Single {
        name: "liveness_sweeps",
        help: "Looks at TCP legs whose peers had not acknowledged all that was sent",
        value: |t| t.liveness_sweeps,
    },
    Single {
        name: "peers_lost",
        help: "Peers that died while something was on its way to them (timeouts.tcpUserTimeout)",
        value: |t| t.peers_lost,
    },
    Single {
        name: "cuts_unseen",
        help: "Cuts that the client took for an end, over a UNIX listener without TLS of its own",
        value: |t| t.cuts_unseen,
    },
    Single {
        name: "exhausted",
        help: "Times the machine ran out of descriptors, buffers or memory after accept",
        value: |t| t.exhausted,
    },
    Single {
        name: "records_lost",
        help: "Records of streams that control was too far behind to take; they are missing in the audit log",
        value: |t| t.records_lost,
    },
];

const SPLIT_COUNTERS: [Split; 4] = [
    Split {
        name: "handshakes",
        help: "TLS handshakes finished, by our role",
        label: "role",
        values: [
            ("server", |t| t.handshakes_server),
            ("client", |t| t.handshakes_client),
        ],
    },
    Split {
        name: "payload_bytes",
        help: "Payload delivered: up is from the API server to the target",
        label: "direction",
        values: [("up", |t| t.bytes_up), ("down", |t| t.bytes_down)],
    },
    Split {
        name: "moved_bytes",
        help: "Payload of both directions by how it was moved",
        label: "method",
        values: [
            ("splice", |t| t.bytes_spliced),
            ("copy", |t| t.bytes_copied),
        ],
    },
    Split {
        name: "ktls_legs",
        help: "Legs for which kernel TLS was asked, by what carries their TLS",
        label: "carrier",
        values: [("kernel", |t| t.ktls_legs), ("user", |t| t.ktls_declined)],
    },
];

const GAUGES: [Single; 5] = [
    Single {
        name: "connections_unauthenticated",
        help: "Connections over TCP on which nobody has authenticated yet; they are no streams",
        value: |t| t.unauthenticated,
    },
    Single {
        name: "streams_live",
        help: "Streams alive, from accept (over TCP: from the end of the handshake) to their end",
        value: |t| t.streams_live,
    },
    Single {
        name: "streams_established",
        help: "Streams that relay",
        value: |t| t.streams_established,
    },
    Single {
        name: "streams_pending",
        help: "Streams that wait for a verdict, a dial or a handshake",
        value: |t| t.streams_pending,
    },
    Single {
        name: "ring_operations_in_flight",
        help: "io_uring operations in flight",
        value: |t| t.ops_in_flight,
    },
];

const SPLIT_GAUGES: [Split; 2] = [
    Split {
        name: "pipes",
        help: "Splice pipes: lent to streams, and all that are open",
        label: "state",
        values: [("in_use", |t| t.pipes_in_use), ("open", |t| t.pipes_open)],
    },
    Split {
        name: "buffers",
        help: "Relay buffers: lent to streams, and all that are allocated",
        label: "state",
        values: [
            ("in_use", |t| t.buffers_in_use),
            ("open", |t| t.buffers_open),
        ],
    },
];

impl Collector for EngineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals = self.totals();
        for Single { name, help, value } in COUNTERS {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(value(&totals)).encode(metric)?;
        }
        for Split {
            name,
            help,
            label,
            values,
        } in SPLIT_COUNTERS
        {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (word, value) in values {
                let row = [(label, word)];
                ConstCounter::new(value(&totals)).encode(metric.encode_family(&row)?)?;
            }
        }
        for Single { name, help, value } in GAUGES {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(gauge(value(&totals))).encode(metric)?;
        }
        for Split {
            name,
            help,
            label,
            values,
        } in SPLIT_GAUGES
        {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (word, value) in values {
                let row = [(label, word)];
                ConstGauge::new(gauge(value(&totals))).encode(metric.encode_family(&row)?)?;
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
