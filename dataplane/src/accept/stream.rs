//! One stream from admission to its record: establish, carry, end both legs as they deserve.

use crate::accept::agent::serve as agent;
use crate::accept::established::Established;
use crate::accept::gate::Gate;
use crate::accept::{api_server, egress, front};
use crate::carry::ending::{Ending, Legs};
use crate::carry::exchange::{self, Exchange, Made, Served};
use crate::carry::front::Front;
use crate::carry::relay;
use crate::config::Role;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Peer, Phase, Reason, Side, Snapshot, StreamBytes, StreamRecord};
use eyesplice_proto::stream::{Event, Legs as Tls};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// A connection that asks to be a stream.
pub(crate) struct Candidate {
    pub(crate) cx: Rc<StreamContext>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) downstream: Box<Leg>,
    pub(crate) record: Box<StreamRecord>,
    pub(crate) role: Role,
}

/// Carries one admitted connection to its end.
///
/// What is awaited here is boxed if it is short, and pinned in place if it is long: an async
/// function keeps its arguments beside what they are moved into, and every idle stream would pay
/// for both.
pub(crate) async fn run(
    cx: Rc<StreamContext>,
    mut snapshot: Arc<Snapshot>,
    downstream: Box<Leg>,
    mut record: Box<StreamRecord>,
    (role, gate): (Role, Arc<Gate>),
) {
    let mut setup = Box::pin(set_up(&cx, &snapshot, &downstream, &mut record, role));
    let result = cx.until_aborted(Phase::Accept, setup.as_mut()).await;
    drop(setup);
    let mut exchange = None;
    let mut stranger = false;
    let mut legs = Legs {
        downstream: None,
        upstream: None,
    };
    let (ending, phase) = match result {
        Err(failure) => (Ending::failed(&cx, failure), Phase::Accept),
        Ok(SetUp::Over(ending)) => (ending, Phase::Accept),
        Ok(SetUp::Established(established)) => {
            let gauge = cx.desk().established();
            watch_all(&cx, &record, &downstream, established.upstream());
            let (served, upstream) = match established {
                Established::Relay(upstream) => (None, Some(upstream)),
                established => {
                    let requests = Requests {
                        cx: &cx,
                        downstream: &downstream,
                        gate: &gate,
                    };
                    let serve = requests.serve(established, &mut record, snapshot);
                    let carried = Box::pin(serve).await;
                    (snapshot, stranger) = (carried.snapshot, carried.stranger);
                    (carried.served, carried.upstream)
                }
            };
            let over = match served {
                None => None,
                Some(Served::Upgraded(last)) => {
                    exchange = Some(last);
                    None
                }
                Some(Served::Closed(ending, last)) => {
                    exchange = last;
                    Some(ending)
                }
            };
            let ending = match (over, upstream.as_deref()) {
                (Some(ending), _) => ending,
                (None, Some(upstream)) => relayed(&cx, &downstream, upstream).await,
                (None, None) => Ending::failed(&cx, internal()),
            };
            legs.upstream = upstream.map(|upstream| (upstream, gauge));
            (ending, Phase::Relay)
        }
    };
    legs.downstream = Some(downstream);
    let failure = Box::pin(ending.run(&cx, legs, phase)).await;
    // Held until here, so that control can count the streams of each generation.
    drop(snapshot);
    if stranger {
        cx.counters().unauthenticated_ended.inc();
    }
    match last_record(&record, &cx, exchange.as_deref(), &failure) {
        Some(last) if stranger && last.exchange == 0 => front::tell(&cx, &gate, last),
        Some(last) => cx.desk().emit(last),
        None => {}
    }
}

/// A stream that carries requests.
struct Requests<'a> {
    cx: &'a Rc<StreamContext>,
    downstream: &'a Leg,
    gate: &'a Gate,
}

/// What is left of a stream when it carries no more requests.
struct Carried {
    /// None: raw bytes from the begin.
    served: Option<Served>,
    upstream: Option<Box<Leg>>,
    /// What the last request was judged by.
    snapshot: Arc<Snapshot>,
    /// Nobody authenticated.
    stranger: bool,
}

