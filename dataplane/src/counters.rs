//! What each worker counts while streams are alive. Totals per finished stream travel in
//! [`StreamRecord`](crate::seam::StreamRecord)s instead.
//!
//! A worker alone writes its counters, so an increment is a load and a store, without a locked
//! instruction; readers sum over the workers and may see values of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    (
        single { $($kind:ident $metric:literal $help:literal: $name:ident,)+ }
        labelled {
            $($split:ident $family:literal $about:literal by $label:literal:
                $($word:literal $part:ident),+;)+
        }
    ) => {
        /// One worker's counters and gauges.
        #[derive(Debug, Default)]
        #[repr(align(128))] // two cache lines: neighbours must not share one
        pub struct WorkerCounters {
            $(#[doc = $help] pub $name: Counter,)+
            $($(#[doc = concat!($about, ": ", $word)] pub $part: Counter,)+)+
        }

        /// The sum over all workers at about one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterTotals {
            $(#[doc = $help] pub $name: u64,)+
            $($(#[doc = concat!($about, ": ", $word)] pub $part: u64,)+)+
        }

        impl CounterTotals {
            /// Adds up what all workers counted.
            pub fn sum<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>) -> Self {
                let mut totals = Self::default();
                for worker in workers {
                    $(totals.$name = totals.$name.wrapping_add(worker.$name.value());)+
                    $($(totals.$part = totals.$part.wrapping_add(worker.$part.value());)+)+
                }
                totals
            }
        }

        /// How each of them is shown: none is counted and never seen.
        pub const FAMILIES: &[Family] = &[
            $(Family {
                kind: Kind::$kind,
                name: $metric,
                help: $help,
                values: Values::One(|totals| totals.$name),
            },)+
            $(Family {
                kind: Kind::$split,
                name: $family,
                help: $about,
                values: Values::By($label, &[$(($word, |totals| totals.$part)),+]),
            },)+
        ];
    };
}

/// What a metric does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It grows.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// Counters that are shown under one name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// What it does.
    pub kind: Kind,
    /// The name, without the prefix of the process.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// The counters.
    pub values: Values,
}

/// Picks one counter.
pub type Value = fn(&CounterTotals) -> u64;

/// The counters of a family.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One without a label.
    One(Value),
    /// Several: their label, and its word for each.
    By(&'static str, &'static [(&'static str, Value)]),
}

// Each with its name and its help at `/metrics`.
counters! {
single {
    Counter "connections_accepted" "Connections accepted": accepted,
    Counter "accept_errors"
        "Failures of accept that were survived: out of descriptors, buffers or memory":
        accept_errors,
    Counter "streams_limited" "Streams refused at an admission limit": limited,
    Counter "unauthenticated_ended"
        "Connections over TCP that ended before their clients had authenticated: closed, silent, \
         refused, failed": unauthenticated_ended,
    Counter "unauthenticated_evicted"
        "Those that were closed to make room for others, at limits.maxUnauthenticated":
        unauthenticated_evicted,
    Counter "unauthenticated_untold"
        "Those that neither log nor audit reports, because one of the same kind was reported \
         within the second before": unauthenticated_untold,
    Counter "handshakes_limited"
        "TLS handshakes that did not begin, at a limit of handshakes per second":
        handshakes_limited,
    Counter "dials" "Dials begun": dials,
    Counter "dial_failures" "Dials that failed or timed out": dial_failures,
    Counter "dial_cancels" "Dials cancelled because the downstream left": dial_cancels,
    Counter "spares_made"
        "Spare connections to kubelets that were made (kubelet.warm)": spares_made,
    Counter "spares_used"
        "Spare connections to kubelets that served a stream in place of a dial": spares_used,
    Counter "handshakes_resumed"
        "TLS handshakes as server that resumed a session, whose client was validated again; they \
         count in handshakes, too": handshakes_resumed,
    Counter "handshake_failures"
        "TLS handshakes that failed, as server or client": handshake_failures,
    Counter "splice_starts" "Times a direction went over from copying to splicing": splice_starts,
    Counter "pipe_shortages"
        "Times a bulky direction kept copying because no pipe was free": pipe_shortages,
    Counter "reads_deferred"
        "Reads of steady one-way flows that were put off to take more at once": reads_deferred,
    Counter "watches_refused"
        "Times a direction of small messages had to poll for each of them, at \
         fs.epoll.max_user_watches": watches_refused,
    Counter "liveness_sweeps"
        "Looks at TCP legs whose peers had not acknowledged all that was sent": liveness_sweeps,
    Counter "peers_lost"
        "Peers that died while something was on its way to them (timeouts.tcpUserTimeout)":
        peers_lost,
    Counter "cuts_unseen"
        "Cuts that the client took for an end, over a UNIX listener without TLS of its own":
        cuts_unseen,
    Counter "exhausted"
        "Times the machine ran out of descriptors, buffers or memory after accept": exhausted,
    Counter "tunnel_retries"
        "Tries of an open on one connection or agent that failed, after which the next was tried":
        tunnel_retries,
    Counter "tunnel_refused"
        "Connections of agents that were closed: not granted, unknown open, limit, protocol":
        tunnel_refused,
    Counter "tunnel_revoked"
        "Connections of agents, and streams through them, that ended because the agent may not \
         any more": tunnel_revoked,
    Counter "tunnel_backoffs"
        "Pauses before this agent dialled a gateway again that it had lost, or not reached":
        tunnel_backoffs,
    Counter "tunnel_replayed"
        "Opens that this agent refused because it had seen their ids": tunnel_replayed,
    Counter "records_lost"
        "Records of streams that control was too far behind to take; they are missing in the \
         audit log": records_lost,
    Gauge "connections_unauthenticated"
        "Connections over TCP whose clients have not authenticated yet; they are no streams":
        unauthenticated,
    Gauge "streams_live"
        "Streams alive, from accept (over TCP: from the end of the handshake) to their end":
        streams_live,
    Gauge "streams_established" "Streams that relay": streams_established,
    Gauge "streams_pending"
        "Streams that wait for a verdict, a dial or a handshake": streams_pending,
    Gauge "spares" "Spare connections to kubelets that wait for a stream": spares,
    Gauge "tunnel_agents" "Agents that are connected to this gateway": tunnel_agents,
    Gauge "tunnel_parked"
        "Connections of agents that wait for a stream at this gateway": tunnel_parked,
    Gauge "tunnel_gateways" "Gateways that this agent is registered with": tunnel_gateways,
    Gauge "tunnel_waiting" "Connections of this agent that wait for a stream": tunnel_waiting,
    Gauge "ring_operations_in_flight" "io_uring operations in flight": ops_in_flight,
}
labelled {
    Counter "handshakes" "TLS handshakes finished, by our role" by "role":
        "server" handshakes_server, "client" handshakes_client;
    Counter "key_exchanges"
        "TLS handshakes finished, as server or client, by key exchange group" by "group":
        "X25519MLKEM768" exchanges_x25519mlkem768, "X25519" exchanges_x25519,
        "CurveP256" exchanges_p256, "CurveP384" exchanges_p384;
    Counter "spares_dropped"
        "Spare connections to kubelets that were thrown away, by reason" by "reason":
        "reload" spares_dropped_reload, "expired" spares_dropped_expired,
        "closed" spares_dropped_closed, "limit" spares_dropped_limit, "drain" spares_dropped_drain;
    Counter "payload_bytes"
        "Payload delivered: up is from the API server to the target" by "direction":
        "up" bytes_up, "down" bytes_down;
    Counter "moved_bytes" "Payload of both directions by how it was moved" by "method":
        "splice" bytes_spliced, "copy" bytes_copied;
    Counter "tunnel_opens"
        "Streams opened through agents: on a parked connection, on a fresh one, through another \
         gateway, or not" by "outcome":
        "warm" tunnel_opens_warm, "cold" tunnel_opens_cold, "chained" tunnel_opens_chained,
        "failed" tunnel_opens_failed;
    Counter "tunnel_inner"
        "Streams whose TLS between agent and gateway was to end before their first byte: it ended, \
         or the agent did not agree" by "outcome":
        "only" tunnel_inner_only, "declined" tunnel_inner_declined;
    Counter "ktls_legs"
        "Legs for which kernel TLS was asked, by what carries their TLS" by "carrier":
        "kernel" ktls_legs, "user" ktls_declined;
    Gauge "pipes" "Splice pipes: lent to streams, and all that are open" by "state":
        "in_use" pipes_in_use, "open" pipes_open;
    Gauge "buffers" "Relay buffers: lent to streams, and all that are allocated" by "state":
        "in_use" buffers_in_use, "open" buffers_open;
}
}

/// One cell, written by one thread: of two that add at once, one would be lost.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.set(self.value().wrapping_add(n));
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes one off (gauges only).
    pub fn dec(&self) {
        self.set(self.value().wrapping_sub(1));
    }

    /// Sets the value (gauges only).
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Reads the value.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
