//! Opens a stream through an agent: does what proto's `Opening` says, with connections and clocks.
//!
//! Nothing of the client goes out here, so an open may be sent on several connections. The leg of
//! the one that is accepted becomes the stream's, and the others are closed.

use super::inbox::{Inbox, say};
use crate::agents::{Candidate, Carried, Claim, Connection, DialBack, Via};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Phase, Reason, Side, StreamRecord, Through, TunnelTls};
use eyesplice_proto::causes::chain;
use eyesplice_proto::tunnel::open::{
    Action, AgentIndex, Attempt, Candidate as Chance, Event, OpenFailure, Opening, Trouble,
};
use eyesplice_proto::tunnel::{FailReason, OpenId, Patience, ToAgent, ToGateway, Words};
use std::future::{pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::sleep_until;

/// A stream that was opened.
pub(crate) struct Opened {
    pub(crate) leg: Leg,
    /// What the agent dialled.
    pub(crate) address: SocketAddr,
    /// On a parked connection.
    pub(crate) warm: bool,
    /// Which TLS is between agent and gateway.
    pub(crate) tls: TunnelTls,
}

/// Opens a stream to a target behind these agents, in their order. Whatever drops this closes the
/// connections in use, and voids the open.
pub(crate) async fn open(
    cx: &StreamContext,
    record: &mut StreamRecord,
    (through, agents): (&Through, &[Candidate]),
    limit: Duration,
) -> Result<Opened, End> {
    let registry = &cx.desk().agents.registry;
    let id = registry.open_id().map_err(|error| {
        let failure = End::new(Reason::Exhausted, Side::Local, Phase::Tunnel);
        failure.status(503).detail(error.to_string())
    })?;
    let until = Instant::now() + limit;
    let mut drive = Drive {
        cx,
        id,
        through,
        until,
        patience: patience(cx),
        agents,
        asked: None,
        came: None,
        tries: Vec::new(),
        due: None,
        carried: None,
        revoked: false,
    };
    let result = Box::pin(drive.run()).await;
    let revoked = drive.revoked;
    drop(drive);
    let counters = cx.counters();
    match result {
        Ok((agent, opened)) => {
            let key = agents.get(agent).map(|agent| &agent.key);
            record.via = key.map(|key| Arc::clone(&key.name));
            let shed = shed(cx, record, &opened, until).await;
            let note = |outcome| key.into_iter().for_each(|key| registry.note(key, outcome));
            if let Err(end) = shed {
                counters.tunnel_opens_failed.inc();
                note(Err(end.detail.as_deref().unwrap_or_default()));
                return Err(end);
            }
            match opened.warm {
                true => counters.tunnel_opens_warm.inc(),
                false => counters.tunnel_opens_cold.inc(),
            }
            note(Ok(opened.warm));
            record.tunnel_tls = opened.tls;
            Ok(opened)
        }
        Err(failure) => {
            cx.set_via(None);
            counters.tunnel_opens_failed.inc();
            let agent = culprit(&failure).and_then(|agent| agents.get(agent));
            let mut end = words(failure, agent, through, limit);
            if revoked {
                counters.tunnel_revoked.inc();
                end = tunnel(Reason::Revoked, 503)
                    .detail("the agent may not carry the stream any more");
                end.side = Side::Local;
            }
            if let Some(agent) = agent {
                record.via = Some(Arc::clone(&agent.key.name));
                registry.note(&agent.key, Err(end.detail.as_deref().unwrap_or_default()));
            }
            Err(end)
        }
    }
}

/// Ends the session with the agent, where both want that.
async fn shed(
    cx: &StreamContext,
    record: &StreamRecord,
    opened: &Opened,
    until: Instant,
) -> Result<(), End> {
    let agent = record.via.as_deref().unwrap_or_default();
    match opened.tls {
        TunnelTls::Both => return Ok(()),
        TunnelTls::Declined => {
            cx.counters().tunnel_inner_declined.inc();
            tracing::debug!(
                stream = %cx.id(),
                agent,
                "agent does not permit inner: only, or does not know it: TLS with it stays"
            );
            return Ok(());
        }
        TunnelTls::InnerOnly => {}
    }
    if let Err(error) = opened.leg.shed(cx.pools(), until).await {
        opened.leg.cut();
        let failure = error.at(Side::Upstream, Phase::Tunnel).status(502);
        let why = failure
            .detail
            .as_deref()
            .unwrap_or("the connection was cut");
        let words = format!("agent {agent}: TLS with it was not ended: {why}");
        return Err(failure.detail(words));
    }
    cx.counters().tunnel_inner_only.inc();
    tracing::debug!(stream = %cx.id(), agent, "TLS with the agent ended: inner only");
    Ok(())
}

/// What an open waits for, by the round trip.
type Within = fn(&Patience, Option<Duration>) -> Duration;

/// How long to wait for agents. Without a listener for them there may be some still.
fn patience(cx: &StreamContext) -> Patience {
    let snapshot = cx.desk().snapshot();
    let limits = snapshot.tunnel.as_ref();
    limits.map_or_else(Patience::default, |limits| limits.patience.clone())
}

/// Everything that one open has in progress.
struct Drive<'a> {
    cx: &'a StreamContext,
    id: OpenId,
    through: &'a Through,
    until: Instant,
    patience: Patience,
    agents: &'a [Candidate],
    /// The connection that is taken or asked for.
    asked: Option<Asked>,
    /// The one that came.
    came: Option<Came>,
    /// Connections on which the open was sent.
    tries: Vec<Try<'a>>,
    /// When the opening waits no longer for what was done last.
    due: Option<Instant>,
    /// Counts the stream for the agent that is tried.
    carried: Option<Carried>,
    /// The agent that had accepted it may not any more.
    revoked: bool,
}

