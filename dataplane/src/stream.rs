//! One stream from admission to its record: establish, carry, end both legs as they deserve.

use crate::context::StreamContext;
use crate::egress::{self, Carry};
use crate::ending::{Ending, Legs};
use crate::exchange::{self, Exchange, Served};
use crate::failure::Failure;
use crate::leg::Leg;
use crate::relay;
use crate::seam::{
    ListenerName, Peer, Phase, Reason, RecordKind, Side, Snapshot, StreamBytes, StreamMode,
    StreamRecord, VerificationResult,
};
use crate::worker::Worker;
use eyesplice_proto::authority::Authority;
use eyesplice_proto::stream::{Event, Legs as Tls};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

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

    /// Of a TCP connection that was accepted at `since`.
    pub(crate) fn of_tcp(listener: ListenerName, address: SocketAddr, since: Instant) -> Self {
        let peer = Peer::Tcp {
            address,
            identity: None,
        };
        let mut facts = Self::new(listener, peer, 0);
        facts.started = since;
        facts.started_at -= since.elapsed();
        facts
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

/// Carries one admitted connection to its end.
///
/// What is awaited here is boxed if it is short, and pinned in place if it is long: an async function
/// keeps its arguments beside what they are moved into, and every idle stream would pay for both.
pub(crate) async fn run(
    worker: Rc<Worker>,
    cx: Rc<StreamContext>,
    mut snapshot: Arc<Snapshot>,
    downstream: Box<Leg>,
    mut facts: Box<Facts>,
) {
    facts.phase = Phase::Request;
    let mut setup = Box::pin(set_up(&worker, &cx, &snapshot, &downstream, &mut facts));
    let result = until_aborted(&cx, Phase::Accept, setup.as_mut()).await;
    drop(setup);
    let mut exchange = None;
    let mut legs = Legs {
        downstream: None,
        upstream: None,
    };
    let (ending, phase) = match result {
        Err(failure) => (Ending::failed(&cx, failure), Phase::Accept),
        Ok(SetUp::Over(ending)) => (ending, Phase::Accept),
        Ok(SetUp::Established(Established {
            mut upstream,
            carry,
            head_timeout,
        })) => {
            let established = worker.established();
            worker.sweep().watch(&cx, &downstream);
            worker.sweep().watch(&cx, &upstream);
            let ending = match carry {
                Carry::Relay => relayed(&cx, &downstream, &upstream).await,
                Carry::Kubelet(policy) => {
                    cx.on(Event::Exchange(with_tls(&downstream, &upstream)));
                    let serve = Box::pin(exchange::serve(
                        &worker,
                        &cx,
                        &mut facts,
                        &mut snapshot,
                        &downstream,
                        &mut upstream,
                        exchange::Terms {
                            policy,
                            head_timeout,
                        },
                    ));
                    match serve.await {
                        Served::Closed(ending, last) => {
                            exchange = last;
                            ending
                        }
                        Served::Upgraded(last) => {
                            exchange = Some(last);
                            relayed(&cx, &downstream, &upstream).await
                        }
                    }
                }
            };
            legs.upstream = Some((upstream, established));
            (ending, Phase::Relay)
        }
    };
    legs.downstream = Some(downstream);
    let failure = Box::pin(ending.run(&cx, legs, phase)).await;
    // Held until here, so that control can count the streams of each generation.
    drop(snapshot);
    if let Some(record) = last_record(&facts, &cx, exchange.as_deref(), &failure) {
        worker.emit(record);
    }
}

/// What a set-up comes to.
enum SetUp {
    Established(Established),
    /// It failed, and the client was told why if it could be.
    Over(Ending),
}

async fn set_up(
    worker: &Rc<Worker>,
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    facts: &mut Facts,
) -> Result<SetUp, Failure> {
    Ok(
        match egress::establish(worker, cx, snapshot, downstream, facts).await {
            Ok(established) => SetUp::Established(established),
            Err(failure) if downstream.is_shut() => SetUp::Over(Ending::alerted(cx, failure)),
            Err(failure) => SetUp::Over(egress::answer(cx, downstream, facts, failure).await),
        },
    )
}

fn with_tls(downstream: &Leg, upstream: &Leg) -> Tls {
    Tls {
        downstream: !downstream.is_bare(),
        upstream: !upstream.is_bare(),
    }
}

async fn relayed(cx: &StreamContext, downstream: &Leg, upstream: &Leg) -> Ending {
    cx.on(Event::Relay(with_tls(downstream, upstream)));
    let relay = pin!(async { Ok(relay::relay(cx, downstream, upstream).await) });
    until_aborted(cx, Phase::Relay, relay)
        .await
        .unwrap_or_else(|failure| Ending::interrupted(cx, failure))
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
        reason = cx.aborted() => Err(cx.lost().map_or_else(
            || Failure::new(reason, Side::Local, phase),
            |loss| loss.at(phase),
        )),
        () = cx.idle() => Err(Failure::new(Reason::Idle, Side::Local, phase)),
    }
}
