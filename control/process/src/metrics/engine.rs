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

/// A metric without labels: its name, its value, and its help.
type Single = (&'static str, Value, &'static str);

/// A metric of several counters: its name, its label, a word and a value for each, and its help.
type Split = (
    &'static str,
    &'static str,
    &'static [(&'static str, Value)],
    &'static str,
);

#[rustfmt::skip] // a table
const COUNTERS: [Single; 28] = [
    ("connections_accepted", |t| t.accepted, "Connections accepted"),
    ("accept_errors", |t| t.accept_errors,
     "Failures of accept that were survived: out of descriptors, buffers or memory"),
    ("streams_limited", |t| t.limited, "Streams refused at an admission limit"),
    ("unauthenticated_ended", |t| t.unauthenticated_ended,
     "Connections over TCP that ended before their clients had authenticated: closed, silent, \
      refused, failed"),
    ("unauthenticated_evicted", |t| t.unauthenticated_evicted,
     "Those that were closed to make room for others, at limits.maxUnauthenticated"),
    ("unauthenticated_untold", |t| t.unauthenticated_untold,
     "Those that neither log nor audit reports, because one of the same kind was reported within \
      the second before"),
    ("handshakes_limited", |t| t.handshakes_limited,
     "TLS handshakes that did not begin, at a limit of handshakes per second"),
    ("dials", |t| t.dials, "Dials begun"),
    ("dial_failures", |t| t.dial_failures, "Dials that failed or timed out"),
    ("dial_cancels", |t| t.dial_cancels, "Dials cancelled because the downstream left"),
    ("spares_made", |t| t.spares_made,
     "Spare connections to kubelets that were made (kubelet.warm)"),
    ("spares_used", |t| t.spares_used,
     "Spare connections to kubelets that served a stream in place of a dial"),
    ("handshakes_resumed", |t| t.handshakes_resumed,
     "TLS handshakes as server that resumed a session, whose client was validated again; they \
      count in handshakes, too"),
    ("handshake_failures", |t| t.handshake_failures,
     "TLS handshakes that failed, as server or client"),
    ("splice_starts", |t| t.splice_starts, "Times a direction went over from copying to splicing"),
    ("pipe_shortages", |t| t.pipe_shortages,
     "Times a bulky direction kept copying because no pipe was free"),
    ("reads_deferred", |t| t.reads_deferred,
     "Reads of steady one-way flows that were put off to take more at once"),
    ("watches_refused", |t| t.watches_refused,
     "Times a direction of small messages had to poll for each of them, at \
      fs.epoll.max_user_watches"),
    ("liveness_sweeps", |t| t.liveness_sweeps,
     "Looks at TCP legs whose peers had not acknowledged all that was sent"),
    ("peers_lost", |t| t.peers_lost,
     "Peers that died while something was on its way to them (timeouts.tcpUserTimeout)"),
    ("cuts_unseen", |t| t.cuts_unseen,
     "Cuts that the client took for an end, over a UNIX listener without TLS of its own"),
    ("exhausted", |t| t.exhausted,
     "Times the machine ran out of descriptors, buffers or memory after accept"),
    ("tunnel_retries", |t| t.tunnel_retries,
     "Tries of an open on one connection or agent that failed, after which the next was tried"),
    ("tunnel_refused", |t| t.tunnel_refused,
     "Connections of agents that were closed: not granted, unknown open, limit, protocol"),
    ("tunnel_revoked", |t| t.tunnel_revoked,
     "Connections of agents, and streams through them, that ended because the agent may not any \
      more"),
    ("tunnel_backoffs", |t| t.tunnel_backoffs,
     "Pauses before this agent dialled a gateway again that it had lost, or not reached"),
    ("tunnel_replayed", |t| t.tunnel_replayed,
     "Opens that this agent refused because it had seen their ids"),
    ("records_lost", |t| t.records_lost,
     "Records of streams that control was too far behind to take; they are missing in the audit log"),
];

