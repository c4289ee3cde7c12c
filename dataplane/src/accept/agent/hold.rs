//! Holds a gateway: one control connection, made again whenever it ends.

use super::connect::{Gateway, connect};
use super::held::{Holder, Retirement};
use super::pool::{Pool, Undialled};
use crate::accept::link::{Link, Unsettled};
use crate::accept::worker::Worker;
use crate::agents::random;
use crate::context::StreamContext;
use crate::counters::WorkerCounters;
use crate::end::End;
use crate::leg::Leg;
use crate::limits::{TUNNEL_DIAL, TUNNEL_GRACE, TUNNEL_ORDERS, TUNNEL_OVERLAP, TUNNEL_SILENCES};
use crate::seam::{AgentDuties, GatewayPeer, Phase, Reason, Side};
use crate::tunnel::{Inbox, broken, farewell, say};
use eyesplice_proto::tls::provider;
use eyesplice_proto::tunnel::{Backoff, Register, Registered, ToAgent, ToGateway};
use eyesplice_sys::uring;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};

/// Holds what the configuration in force says: begins with what is new, and then lets go of the
/// rest.
pub(crate) fn sync(worker: &Rc<Worker>) {
    let snapshot = worker.desk.snapshot();
    let duties = snapshot.agent.as_ref();
    let gateways = duties.map_or(&[][..], |duties| &duties.gateways);
    let holding = &worker.desk.agents.holding;
    let shares = holding.share_out(gateways, worker.desk.workers);
    let own = usize::from(worker.index);
    let mut old = std::mem::take(&mut *worker.held.0.borrow_mut());
    let mut held = HashMap::new();
    for (peer, _) in gateways.iter().zip(shares).filter(|(_, of)| *of == own) {
        let Some(duties) = duties else { continue };
        let name = Arc::clone(&peer.name);
        let holder = match old.remove(&name) {
            Some(holder) if is_same(&holder, peer, duties) => holder,
            other => {
                if let Some(other) = other {
                    old.insert(Arc::clone(&name), other);
                }
                begin(worker, peer, duties)
            }
        };
        held.insert(name, holder);
    }
    *worker.held.0.borrow_mut() = held;
    let retired: Vec<_> = old.into_values().map(|old| old.retirement).collect();
    if !retired.is_empty() {
        retire(worker, retired);
    }
}

fn is_same(holder: &Holder, peer: &Arc<GatewayPeer>, duties: &AgentDuties) -> bool {
    let before = &holder.peer;
    let alike = before.way.is_same(&peer.way)
        && before.server_name == peer.server_name
        && Arc::ptr_eq(&before.tls, &peer.tls);
    alike
        && holder.duties.instance == duties.instance
        && holder.duties.listener == duties.listener
        && holder.duties.backoff == duties.backoff
}

/// Lets go of gateways when all that are wanted are there, or have had their time.
fn retire(worker: &Rc<Worker>, retired: Vec<Rc<Retirement>>) {
    let holding = Arc::clone(&worker.desk.agents.holding);
    let link = Link::new(worker, worker.context(Instant::now()));
    drop(uring::spawn(async move {
        let cx = link.cx();
        let settled = pin!(async {
            tokio::select! {
                _ = timeout(TUNNEL_OVERLAP, holding.complete()) => {}
                () = cx.draining() => {}
            }
            Ok(())
        });
        let _ = cx.until_aborted(Phase::Tunnel, settled).await;
        for each in retired {
            each.begin();
        }
    }));
}

fn begin(worker: &Rc<Worker>, peer: &Arc<GatewayPeer>, duties: &Arc<AgentDuties>) -> Holder {
    let retirement = Rc::<Retirement>::default();
    let gateway = Gateway {
        peer: Arc::clone(peer),
        duties: Arc::clone(duties),
        hold: Rc::new(worker.desk.agents.holding.hold(&peer.name)),
    };
    let held = Hold {
        link: Link::new(worker, worker.context(Instant::now())),
        gateway: Rc::new(gateway),
        retirement: Rc::clone(&retirement),
    };
    drop(uring::spawn(async move { Box::pin(held.run()).await }));
    Holder {
        peer: Arc::clone(peer),
        duties: Arc::clone(duties),
        retirement,
    }
}

/// The task that holds a gateway.
struct Hold {
    link: Link,
    gateway: Rc<Gateway>,
    retirement: Rc<Retirement>,
}

