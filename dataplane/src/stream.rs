//! One stream from accept to its record: establish, carry, end both legs as they deserve.

use crate::context::StreamContext;
use crate::egress::{self, Carry};
use crate::exchange::{self, Exchange, Served};
use crate::failure::Failure;
use crate::handshake::{self, TlsParty};
use crate::leg::Leg;
use crate::limits::LINGER;
use crate::relay;
use crate::seam::{
    ListenerName, Peer, Phase, Reason, RecordKind, Side, Snapshot, StreamBytes, StreamMode,
    StreamRecord, VerificationResult,
};
use crate::worker::Worker;
use eyesplice_proto::authority::Authority;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::timeout;

/// What is known of a stream so far; the source of its record.
pub(crate) struct Facts {
    pub(crate) listener: ListenerName,
    pub(crate) peer: Peer,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    pub(crate) client: Option<Arc<str>>,
    pub(crate) target: Option<Authority>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) rule: Option<Arc<str>>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) generation: u64,
    pub(crate) mode: StreamMode,
    pub(crate) verification: VerificationResult,
    pub(crate) phase: Phase,
    pub(crate) status: Option<u16>,
    /// Requests that were let through or refused on a terminated connection.
    pub(crate) exchanges: u32,
}

/// A stream whose upstream leg is up.
pub(crate) struct Established {
    pub(crate) upstream: Box<Leg>,
    pub(crate) carry: Carry,
    pub(crate) head_timeout: Duration,
}

impl Facts {
    pub(crate) fn new(listener: ListenerName, peer: Peer, generation: u64) -> Self {
        Self {
            listener,
            peer,
            started: Instant::now(),
            started_at: SystemTime::now(),
            client: None,
            target: None,
            address: None,
            rule: None,
            node: None,
            generation,
            mode: StreamMode::None,
            verification: VerificationResult::NotApplicable,
            phase: Phase::Accept,
            status: None,
            exchanges: 0,
        }
    }

    /// The record of the stream itself; an exchange fills in its own part.
    pub(crate) fn record(&self, cx: &StreamContext, failure: &Failure) -> StreamRecord {
        StreamRecord {
            kind: RecordKind::End,
            id: cx.id(),
            exchange: 0,
            listener: Arc::clone(&self.listener),
            peer: self.peer.clone(),
            client: self.client.clone(),
            target: self.target.clone(),
            address: self.address,
            rule: self.rule.clone(),
            node: self.node.clone(),
            generation: self.generation,
            mode: self.mode,
            verification: self.verification.clone(),
            exchange_labels: None,
            status: self.status,
            started: self.started_at,
            duration: self.started.elapsed(),
            bytes: cx.bytes(),
            reason: failure.reason,
            side: failure.side,
            phase: failure.phase,
            detail: failure.detail.clone(),
        }
    }
}

/// Carries one accepted connection to its end.
///
/// What is awaited here is boxed if it is short, and pinned in place if it is long: an async function
/// keeps its arguments beside what they are moved into, and every idle stream would pay for both.
pub(crate) async fn run(
    worker: Rc<Worker>,
    cx: Rc<StreamContext>,
    snapshot: Arc<Snapshot>,
    downstream: Box<Leg>,
    mut facts: Box<Facts>,
) {
    let mut setup = Box::pin(set_up(&worker, &cx, &snapshot, &downstream, &mut facts));
    let result = until_aborted(&cx, Phase::Accept, setup.as_mut()).await;
    drop(setup);
    let mut exchange = None;
    let failure = match result {
        Err(failure) => failure,
        Ok(Established {
            upstream,
            carry,
            head_timeout,
        }) => {
            let _established = worker.established();
            let failure = match carry {
                Carry::Relay => relayed(&cx, &downstream, &upstream).await,
                Carry::Kubelet(policy) => {
                    let serve = Box::pin(exchange::serve(
                        &worker,
                        &cx,
                        &mut facts,
                        &downstream,
                        &upstream,
                        &policy,
                        head_timeout,
                    ));
                    match serve.await {
                        Served::Closed(failure, last) => {
                            exchange = last;
                            failure
                        }
                        Served::Upgraded(last) => {
                            exchange = Some(last);
                            relayed(&cx, &downstream, &upstream).await
                        }
                    }
                }
            };
            end(&cx, &failure, &downstream, &upstream);
            if (failure.reason, failure.side) == (Reason::Truncated, Side::Downstream) {
                Box::pin(lingered(&cx, &upstream)).await;
            }
            failure
        }
    };
    if (failure.reason, failure.side) == (Reason::Truncated, Side::Upstream) {
        Box::pin(lingered(&cx, &downstream)).await;
    }
    if downstream.is_shut() {
        // A peer that stays is closed on all the same.
        let drained = timeout(LINGER, downstream.drain(cx.pools()));
        drop(Box::pin(drained).await);
    }
    // The peers learn of the end now, however long control takes to.
    drop(downstream);
    // Held until here, so that control can count the streams of each generation.
    drop(snapshot);
    if let Some(record) = last_record(&facts, &cx, exchange.as_deref(), &failure) {
        Box::pin(worker.emit(record)).await;
    }
}