/// A connection on its way to an open.
enum Asked {
    Parked(oneshot::Receiver<Connection>, Instant),
    Fresh(DialBack),
}

struct Came {
    connection: Connection,
    /// Since when it had been parked.
    parked: Option<Instant>,
}

/// A connection on which the open was sent.
struct Try<'a> {
    attempt: Attempt,
    agent: AgentIndex,
    parked: Option<Instant>,
    via: Option<Via>,
    /// What comes next on it.
    next: Pin<Box<dyn Future<Output = Heard> + 'a>>,
    /// What the agent dialled, once it said so.
    done: Option<(Quits, SocketAddr, TunnelTls)>,
    /// Whether the agent may end the session.
    inner_only: bool,
}

/// A leg that is reset when it is dropped: its agent must not take it for an end.
struct Quits(Option<Leg>);

impl Quits {
    fn leg(&self) -> Option<&Leg> {
        self.0.as_ref()
    }

    fn keep(mut self) -> Option<Leg> {
        self.0.take()
    }
}

impl Drop for Quits {
    fn drop(&mut self) {
        if let Some(leg) = &self.0 {
            leg.cut();
        }
    }
}

/// What came on a connection, and the connection.
struct Heard {
    leg: Quits,
    inbox: Inbox,
    message: Result<ToGateway, End>,
}

impl<'a> Drive<'a> {
    async fn run(&mut self) -> Result<(AgentIndex, Opened), OpenFailure> {
        let chances: Vec<_> = self
            .agents
            .iter()
            .map(|agent| Chance {
                parked: agent.parked,
                can_dial: true,
            })
            .collect();
        let (mut opening, mut action) = Opening::new(&chances);
        loop {
            let at_once = match action {
                Action::TakeParked(agent) => self.take_parked(agent),
                Action::AskDial(agent) => self.ask_dial(agent),
                Action::Send(agent, attempt) => self.send(agent, attempt),
                Action::Extend(agent) => {
                    self.due = Some(self.in_time(agent, Patience::accept_within));
                    None
                }
                Action::Wait => None,
                Action::Keep(attempt) => self.keep(attempt),
                Action::Done(attempt) => {
                    if let Some(opened) = self.opened(attempt) {
                        return Ok(opened);
                    }
                    Some(Event::Died(attempt))
                }
                Action::Fail(failure) => return Err(failure),
            };
            let event = match at_once {
                Some(event) => event,
                None => self.event().await,
            };
            action = match opening.on(event) {
                Ok(action) => {
                    if !opening.is_asking() {
                        self.give_up();
                    }
                    action
                }
                Err(unexpected) => {
                    tracing::error!(stream = %self.cx.id(), "{unexpected}; this is a bug");
                    return Err(OpenFailure::NoAgent);
                }
            };
        }
    }

