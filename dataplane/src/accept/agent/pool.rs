//! Keeps as many connections to a gateway parked as it asks for.

use super::connect::{Gateway, data, opened};
use super::held::Retirement;
use crate::accept::link::Link;
use crate::accept::worker::Worker;
use crate::context::StreamContext;
use crate::counters::WorkerCounters;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{GatewayWay, Phase, Reason, Side};
use crate::tunnel::farewell;
use eyesplice_proto::tunnel::{OpenId, Words};
use eyesplice_sys::uring;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// An open for which no connection comes, and why.
pub(super) type Undialled = (OpenId, Words);

/// The data connections of one control connection; those that are parked end with it.
pub(crate) struct Pool {
    worker: Rc<Worker>,
    gateway: Rc<Gateway>,
    way: Rc<GatewayWay>,
    slots: RefCell<Vec<Rc<Retirement>>>,
    parked: Rc<Cell<usize>>,
    undialled: mpsc::Sender<Undialled>,
}

impl Pool {
    /// Of none yet; they will be made in this way. The gateway is to hear of what is `undialled`.
    pub(super) fn new(
        worker: &Rc<Worker>,
        gateway: &Rc<Gateway>,
        way: GatewayWay,
        undialled: mpsc::Sender<Undialled>,
    ) -> Self {
        Self {
            undialled,
            worker: Rc::clone(worker),
            gateway: Rc::clone(gateway),
            way: Rc::new(way),
            slots: RefCell::default(),
            parked: Rc::default(),
        }
    }

    /// Keeps so many parked from now on.
    pub(crate) fn keep(&self, count: usize) {
        let desk = &self.worker.desk;
        let count = count.min(desk.places_for_links(&desk.snapshot().admission));
        let mut slots = self.slots.borrow_mut();
        let kept = count.min(slots.len());
        for surplus in slots.drain(kept..) {
            surplus.begin();
        }
        while slots.len() < count {
            let retirement = Rc::<Retirement>::default();
            slots.push(Rc::clone(&retirement));
            let slot = Slot {
                link: Link::new(&self.worker, self.worker.context(Instant::now())),
                retirement,
                gateway: Rc::clone(&self.gateway),
                way: Rc::clone(&self.way),
                parked: Rc::clone(&self.parked),
            };
            drop(uring::spawn(async move { Box::pin(slot.run()).await }));
        }
    }

    /// Connects back for an open.
    pub(crate) fn dial_back(&self, id: OpenId, within: Duration) {
        let cx = self.worker.context(Instant::now());
        let link = Link::new(&self.worker, cx);
        let gateway = Rc::clone(&self.gateway);
        let (way, undialled) = (Rc::clone(&self.way), self.undialled.clone());
        drop(uring::spawn(async move {
            let dialling = dial_back(&link, &gateway, &way, (id, within));
            match Box::pin(dialling).await {
                Ok(()) => {}
                Err(NoStream::Undialled(failure)) => {
                    log(&gateway, &failure);
                    let words = failure
                        .detail
                        .as_deref()
                        .unwrap_or("it was not made in time");
                    let words = match &*way {
                        GatewayWay::Dial(_) => format!("data connection to {way} failed: {words}"),
                        // What the agent's own network says is not for whoever asked for a stream.
                        GatewayWay::Proxy(..) => {
                            tracing::warn!("data connection to {way} failed: {words}");
                            "data connection through the agent's proxy failed; see its log"
                                .to_owned()
                        }
                    };
                    // If too many are to be told of, the open's own deadline tells.
                    let _ = undialled.try_send((id, words.into()));
                }
                Err(NoStream::Unopened(failure)) => log(&gateway, &failure),
            }
        }));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.keep(0);
    }
}

/// Why no stream came of a request to connect back.
enum NoStream {
    /// The connection was not made.
    Undialled(End),
    /// It was, and the gateway has heard all that it could.
    Unopened(End),
}