async fn relayed(cx: &StreamContext, downstream: &Leg, upstream: &Leg) -> Failure {
    let relay = pin!(async { Ok(relay::relay(cx, downstream, upstream).await) });
    until_aborted(cx, Phase::Relay, relay)
        .await
        .unwrap_or_else(|failure| failure)
}

/// What is still to be told: of the exchange that ended with the stream, or of the stream itself if
/// it had none, or if it ended between two in another way than it should.
fn last_record(
    facts: &Facts,
    cx: &StreamContext,
    exchange: Option<&Exchange>,
    failure: &Failure,
) -> Option<StreamRecord> {
    if let Some(exchange) = exchange {
        return Some(exchange.record(facts, cx, failure));
    }
    let mut record = facts.record(cx, failure);
    if facts.exchanges > 0 {
        if failure.reason == Reason::Completed {
            return None;
        }
        // They have told of theirs.
        record.bytes = StreamBytes::default();
    }
    Some(record)
}

async fn set_up(
    worker: &Rc<Worker>,
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    facts: &mut Facts,
) -> Result<Established, Failure> {
    if let Some(tls) = snapshot.listener_tls.get(&facts.listener) {
        let limits = &snapshot.admission;
        if !worker.may_handshake(limits.max_handshakes_per_second) {
            cx.counters().limited.inc();
            return Err(Failure::new(Reason::Limit, Side::Local, Phase::Accept).detail(format!(
                "more than {} TLS handshakes in a second; raise limits.maxHandshakesPerSecond if \
                 this load is wanted",
                limits.max_handshakes_per_second
            )));
        }
        let party = TlsParty::Server(tls.clone());
        handshake::run(worker, cx, downstream, party, limits.handshake_timeout)
            .await
            .map_err(|error| {
                let mut failure = error.at(Side::Downstream, Phase::Accept);
                if failure.reason == Reason::Protocol {
                    failure.reason = Reason::HandshakeFailed;
                }
                failure
            })?;
        if let Peer::Tcp { identity, .. } = &mut facts.peer {
            *identity = handshake::identity(worker, downstream);
        }
    }
    facts.phase = Phase::Request;
    egress::establish(worker, cx, snapshot, downstream, facts).await
}

/// Runs `work` unless the stream is aborted or moves nothing for too long; who then drops it cancels
/// its operations.
pub(crate) async fn until_aborted<T>(
    cx: &StreamContext,
    phase: Phase,
    work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        result = work => result,
        reason = cx.aborted() => Err(Failure::new(reason, Side::Local, phase)),
        () = cx.idle() => Err(Failure::new(Reason::Idle, Side::Local, phase)),
    }
}

/// Lets each peer see what happened: an end as an end, a cut as a cut.
fn end(cx: &StreamContext, failure: &Failure, downstream: &Leg, upstream: &Leg) {
    match (failure.reason, failure.side) {
        (Reason::Completed, _) => {}
        // Who broke the protocol was told by an alert or an answer, which a reset would destroy.
        (Reason::Protocol | Reason::BadUpgrade | Reason::HandshakeFailed, Side::Downstream) => {
            downstream.discard(cx.pools());
            upstream.cut();
        }
        (Reason::Protocol | Reason::BadUpgrade | Reason::HandshakeFailed, Side::Upstream) => {
            upstream.discard(cx.pools());
            downstream.cut();
        }
        // All that came before is whole, and on its way: a reset would destroy it. A bare leg has no
        // other way to tell.
        (Reason::Truncated, Side::Upstream) if !downstream.is_bare() => {
            upstream.cut();
            downstream.truncate();
        }
        (Reason::Truncated, Side::Downstream) if !upstream.is_bare() => {
            upstream.truncate();
            downstream.cut();
        }
        _ => {
            upstream.cut();
            downstream.cut();
        }
    }
}

/// Lets the peer of a leg that was truncated take what is on its way to it.
async fn lingered(cx: &StreamContext, leg: &Leg) {
    if leg.is_shut() {
        let linger = pin!(async {
            relay::linger(cx, leg).await;
            Ok(())
        });
        // Who ends it early makes no difference to how it ended.
        let _ = until_aborted(cx, Phase::Relay, linger).await;
    }
}