#[rustfmt::skip] // a table
const SPLIT_COUNTERS: [Split; 7] = [
    ("handshakes", "role", &[("server", |t| t.handshakes_server), ("client", |t| t.handshakes_client)],
     "TLS handshakes finished, by our role"),
    ("key_exchanges", "group",
     &[("X25519MLKEM768", |t| t.exchanges_x25519mlkem768), ("X25519", |t| t.exchanges_x25519),
       ("CurveP256", |t| t.exchanges_p256), ("CurveP384", |t| t.exchanges_p384)],
     "TLS handshakes finished, as server or client, by key exchange group"),
    ("spares_dropped", "reason",
     &[("reload", |t| t.spares_dropped_reload), ("expired", |t| t.spares_dropped_expired),
       ("closed", |t| t.spares_dropped_closed), ("limit", |t| t.spares_dropped_limit),
       ("drain", |t| t.spares_dropped_drain)],
     "Spare connections to kubelets that were thrown away, by reason"),
    ("payload_bytes", "direction", &[("up", |t| t.bytes_up), ("down", |t| t.bytes_down)],
     "Payload delivered: up is from the API server to the target"),
    ("moved_bytes", "method", &[("splice", |t| t.bytes_spliced), ("copy", |t| t.bytes_copied)],
     "Payload of both directions by how it was moved"),
    ("tunnel_opens", "outcome",
     &[("warm", |t| t.tunnel_opens_warm), ("cold", |t| t.tunnel_opens_cold),
       ("chained", |t| t.tunnel_opens_chained), ("failed", |t| t.tunnel_opens_failed)],
     "Streams opened through agents: on a parked connection, on a fresh one, through another \
      gateway, or not"),
    ("ktls_legs", "carrier", &[("kernel", |t| t.ktls_legs), ("user", |t| t.ktls_declined)],
     "Legs for which kernel TLS was asked, by what carries their TLS"),
];

#[rustfmt::skip] // a table
const GAUGES: [Single; 10] = [
    ("connections_unauthenticated", |t| t.unauthenticated,
     "Connections over TCP whose clients have not authenticated yet; they are no streams"),
    ("streams_live", |t| t.streams_live,
     "Streams alive, from accept (over TCP: from the end of the handshake) to their end"),
    ("streams_established", |t| t.streams_established, "Streams that relay"),
    ("streams_pending", |t| t.streams_pending,
     "Streams that wait for a verdict, a dial or a handshake"),
    ("spares", |t| t.spares, "Spare connections to kubelets that wait for a stream"),
    ("tunnel_agents", |t| t.tunnel_agents, "Agents that are connected to this gateway"),
    ("tunnel_parked", |t| t.tunnel_parked,
     "Connections of agents that wait for a stream at this gateway"),
    ("tunnel_gateways", |t| t.tunnel_gateways, "Gateways that this agent is registered with"),
    ("tunnel_waiting", |t| t.tunnel_waiting,
     "Connections of this agent that wait for a stream"),
    ("ring_operations_in_flight", |t| t.ops_in_flight, "io_uring operations in flight"),
];

#[rustfmt::skip] // a table
const SPLIT_GAUGES: [Split; 2] = [
    ("pipes", "state", &[("in_use", |t| t.pipes_in_use), ("open", |t| t.pipes_open)],
     "Splice pipes: lent to streams, and all that are open"),
    ("buffers", "state", &[("in_use", |t| t.buffers_in_use), ("open", |t| t.buffers_open)],
     "Relay buffers: lent to streams, and all that are allocated"),
];

impl Collector for EngineMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let totals = self.totals();
        let counter = |value: Value| ConstCounter::new(value(&totals));
        let gauge =
            |value: Value| ConstGauge::new(i64::try_from(value(&totals)).unwrap_or(i64::MAX));
        for (name, value, help) in COUNTERS {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            counter(value).encode(metric)?;
        }
        for split in SPLIT_COUNTERS {
            encode(&mut encoder, MetricType::Counter, split, counter)?;
        }
        for (name, value, help) in GAUGES {
            let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            gauge(value).encode(metric)?;
        }
        for split in SPLIT_GAUGES {
            encode(&mut encoder, MetricType::Gauge, split, gauge)?;
        }
        Ok(())
    }
}

fn encode<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    kind: MetricType,
    (name, label, values, help): Split,
    shown: impl Fn(Value) -> M,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for &(word, value) in values {
        let row = [(label, word)];
        shown(value).encode(metric.encode_family(&row)?)?;
    }
    Ok(())
}
