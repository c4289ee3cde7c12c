//! What each worker counts while streams are alive. Totals per finished stream travel in
//! [`StreamRecord`](crate::seam::StreamRecord)s instead.
//!
//! A worker alone writes its counters, so an increment is a load and a store, without a locked
//! instruction; readers sum over the workers and may see values of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// One worker's counters and gauges.
        #[derive(Debug, Default)]
        #[repr(align(128))] // two cache lines: neighbours must not share one
        pub struct WorkerCounters {
            $($(#[$doc])+ pub $name: Counter,)+
        }

        /// The sum over all workers at about one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterTotals {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl CounterTotals {
            /// Adds up what all workers counted.
            pub fn sum<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>) -> Self {
                let mut totals = Self::default();
                for worker in workers {
                    $(totals.$name = totals.$name.wrapping_add(worker.$name.value());)+
                }
                totals
            }
        }
    };
}

counters! {
    /// Connections accepted.
    accepted,
    /// accept(2) failures that were survived (EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED).
    accept_errors,
    /// Gauge: connections over TCP on which nobody has authenticated yet.
    unauthenticated,
    /// Such connections that ended: closed, silent, refused, failed.
    unauthenticated_ended,
    /// Of those, closed to make room for others.
    unauthenticated_evicted,
    /// Of those, the ones that neither log nor audit tells of, because one did a moment before.
    unauthenticated_untold,
    /// TLS handshakes that did not begin, at a limit of handshakes per second.
    handshakes_limited,
    /// Gauge: streams alive, from accept (over TCP: from the end of the handshake) to their end.
    streams_live,
    /// Gauge: streams whose relay or exchange runs.
    streams_established,
    /// Gauge: streams that wait for a verdict, a dial or a handshake.
    streams_pending,
    /// Streams refused at an admission limit.
    limited,
    /// Dials begun.
    dials,
    /// Dials that failed or timed out.
    dial_failures,
    /// Dials cancelled because the downstream left.
    dial_cancels,
    /// Gauge: spare connections that wait for a stream.
    spares,
    /// Spare connections made: dialled, verified, kept. Each is used or thrown away once.
    spares_made,
    /// Spare connections that served a stream.
    spares_used,
    /// Spare connections thrown away because another configuration came into force.
    spares_dropped_reload,
    /// Those that were too old, or whose certificate or ours had ended.
    spares_dropped_expired,
    /// Those that the peer ended or spoke on.
    spares_dropped_closed,
    /// Those whose place or descriptor was wanted for streams.
    spares_dropped_limit,
    /// Those of a worker that ended.
    spares_dropped_drain,
    /// TLS handshakes finished as server.
    handshakes_server,
    /// TLS handshakes of those that resumed an earlier session.
    handshakes_resumed,
    /// TLS handshakes finished as client.
    handshakes_client,
    /// TLS handshakes by X25519MLKEM768, either role.
    exchanges_x25519mlkem768,
    /// TLS handshakes by X25519, either role.
    exchanges_x25519,
    /// TLS handshakes by P-256, either role.
    exchanges_p256,
    /// TLS handshakes by P-384, either role.
    exchanges_p384,
    /// TLS handshakes that failed, either role.
    handshake_failures,
    /// Payload bytes from downstream to upstream.
    bytes_up,
    /// Payload bytes from upstream to downstream.
    bytes_down,
    /// Bytes of both directions that were spliced.
    bytes_spliced,
    /// Bytes of both directions that were copied through user space.
    bytes_copied,
    /// Times a direction moved from copy to splice.
    splice_starts,
    /// Times a bulky direction had to stay with copy because no pipe was free.
    pipe_shortages,
    /// Reads of steady one-way flows that were put off to take more at once.
    reads_deferred,
    /// Directions of small messages that poll for each of them, since the kernel registers no watch more.
    watches_refused,
    /// Looks at TCP legs whose peers had not acknowledged all that was sent.
    liveness_sweeps,
    /// Peers that died while something was on its way to them, as those looks found.
    peers_lost,
    /// Cuts that the client takes for an end: it came over a UNIX socket, and there is no TLS with it.
    cuts_unseen,
    /// Gauge: pipes lent to streams.
    pipes_in_use,
    /// Gauge: pipes alive, lent or pooled.
    pipes_open,
    /// Gauge: buffers lent to streams.
    buffers_in_use,
    /// Gauge: buffers alive, lent or pooled.
    buffers_open,
    /// Legs whose TLS was handed to the kernel.
    ktls_legs,
    /// Legs that stayed in user space although kernel TLS was asked for.
    ktls_declined,
    /// Gauge: ring operations in flight.
    ops_in_flight,
    /// Times the machine ran out of descriptors, buffers or memory after accept.
    exhausted,
    /// Gauge: agents that have a control connection to this gateway.
    tunnel_agents,
    /// Gauge: data connections of agents that wait for a stream at this gateway.
    tunnel_parked,
    /// Streams opened through an agent on a parked connection.
    tunnel_opens_warm,
    /// Streams opened through an agent on a connection that it was asked for.
    tunnel_opens_cold,
    /// Streams opened through another gateway, which has an agent for them.
    tunnel_opens_chained,
    /// Streams that could not be opened through any agent.
    tunnel_opens_failed,
    /// Tries of an open on one connection or agent that failed, so that the next one was tried.
    tunnel_retries,
    /// Connections of agents that were closed: protocol, limit, unknown id, not granted.
    tunnel_refused,
    /// Connections of agents and streams through them that ended because the agent may not any
    /// more.
    tunnel_revoked,
    /// Gauge: gateways that this agent is registered with.
    tunnel_gateways,
    /// Gauge: data connections of this agent that wait for a stream.
    tunnel_waiting,
    /// Pauses of this agent before it dialled a gateway again.
    tunnel_backoffs,
    /// Opens that this agent refused because it had seen their ids.
    tunnel_replayed,
    /// Records of streams that were given up because control was too far behind.
    records_lost,
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