impl Hold {
    async fn run(self) {
        let cx = Rc::clone(self.link.cx());
        let (least, most) = self.gateway.duties.backoff;
        let mut backoff = Backoff::new(least, most);
        while !self.is_over(&cx) {
            let mut lived = None;
            self.gateway.hold.dials();
            let ended = self.session(&cx, &mut lived).await;
            let Err(failure) = ended else { return };
            if failure.reason == Reason::Drained {
                return;
            }
            // To register again in the place of its successor would end that one's connection.
            if failure.reason == Reason::Completed && self.gateway.hold.has_successor() {
                let ending = pin!(async {
                    self.ends(&cx).await;
                    Ok(())
                });
                if cx.until_aborted(Phase::Tunnel, ending).await.is_err() {
                    return;
                }
                continue;
            }
            let words = failure.detail.as_deref().unwrap_or(match failure.reason {
                Reason::Completed => "the gateway ended the connection",
                reason => reason.as_str(),
            });
            let pause = backoff.failed(lived.map(|since: Instant| since.elapsed()), entropy());
            self.gateway.hold.failed(words, pause);
            cx.counters().tunnel_backoffs.inc();
            tracing::warn!(
                gateway = %self.gateway.peer.name,
                again_in_ms = pause.as_millis(),
                "not connected to the gateway: {words}"
            );
            let pausing = pin!(async {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = self.ends(&cx) => {}
                }
                Ok(())
            });
            if cx.until_aborted(Phase::Tunnel, pausing).await.is_err() {
                return;
            }
        }
    }

    fn is_over(&self, cx: &StreamContext) -> bool {
        cx.is_draining() || self.retirement.due.get()
    }

    /// Waits until the gateway is not wanted any more, or the process stops.
    async fn ends(&self, cx: &StreamContext) {
        tokio::select! {
            () = self.retirement.begun() => {}
            () = cx.draining() => {}
        }
    }

    /// One control connection, until it ends or is not wanted.
    async fn session(
        &self,
        cx: &Rc<StreamContext>,
        lived: &mut Option<Instant>,
    ) -> Result<(), End> {
        let mut inbox = Inbox::default();
        let registered = {
            let registering = pin!(self.registered(cx, &mut inbox));
            cx.until_aborted(Phase::Tunnel, registering).await?
        };
        let Some((leg, address, registered)) = registered else {
            return Ok(());
        };
        *lived = Some(Instant::now());
        self.gateway.hold.registered(address);
        tracing::info!(gateway = %self.gateway.peer.name, %address, "registered");
        let _gauge = Gauge::of(cx);
        let worker = self.link.worker();
        let told = registered.advertise;
        let advertised = told.filter(|at| may_be_a_gateway(at.ip(), address.ip()));
        if told != advertised {
            tracing::warn!(
                gateway = %self.gateway.peer.name,
                "the gateway advertises {told:?}, which is no address of another machine"
            );
        }
        let way = self.gateway.peer.way.of_data(advertised, address);
        // What ends with this connection alone: after the death of the gateway it is dialled again.
        let connection = cx.aside();
        let mortal = Rc::clone(&connection);
        leg.set_pulse(cx.desk().sweep.pulse(mortal, leg.fd(), leg.side().into()));
        let (undialled, undialled_of_pool) = mpsc::channel(TUNNEL_ORDERS);
        let control = Control {
            cx,
            leg: &leg,
            hold: self,
            pool: Pool::new(worker, &self.gateway, way, undialled),
            patience: registered.ping * TUNNEL_SILENCES,
            unsettled: Cell::new(Some(Unsettled::new(worker))),
        };
        let result = {
            let asked = (registered.park, undialled_of_pool);
            let serving = pin!(control.serve(&mut inbox, asked));
            let serving = pin!(connection.until_aborted(Phase::Tunnel, serving));
            cx.until_aborted(Phase::Tunnel, serving).await
        };
        drop(control);
        farewell(cx, &leg).await;
        result
    }

    /// Connects and registers; none if the gateway is not wanted any more.
    async fn registered(
        &self,
        cx: &Rc<StreamContext>,
        inbox: &mut Inbox,
    ) -> Result<Option<(Box<Leg>, SocketAddr, Registered)>, End> {
        let way = &self.gateway.peer.way;
        let (leg, address) = tokio::select! {
            biased;
            () = self.retirement.begun() => return Ok(None),
            () = cx.draining() => return Ok(None),
            connected = connect(cx, &self.gateway, way) => connected?,
        };
        let registered = self.register(cx, &leg, inbox).await?;
        Ok(Some((leg, address, registered)))
    }

    async fn register(
        &self,
        cx: &StreamContext,
        leg: &Leg,
        inbox: &mut Inbox,
    ) -> Result<Registered, End> {
        let message = ToGateway::Control(Register {
            instance: self.gateway.instance(),
            version: (&*self.gateway.duties.version).into(),
            draining: self.is_over(cx),
        });
        say(cx, leg, |out| message.write(out)).await?;
        let until = Instant::now() + TUNNEL_DIAL;
        match inbox.next(cx, leg, Some(until), ToAgent::parse).await? {
            ToAgent::Registered(registered) => Ok(registered),
            ToAgent::Refused { words } => {
                farewell(cx, leg).await;
                let refused = End::new(Reason::Denied, Side::Downstream, Phase::Tunnel);
                Err(refused.detail(format!("the gateway refused this agent: {words}")))
            }
            _ => Err(broken(
                leg,
                "gateway neither registered nor refused this agent".into(),
            )),
        }
    }
}

/// A control connection that is registered.
struct Control<'a> {
    cx: &'a Rc<StreamContext>,
    leg: &'a Leg,
    hold: &'a Hold,
    pool: Pool,
    patience: Duration,
    /// The gateway may not know yet that this process stops.
    unsettled: Cell<Option<Unsettled>>,
}