    fn agent(&self, agent: AgentIndex) -> Option<&'a Candidate> {
        self.agents.get(agent)
    }

    /// When the agent had its time for something.
    fn in_time(&self, agent: AgentIndex, within: Within) -> Instant {
        let round_trip = self.agent(agent).and_then(|agent| agent.round_trip);
        Instant::now() + within(&self.patience, round_trip)
    }

    /// Wants no more what was taken or asked for.
    fn give_up(&mut self) {
        if let Some(Asked::Fresh(asked)) = self.asked.take()
            && asked.void()
        {
            self.cx.counters().tunnel_refused.inc();
            tracing::debug!(stream = %self.cx.id(), "a connection came too late for its open");
        }
    }

    fn count(&mut self, agent: AgentIndex) {
        self.carried = self.agent(agent).map(|agent| Carried::begin(&agent.tally));
    }

    fn take_parked(&mut self, agent: AgentIndex) -> Option<Event> {
        self.give_up();
        self.due = None;
        self.count(agent);
        let registry = &self.cx.desk().agents.registry;
        let taken = registry.take_parked(&self.agent(agent)?.key);
        let Some((waiting, since)) = taken else {
            return Some(Event::NoneParked);
        };
        let (claim, claimed): (Claim, _) = oneshot::channel();
        if waiting.send(claim).is_err() {
            return Some(Event::NoneParked);
        }
        self.asked = Some(Asked::Parked(claimed, since));
        None
    }

    fn ask_dial(&mut self, agent: AgentIndex) -> Option<Event> {
        // Its id is void before the same one is asked of the next agent.
        self.give_up();
        self.count(agent);
        let within = self.until.saturating_duration_since(Instant::now());
        let registry = &self.cx.desk().agents.registry;
        let asked = registry.dial_back(&self.agent(agent)?.key, self.id, within);
        let Some(asked) = asked else {
            return Some(Event::CannotDial("agent left, or is busy".into()));
        };
        self.asked = Some(Asked::Fresh(asked));
        self.due = Some(self.in_time(agent, Patience::arrive_within));
        None
    }

    /// Says `open` on the connection that came.
    fn send(&mut self, agent: AgentIndex, attempt: Attempt) -> Option<Event> {
        let (Some(candidate), Some(came)) = (self.agent(agent), self.came.take()) else {
            return Some(Event::Died(attempt));
        };
        let Came { connection, parked } = came;
        let via = Via {
            chain: connection.chain,
            name: Arc::clone(&candidate.key.name),
            route: candidate.route.clone(),
            carried: None,
        };
        let leg = Quits(Some(Leg::from_parts(connection.leg)));
        if attempt > 0 {
            self.cx.counters().tunnel_retries.inc();
        }
        // A session in the kernel cannot end alone.
        let inner_only = self.through.inner_only && leg.leg().is_some_and(Leg::goes_on);
        let message = ToAgent::Open {
            id: self.id,
            target: self.through.target.clone(),
            deadline: self.until.saturating_duration_since(Instant::now()),
            inner_only,
        };
        self.due = Some(self.in_time(agent, Patience::accept_within));
        self.tries.push(Try {
            attempt,
            agent,
            parked,
            via: Some(via),
            next: Box::pin(ask(self.cx, leg, message)),
            done: None,
            inner_only,
        });
        None
    }

    /// Goes on with one connection alone.
    fn keep(&mut self, attempt: Attempt) -> Option<Event> {
        self.give_up();
        self.due = None;
        for silent in self.tries.iter().filter(|each| each.attempt != attempt) {
            self.note_dead(silent);
        }
        self.tries.retain(|each| each.attempt == attempt);
        let kept = self.tries.first_mut()?;
        let registry = &self.cx.desk().agents.registry;
        if let (Some(since), Some(agent)) = (kept.parked, self.agents.get(kept.agent)) {
            registry.survived(&agent.key, since.elapsed());
        }
        let via = kept.via.take()?;
        // Another configuration may have come, which its registration has not heard of yet.
        if !via.is_granted(&*self.cx.desk().control) {
            self.tries.clear();
            self.revoked = true;
            return Some(Event::Died(attempt));
        }
        // From now on the worker ends it when it may not be any more.
        self.cx.set_via(Some(via));
        None
    }

    fn opened(&mut self, attempt: Attempt) -> Option<(AgentIndex, Opened)> {
        let at = self.tries.iter().position(|each| each.attempt == attempt)?;
        let done = self.tries.swap_remove(at);
        let (leg, address, tls) = done.done?;
        self.cx.keep_via(self.carried.take()?);
        let opened = Opened {
            leg: leg.keep()?,
            address,
            warm: done.parked.is_some(),
            tls,
        };
        Some((done.agent, opened))
    }

    /// Waits for what happens next.
    async fn event(&mut self) -> Event {
        let (cx, due, until) = (self.cx, self.due, self.until);
        tokio::select! {
            biased;
            (at, heard) = heard(&mut self.tries) => self.heard(at, heard),
            came = arrived(&mut self.asked) => {
                let parked = match self.asked.take() {
                    Some(Asked::Parked(_, since)) => Some(since),
                    _ => None,
                };
                match (came, parked) {
                    (Ok(connection), parked) => {
                        self.came = Some(Came { connection, parked });
                        if parked.is_some() { Event::Taken } else { Event::Arrived }
                    }
                    (Err(_), Some(_)) => Event::NoneParked,
                    (Err(words), None) => Event::CannotDial(words),
                }
            }
            () = at(due) => {
                self.due = None;
                Event::TimedOut
            }
            () = sleep_until(until.into()) => {
                tracing::debug!(stream = %cx.id(), "an open has had its time");
                Event::Deadline
            }
        }
    }

    fn heard(&mut self, at: usize, heard: Heard) -> Event {
        let Heard {
            leg,
            inbox,
            message,
        } = heard;
        let Some(tried) = self.tries.get_mut(at) else {
            return Event::Deadline;
        };
        let attempt = tried.attempt;
        match message {
            Ok(ToGateway::Accepted) if tried.done.is_none() && tried.via.is_some() => {
                tried.next = Box::pin(hear(self.cx, leg, inbox));
                Event::Accepted(attempt)
            }
            // Only one that was kept is without it.
            Ok(ToGateway::Connected {
                address,
                inner_only,
            }) if tried.via.is_none() && (tried.inner_only || !inner_only) => {
                if let Some(leg) = leg.leg() {
                    inbox.leave(leg);
                }
                let tls = match (self.through.inner_only, inner_only) {
                    (true, true) => TunnelTls::InnerOnly,
                    (true, false) => TunnelTls::Declined,
                    (false, _) => TunnelTls::Both,
                };
                tried.next = Box::pin(pending());
                tried.done = Some((leg, address, tls));
                Event::Connected(attempt)
            }
            Ok(ToGateway::Failed { reason, words }) => {
                self.tries.swap_remove(at);
                Event::Failed(attempt, reason, words)
            }
            other => {
                let dead = self.tries.swap_remove(at);
                self.died(&dead, other.err());
                Event::Died(attempt)
            }
        }
    }

    /// Notes that a connection was of no use.
    fn died(&self, tried: &Try<'_>, end: Option<End>) {
        let Some(agent) = self.agent(tried.agent) else {
            return;
        };
        let why = match &end {
            Some(end) => end.detail.as_deref().unwrap_or(end.reason.as_str()),
            None => "it spoke out of turn",
        };
        tracing::debug!(
            stream = %self.cx.id(),
            agent = %agent.key.name,
            "connection of no use: {why}"
        );
        self.note_dead(tried);
    }

    /// Tells the pool that a parked connection was dead.
    fn note_dead(&self, tried: &Try<'_>) {
        if let (Some(since), Some(agent)) = (tried.parked, self.agent(tried.agent)) {
            let registry = &self.cx.desk().agents.registry;
            registry.died(&agent.key, since.elapsed());
        }
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}