impl Requests<'_> {
    /// Serves them until the connection ends or is upgraded.
    async fn serve(
        self,
        established: Established,
        record: &mut StreamRecord,
        mut snapshot: Arc<Snapshot>,
    ) -> Carried {
        let Self {
            cx,
            downstream,
            gate,
        } = self;
        match established {
            Established::Relay(upstream) => Carried {
                served: None,
                upstream: Some(upstream),
                snapshot,
                stranger: false,
            },
            Established::Kubelet(upstream, terms) => {
                cx.on(Event::Exchange(with_tls(downstream, &upstream)));
                let mut made = Made {
                    upstream,
                    terms,
                    snapshot,
                };
                let served = exchange::serve(cx, record, downstream, &mut made).await;
                Carried {
                    served: Some(served),
                    upstream: Some(made.upstream),
                    snapshot: made.snapshot,
                    stranger: false,
                }
            }
            Established::Front(client) => {
                cx.on(Event::Exchange(BOTH));
                let introduce = || front::authenticated(cx, gate, client);
                let mut talk = Front::new(cx, downstream, client, &introduce);
                let served = talk.serve(record, &mut snapshot).await;
                Carried {
                    served: Some(served),
                    stranger: !talk.is_known(),
                    upstream: talk.into_upstream(),
                    snapshot,
                }
            }
        }
    }
}

/// Of a front: no connection of it is without TLS.
const BOTH: Tls = Tls {
    downstream: true,
    upstream: true,
};

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
        Role::Agent => match agent::establish(cx, snapshot, downstream, record).await {
            Ok(established) => SetUp::Established(established),
            Err(failure) => SetUp::Over(agent::answer(cx, downstream, record, failure).await),
        },
        Role::Front => match record.peer {
            // In plain text its clients' tokens would be everybody's.
            Peer::Tcp { address, .. } if !downstream.is_bare() => {
                SetUp::Established(Established::Front(address))
            }
            _ => return Err(internal()),
        },
        // There are no words of ours for one who speaks TLS with somebody else.
        Role::ApiServer => {
            SetUp::Established(api_server::establish(cx, snapshot, downstream, record).await?)
        }
        Role::Tunnel => return Err(internal()),
    })
}

/// Closes a connection that is to be no stream, and lets its peer read why as its role tells it.
/// Returns the record of it.
pub(crate) async fn refuse(candidate: Candidate, refusal: End) -> StreamRecord {
    let Candidate {
        cx,
        snapshot,
        downstream,
        mut record,
        role,
    } = candidate;
    cx.refuse();
    let answered = async {
        match role {
            Role::Egress => egress::refuse(&cx, &snapshot, &downstream, &mut record, refusal).await,
            Role::Agent => agent::refuse(&cx, &snapshot, &downstream, &mut record, refusal).await,
            Role::Front => front::refuse(&cx, &snapshot, &downstream, &mut record, refusal).await,
            Role::Tunnel | Role::ApiServer => Err(refusal),
        }
    };
    let ending = cx
        .until_aborted(Phase::Request, pin!(answered))
        .await
        .unwrap_or_else(|failure| Ending::failed(&cx, failure));
    let legs = Legs {
        downstream: Some(downstream),
        upstream: None,
    };
    let failure = ending.run(&cx, legs, Phase::Request).await;
    record.ended(&cx, &failure)
}

/// Begins to watch the peers of a stream; one on a UNIX socket lives as long as its process.
fn watch_all(
    cx: &Rc<StreamContext>,
    record: &StreamRecord,
    downstream: &Leg,
    upstream: Option<&Leg>,
) {
    if matches!(record.peer, Peer::Tcp { .. }) {
        cx.watch(downstream);
    }
    if let Some(upstream) = upstream
        && (record.address.is_some() || !upstream.is_unix())
    {
        cx.watch(upstream);
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

fn internal() -> End {
    End::new(Reason::Internal, Side::Local, Phase::Accept)
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
