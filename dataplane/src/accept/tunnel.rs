//! The tunnel listener: the first frame of an agent says whether its connection is the control
//! connection, or carries a stream at some time.
//!
//! None of them is a stream here. A data connection leaves for the open that takes it.

use crate::accept::gate::Notice;
use crate::accept::link::Link;
use crate::accept::strangers::Source;
use crate::accept::worker::Worker;
use crate::agents::{AgentKey, Chain, Newcomer};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::limits::TUNNEL_ORDERS;
use crate::seam::{AgentGrant, Phase, Reason, Side, Snapshot, TunnelLimits};
use crate::tunnel::{self, Data, Inbox, broken, farewell, say};
use eyesplice_proto::tunnel::{ALPN, Instance, OpenId, Register, ToAgent, ToGateway};
use eyesplice_sys::uring;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// A connection whose certificate was validated.
struct Guest {
    link: Link,
    snapshot: Arc<Snapshot>,
    limits: TunnelLimits,
    address: SocketAddr,
    chain: Chain,
}

/// Goes on with a connection on which an agent may have authenticated.
pub(crate) fn arrived(
    worker: &Rc<Worker>,
    cx: Rc<StreamContext>,
    leg: Box<Leg>,
    address: SocketAddr,
) {
    let snapshot = worker.desk.snapshot();
    let (Some(limits), Some(chain)) = (snapshot.tunnel.clone(), leg.outer_chain()) else {
        return leg.cut();
    };
    if worker.links.len() >= worker.desk.places_for_links(&snapshot.admission) {
        let failure = End::new(Reason::Limit, Side::Local, Phase::Tunnel)
            .detail("gateway is at its limit of streams; see limits.maxStreams and LimitNOFILE");
        refused(worker, address, &failure);
        return leg.cut();
    }
    if worker.desk.draining.get() {
        // It is here for an open of a stream that began before.
        cx.drain();
    }
    let guest = Guest {
        link: Link::new(worker, cx),
        snapshot,
        limits,
        address,
        chain: chain.into(),
    };
    drop(uring::spawn(
        async move { Box::pin(take(guest, leg)).await },
    ));
}

async fn take(guest: Guest, leg: Box<Leg>) {
    let cx = Rc::clone(guest.link.cx());
    let mut inbox = Inbox::default();
    let outcome = match first(&guest, &cx, &leg, &mut inbox).await {
        Ok(First::Control(register, grant)) => control(&guest, &leg, inbox, register, grant).await,
        Ok(First::Data(instance, id, grant)) => {
            let key = AgentKey {
                name: Arc::clone(&grant.name),
                instance,
            };
            data(&guest, leg, key, id).await
        }
        Err(failure) => Err(failure),
    };
    if let Err(failure) = outcome {
        refused(guest.link.worker(), guest.address, &failure);
    }
}

/// What a connection is for.
enum First {
    Control(Register, Arc<AgentGrant>),
    Data(Instance, Option<OpenId>, Arc<AgentGrant>),
}

/// Reads the first frame, and asks what its sender may.
async fn first(
    guest: &Guest,
    cx: &StreamContext,
    leg: &Leg,
    inbox: &mut Inbox,
) -> Result<First, End> {
    let until = Instant::now() + guest.snapshot.admission.head_timeout;
    let message = {
        let reading = pin!(async {
            if leg.with_top(|top| top.alpn() == Some(ALPN)) == Some(false) {
                return Err(broken(
                    leg,
                    "it is no agent of this version by its ALPN".into(),
                ));
            }
            // Also while the process stops: an open of a stream that runs may wait for it.
            inbox.next(cx, leg, Some(until), ToGateway::parse).await
        });
        cx.until_aborted(Phase::Tunnel, reading).await?
    };
    let verdict = cx.desk().control.agent(&guest.chain);
    match message {
        ToGateway::Control(register) => match verdict {
            Ok(grant) => Ok(First::Control(register, grant)),
            Err(refusal) => {
                refuse(cx, leg, &refusal.words).await;
                Err(End::new(refusal.reason, Side::Local, Phase::Tunnel).detail(refusal.words))
            }
        },
        ToGateway::Data { .. } if !inbox.is_empty() => Err(broken(
            leg,
            "it spoke before it was asked for a stream".into(),
        )),
        ToGateway::Data { instance, id } => match verdict {
            Ok(grant) => Ok(First::Data(instance, id, grant)),
            Err(refusal) => {
                Err(End::new(refusal.reason, Side::Local, Phase::Tunnel).detail(refusal.words))
            }
        },
        _ => Err(broken(
            leg,
            "its first frame does not say what it is for".into(),
        )),
    }
}