async fn ask(cx: &StreamContext, leg: Quits, message: ToAgent) -> Heard {
    let inbox = Inbox::default();
    let said = match leg.leg() {
        Some(leg) => say(cx, leg, |out| message.write(out)).await,
        None => Ok(()),
    };
    match said {
        Ok(()) => hear(cx, leg, inbox).await,
        Err(end) => Heard {
            leg,
            inbox,
            message: Err(end),
        },
    }
}

async fn hear(cx: &StreamContext, leg: Quits, mut inbox: Inbox) -> Heard {
    let message = match leg.leg() {
        Some(leg) => inbox.next(cx, leg, None, ToGateway::parse).await,
        None => pending().await,
    };
    Heard {
        leg,
        inbox,
        message,
    }
}

/// What comes first on any of the connections.
async fn heard(tries: &mut [Try<'_>]) -> (usize, Heard) {
    poll_fn(|task| {
        for (at, tried) in tries.iter_mut().enumerate() {
            if let Poll::Ready(heard) = tried.next.as_mut().poll(task) {
                return Poll::Ready((at, heard));
            }
        }
        Poll::Pending
    })
    .await
}

/// The connection that is taken or asked for.
async fn arrived(asked: &mut Option<Asked>) -> Result<Connection, Words> {
    match asked {
        None => pending().await,
        Some(Asked::Parked(claimed, _)) => claimed.await.map_err(|_| "it is gone".into()),
        Some(Asked::Fresh(asked)) => match (&mut asked.arrived).await {
            Ok(arrived) => arrived,
            Err(_) => Err("agent left".into()),
        },
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}

fn culprit(failure: &OpenFailure) -> Option<AgentIndex> {
    match failure {
        OpenFailure::NoAgent => None,
        OpenFailure::Answer { agent, .. }
        | OpenFailure::Tunnel { agent, .. }
        | OpenFailure::Lost { agent }
        | OpenFailure::Deadline { agent, .. } => Some(*agent),
    }
}

/// What the client is told.
fn words(
    failure: OpenFailure,
    agent: Option<&Candidate>,
    through: &Through,
    limit: Duration,
) -> End {
    let Some(agent) = agent else {
        return no_agent(through);
    };
    let name = &agent.key.name;
    let told = |end: End, words: &str| end.detail(format!("agent {name}: {words}"));
    match failure {
        OpenFailure::Answer { reason, words, .. }
        | OpenFailure::Tunnel {
            trouble: Trouble::Refused { reason, words },
            ..
        } => told(answer(reason), words.as_str()),
        OpenFailure::Deadline { .. } => told(
            tunnel(Reason::Timeout, 504),
            &format!("{failure} ({} ms); see timeouts.dial", limit.as_millis()),
        ),
        OpenFailure::Lost { .. } => told(tunnel(Reason::Reset, 502), &chain(&failure)),
        OpenFailure::Tunnel { .. } | OpenFailure::NoAgent => {
            told(tunnel(Reason::DialFailed, 503), &chain(&failure))
        }
    }
}

/// What an agent says of a target, as a dial of our own would end.
fn answer(reason: FailReason) -> End {
    let dial = |reason, status| End::new(reason, Side::Upstream, Phase::Dial).status(status);
    match reason {
        FailReason::Refused => dial(Reason::DialFailed, 502),
        FailReason::Unreachable | FailReason::Unresolved => dial(Reason::DialFailed, 503),
        FailReason::Timeout => dial(Reason::Timeout, 504),
        FailReason::Denied => tunnel(Reason::Denied, 403),
        FailReason::Draining => tunnel(Reason::DialFailed, 503),
        FailReason::Exhausted => tunnel(Reason::Exhausted, 503),
        FailReason::Seen => tunnel(Reason::Protocol, 502),
        FailReason::Internal => tunnel(Reason::DialFailed, 502),
    }
}

fn tunnel(reason: Reason, status: u16) -> End {
    End::new(reason, Side::Upstream, Phase::Tunnel).status(status)
}

/// No agent has a route to the target.
fn no_agent(through: &Through) -> End {
    let routes: Vec<_> = through.routes.iter().map(ToString::to_string).collect();
    End::new(Reason::DialFailed, Side::Local, Phase::Tunnel)
        .status(503)
        .detail(format!(
            "no agent is connected that may reach {} (asked for {})",
            through.target,
            routes.join(", ")
        ))
}