async fn dial_back(
    link: &Link,
    gateway: &Gateway,
    way: &GatewayWay,
    (id, within): (OpenId, Duration),
) -> Result<(), NoStream> {
    let cx = link.cx();
    let until = Instant::now() + within;
    let dialling = pin!(async {
        match timeout(within, data(cx, gateway, way, Some(id))).await {
            Ok(result) => result,
            Err(_) => Err(End::new(Reason::Timeout, Side::Local, Phase::Tunnel)
                .detail("the open was over before it was connected")),
        }
    });
    let leg = cx.until_aborted(Phase::Tunnel, dialling).await;
    let (leg, address) = leg.map_err(NoStream::Undialled)?;
    let opening = pin!(opened(link, gateway, leg, (address, Some(until))));
    let opened = cx.until_aborted(Phase::Tunnel, opening).await;
    opened.map_err(NoStream::Unopened)
}

/// Keeps one connection parked: another one when it was taken, or ended.
struct Slot {
    link: Link,
    retirement: Rc<Retirement>,
    gateway: Rc<Gateway>,
    way: Rc<GatewayWay>,
    parked: Rc<Cell<usize>>,
}

impl Slot {
    async fn run(self) {
        let cx = Rc::clone(self.link.cx());
        let (first, longest) = self.gateway.duties.backoff;
        let mut pause = first;
        while !self.retirement.due.get() {
            let parking = pin!(self.park(&cx));
            match cx.until_aborted(Phase::Tunnel, parking).await {
                Ok(()) => pause = first,
                Err(failure) => {
                    log(&self.gateway, &failure);
                    if failure.reason == Reason::Drained {
                        return;
                    }
                    let now = pause;
                    let pausing = pin!(async {
                        tokio::select! {
                            () = self.retirement.begun() => {}
                            () = sleep(now) => {}
                        }
                        Ok(())
                    });
                    if cx.until_aborted(Phase::Tunnel, pausing).await.is_err() {
                        return;
                    }
                    pause = longest.min(pause * 2);
                }
            }
        }
    }

    /// Parks one connection until a stream was opened on it, or this slot is not wanted.
    async fn park(&self, cx: &Rc<StreamContext>) -> Result<(), End> {
        // To leave within the handshake would look like a stranger's failure.
        let (leg, address) = data(cx, &self.gateway, &self.way, None).await?;
        let _waits = Waits::new(self, cx);
        self.wait(cx, leg, address).await
    }

    async fn wait(
        &self,
        cx: &Rc<StreamContext>,
        leg: Box<Leg>,
        address: SocketAddr,
    ) -> Result<(), End> {
        {
            let mut readable = leg.readable();
            tokio::select! {
                biased;
                () = self.retirement.begun() => {
                    drop(readable);
                    farewell(cx, &leg).await;
                    return Ok(());
                }
                _ = &mut readable => {}
            }
        }
        // A frame that has begun comes to its end.
        let until = Instant::now() + cx.desk().snapshot().admission.head_timeout;
        opened(&self.link, &self.gateway, leg, (address, Some(until))).await
    }
}

/// A connection among those that wait; taken off when dropped.
struct Waits<'a> {
    slot: &'a Slot,
    counters: Arc<WorkerCounters>,
}

impl<'a> Waits<'a> {
    fn new(slot: &'a Slot, cx: &StreamContext) -> Self {
        let counters = Arc::clone(&cx.desk().counters);
        counters.tunnel_waiting.inc();
        slot.parked.set(slot.parked.get() + 1);
        slot.gateway.hold.parked(slot.parked.get());
        Self { slot, counters }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.counters.tunnel_waiting.dec();
        let parked = &self.slot.parked;
        parked.set(parked.get() - 1);
        self.slot.gateway.hold.parked(parked.get());
    }
}

fn log(gateway: &Gateway, failure: &End) {
    let why = failure.detail.as_deref().unwrap_or("it ended");
    tracing::debug!(
        gateway = %gateway.peer.name,
        reason = %failure.reason,
        "data connection is over: {why}"
    );
}
