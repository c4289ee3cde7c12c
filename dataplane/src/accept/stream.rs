//! One stream from admission to its record: establish, carry, end both legs as they deserve.

use crate::accept::egress::{self, Carry, Established};
use crate::carry::ending::{Ending, Legs};
use crate::carry::exchange::{self, Exchange, Made, Served, Terms};
use crate::carry::relay;
use crate::config::Role;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Phase, Reason, Snapshot, StreamBytes, StreamRecord};
use eyesplice_proto::stream::{Event, Legs as Tls};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// Carries one admitted connection to its end.
///
/// What is awaited here is boxed if it is short, and pinned in place if it is long: an async function
/// keeps its arguments beside what they are moved into, and every idle stream would pay for both.
pub(crate) async fn run(
    cx: Rc<StreamContext>,
    mut snapshot: Arc<Snapshot>,
    downstream: Box<Leg>,
    mut record: Box<StreamRecord>,
    role: Role,
) {
    let mut setup = Box::pin(set_up(&cx, &snapshot, &downstream, &mut record, role));
    let result = cx.until_aborted(Phase::Accept, setup.as_mut()).await;
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
            let established = cx.desk().established();
            watch(&cx, &downstream);
            watch(&cx, &upstream);
            let ending = match carry {
                Carry::Relay => relayed(&cx, &downstream, &upstream).await,
                Carry::Kubelet(policy) => {
                    cx.on(Event::Exchange(with_tls(&downstream, &upstream)));
                    let terms = Terms {
                        policy,
                        head_timeout,
                    };
                    let mut made = Made {
                        upstream,
                        terms,
                        snapshot,
                    };
                    let serve = exchange::serve(&cx, &mut record, &downstream, &mut made);
                    let served = Box::pin(serve).await;
                    (upstream, snapshot) = (made.upstream, made.snapshot);
                    match served {
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
    if let Some(record) = last_record(&record, &cx, exchange.as_deref(), &failure) {
        cx.desk().emit(record);
    }
}

/// What a set-up comes to.
enum SetUp {
    Established(Established),
    /// It failed, and the client was told why if it could be.
    Over(Ending),
}

async fn set_up(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
    role: Role,
) -> Result<SetUp, End> {
    Ok(match role {
        Role::Egress => match egress::establish(cx, snapshot, downstream, record).await {
            Ok(established) => SetUp::Established(established),
            Err(failure) if downstream.is_shut() => SetUp::Over(Ending::alerted(cx, failure)),
            Err(failure) => SetUp::Over(egress::answer(cx, downstream, record, failure).await),
        },
    })
}

/// Begins to watch the peer of a leg.
fn watch(cx: &Rc<StreamContext>, leg: &Leg) {
    let stream = Rc::clone(cx);
    if let Some(pulse) = cx.desk().sweep.pulse(stream, leg.fd(), leg.side().into()) {
        leg.set_pulse(pulse);
        // What was sent before: the end of a handshake, the answer to the CONNECT.
        leg.sent();
    }
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
    cx.until_aborted(Phase::Relay, relay)
        .await
        .unwrap_or_else(|failure| Ending::interrupted(cx, failure))
}

/// What is still to be told: of the exchange that ended with the stream, or of the stream itself if
/// it had none, or if it ended between two in another way than it should.
fn last_record(
    record: &StreamRecord,
    cx: &StreamContext,
    exchange: Option<&Exchange>,
    failure: &End,
) -> Option<StreamRecord> {
    if let Some(exchange) = exchange {
        return Some(exchange.record(record, cx, failure));
    }
    let mut last = record.ended(cx, failure);
    if record.exchange > 0 {
        if failure.reason == Reason::Completed {
            return None;
        }
        // They have told of theirs.
        last.bytes = StreamBytes::default();
    }
    Some(last)
}