async fn control(
    guest: &Guest,
    leg: &Leg,
    mut inbox: Inbox,
    register: Register,
    grant: Arc<AgentGrant>,
) -> Result<(), End> {
    let cx = guest.link.cx();
    let (orders, receiver) = mpsc::channel(TUNNEL_ORDERS);
    let newcomer = Newcomer {
        register,
        grant: Arc::clone(&grant),
        address: guest.address,
    };
    let registry = &cx.desk().agents.registry;
    let registration = match registry.register(newcomer, orders, &guest.limits) {
        Ok(registration) => Rc::new(registration),
        Err(why) => {
            let words = why.to_string();
            refuse(cx, leg, &words).await;
            return Err(End::new(Reason::Limit, Side::Local, Phase::Tunnel).detail(words));
        }
    };
    guest
        .link
        .is_of(&guest.chain, &grant.name, Some(&registration));
    let instance = registration.key().instance;
    tracing::info!(agent = %grant.name, %instance, address = %guest.address, "agent registered");
    cx.counters().tunnel_agents.inc();
    let stream = Rc::clone(cx);
    leg.set_pulse(cx.desk().sweep.pulse(stream, leg.fd(), leg.side().into()));
    let end = tunnel::serve(
        cx,
        leg,
        &mut inbox,
        (&registration, receiver),
        &guest.limits,
    )
    .await;
    registration.revoke();
    cx.counters().tunnel_agents.dec();
    tracing::info!(
        agent = %grant.name,
        %instance,
        address = %guest.address,
        reason = %end.reason,
        "agent left: {}", end.detail.as_deref().unwrap_or("its control connection ended")
    );
    match end.reason {
        Reason::Revoked => {
            cx.counters().tunnel_revoked.inc();
            leg.cut();
        }
        _ => farewell(cx, leg).await,
    }
    Ok(())
}

async fn data(guest: &Guest, leg: Box<Leg>, key: AgentKey, id: Option<OpenId>) -> Result<(), End> {
    let cx = guest.link.cx();
    guest.link.is_of(&guest.chain, &key.name, None);
    let data = Data {
        leg,
        key,
        source: Source::from(guest.address.ip()),
        chain: Arc::clone(&guest.chain),
    };
    match id {
        Some(id) => tunnel::deliver(cx, data, id),
        None => tunnel::wait(cx, data, &guest.limits).await,
    }
}

/// Tells an agent why it is not registered.
async fn refuse(cx: &StreamContext, leg: &Leg, words: &str) {
    let message = ToAgent::Refused {
        words: words.into(),
    };
    if say(cx, leg, |out| message.write(out)).await.is_ok() {
        farewell(cx, leg).await;
    }
}

/// Counts and logs a connection that was closed; what only ended, or was revoked, is none.
fn refused(worker: &Worker, address: SocketAddr, failure: &End) {
    if failure.reason == Reason::Revoked {
        worker.desk.counters.tunnel_revoked.inc();
    }
    if matches!(
        failure.reason,
        Reason::Drained | Reason::Completed | Reason::Revoked
    ) {
        let why = failure.detail.as_deref().unwrap_or("it ended");
        tracing::debug!(%address, "connection of an agent is over: {why}");
        return;
    }
    worker.desk.counters.tunnel_refused.inc();
    if let Some(unsaid) = worker.gate.says(Notice::Tunnel(failure.reason)) {
        let why = failure.detail.as_deref().unwrap_or(failure.reason.as_str());
        tracing::warn!(
            %address,
            reason = %failure.reason,
            "connection of an agent is closed: {why}{unsaid}"
        );
    }
}