impl Control<'_> {
    async fn serve(
        &self,
        inbox: &mut Inbox,
        (park, mut undialled): (u32, mpsc::Receiver<Undialled>),
    ) -> Result<(), End> {
        let mut heard = Instant::now();
        // When the gateway has heard that nothing may be opened here any more.
        let mut settles = None;
        let mut stage = Stage::Open;
        self.pool.keep(count(park));
        loop {
            tokio::select! {
                biased;
                () = self.hold.ends(self.cx), if stage == Stage::Open => {
                    stage = Stage::Settling;
                    settles = Some(Instant::now() + TUNNEL_GRACE);
                    self.say(&ToGateway::Draining).await?;
                }
                () = at(settles) => {
                    settles = None;
                    stage = Stage::Closed;
                    self.pool.keep(0);
                    self.unsettled.take();
                    if self.hold.retirement.due.get() {
                        return Ok(());
                    }
                }
                Some((id, words)) = undialled.recv() => {
                    self.say(&ToGateway::CannotDial { id, words }).await?;
                }
                message = inbox.next(self.cx, self.leg, None, ToAgent::parse) => {
                    heard = Instant::now();
                    self.hear(message?, stage).await?;
                }
                () = sleep_until((heard + self.patience).into()) => {
                    let silence = heard.elapsed().as_secs_f64();
                    let words = format!("the gateway has said nothing for {silence:.1} s");
                    let lost = End::new(Reason::PeerLost, Side::Downstream, Phase::Tunnel);
                    return Err(lost.detail(words));
                }
            }
        }
    }

    /// Does what the gateway asks for. What it asked for before it heard of the end is served.
    async fn hear(&self, message: ToAgent, stage: Stage) -> Result<(), End> {
        match message {
            ToAgent::Ping(number) => self.say(&ToGateway::Pong(number)).await,
            ToAgent::Dial { id, .. } if stage == Stage::Closed => {
                let words = "agent takes no new streams".into();
                self.say(&ToGateway::CannotDial { id, words }).await
            }
            ToAgent::Dial { id, deadline } => {
                self.pool.dial_back(id, deadline);
                Ok(())
            }
            ToAgent::Park { count: wanted } => {
                if stage == Stage::Open {
                    self.pool.keep(count(wanted));
                }
                Ok(())
            }
            ToAgent::Gateways { addresses } => {
                self.hold.gateway.hold.told(addresses);
                Ok(())
            }
            ToAgent::Drain => {
                self.hold.gateway.hold.drains();
                self.pool.keep(0);
                Ok(())
            }
            _ => Err(broken(
                self.leg,
                "gateway said no request on a control connection".into(),
            )),
        }
    }

    async fn say(&self, message: &ToGateway) -> Result<(), End> {
        let said = say(self.cx, self.leg, |out| message.write(out));
        match timeout(self.patience, said).await {
            Ok(result) => result,
            Err(_) => Err(End::new(Reason::PeerLost, Side::Downstream, Phase::Tunnel)
                .detail("the gateway takes nothing")),
        }
    }
}

/// How far the end of a control connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is not near.
    Open,
    /// The gateway is told.
    Settling,
    /// It had time to hear of it: nothing more is taken.
    Closed,
}

/// A gateway in the gauge of those that this agent is registered with.
struct Gauge(Arc<WorkerCounters>);

impl Gauge {
    fn of(cx: &StreamContext) -> Self {
        let counters = Arc::clone(&cx.desk().counters);
        counters.tunnel_gateways.inc();
        Self(counters)
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.tunnel_gateways.dec();
    }
}

/// Whether a gateway that was dialled may be at this address too: a hostile one must not have the
/// agent, or its proxy, try what is near to them alone.
fn may_be_a_gateway(told: IpAddr, dialled: IpAddr) -> bool {
    let told = told.to_canonical();
    let link_local = match told {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let loopback = told.is_loopback() && !dialled.to_canonical().is_loopback();
    !(loopback || link_local || told.is_unspecified() || told.is_multicast())
}

fn count(park: u32) -> usize {
    usize::try_from(park).unwrap_or(usize::MAX)
}

/// Waits until then; for ever if there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

/// Random bits for the jitter of a back-off. Without any it is as long as it may be.
fn entropy() -> u64 {
    match random(provider::shared().secure_random) {
        Ok([a, b, c, d, e, f, g, h, ..]) => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        Err(_) => u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_address_is_one_of_another_machine() {
        let may = |told: &str, dialled: &str| {
            may_be_a_gateway(told.parse().unwrap(), dialled.parse().unwrap())
        };
        for told in ["10.0.0.7", "198.51.100.7", "fd00::7", "2001:db8::7"] {
            assert!(may(told, "192.0.2.1"), "{told}");
        }
        let near = [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
        ];
        for told in near
            .into_iter()
            .chain(["0.0.0.0", "::", "224.0.0.1", "255.255.255.255"])
        {
            assert!(!may(told, "192.0.2.1"), "{told}");
        }
        assert!(may("127.0.0.2", "127.0.0.1"));
    }
}
