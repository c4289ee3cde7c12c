//! Opens streams at gateways: does what proto's `Opening` says.

use super::arena::Key;
use super::entities::{End, Event, Fate, Message, Open, Sent};
use super::world::World;
use eyesplice_proto::tunnel::open::{
    Action, AgentIndex, Attempt, Awaited, Candidate, Event as Heard, OpenFailure, Opening, Trouble,
};
use eyesplice_proto::tunnel::{FailReason, OpenId, Patience};
use std::time::Duration;

/// How long an open may take (timeouts.dial).
const PATIENCE: Duration = Duration::from_secs(10);

/// One target in so many refuses, or does not answer.
const REFUSES: u32 = 500;
const IS_SILENT: u32 = 5_000;

/// How long a stream lives on average.
const LIVES: Duration = Duration::from_secs(30);

/// What an open waits for, by the round trip.
type Within = fn(&Patience, Option<Duration>) -> Duration;

impl World {
    /// Opens a stream at a gateway, after so long on the way there.
    pub(super) fn open(&mut self, index: usize, agents: Vec<usize>, hops: Duration) {
        let now = self.now();
        let members = &self.gateways[index].members;
        let candidates = agents.iter().map(|agent| Candidate {
            parked: members.get(agent).map_or(0, |member| member.parked.len()),
            can_dial: true,
        });
        let candidates: Vec<_> = candidates.collect();
        let (opening, action) = Opening::new(&candidates);
        let mut id = [0; 16];
        self.random.fill(&mut id);
        let id = OpenId(id);
        self.checks.used(id, now);
        let took = Duration::from_micros(self.random.u64(300..5_000));
        let fate = match self.random.u32(0..IS_SILENT) {
            0 => Fate::Silent,
            n if n % REFUSES == 1 => Fate::Refuses(took),
            _ => Fate::Connects(took),
        };
        let key = self.opens.insert(Open {
            id,
            gateway: index,
            began: now.saturating_sub(hops),
            until: now + PATIENCE,
            opening,
            agents,
            sent: Vec::new(),
            came: None,
            asked: false,
            time: 0,
            fate,
            carried: None,
            connected: false,
        });
        self.queue.after(PATIENCE, Event::Deadline(key));
        self.act(key, action);
    }

    /// Does what an opening says, until it waits.
    fn act(&mut self, key: Key, mut action: Action) {
        loop {
            let heard = match action {
                Action::TakeParked(agent) => self.take(key, agent),
                Action::AskDial(agent) => self.ask(key, agent),
                Action::Send(agent, attempt) => self.send(key, agent, attempt),
                Action::Extend(agent) => {
                    self.give_up_asking(key);
                    self.wait(key, agent, Patience::accept_within);
                    None
                }
                Action::Wait => None,
                Action::Keep(attempt) => self.keep_one(key, attempt),
                Action::Done(attempt) => self.done(key, attempt),
                Action::Fail(failure) => return self.over(key, &failure),
            };
            let (Some(heard), Some(open)) = (heard, self.opens.get_mut(key)) else {
                return;
            };
            match open.opening.on(heard) {
                Ok(next) => action = next,
                Err(unexpected) => return self.unexpected(&unexpected.to_string()),
            }
        }
    }

    /// Something happened to an open.
    fn hears(&mut self, key: Key, heard: Heard) {
        let Some(open) = self.opens.get_mut(key) else {
            return;
        };
        match open.opening.on(heard) {
            Ok(action) => self.act(key, action),
            Err(unexpected) => self.unexpected(&unexpected.to_string()),
        }
    }

    fn unexpected(&mut self, words: &str) {
        let now = self.now();
        self.checks.broken(
            "an opening is in no state for an event",
            now,
            words.to_owned(),
        );
    }

    fn agent_of(&self, key: Key, agent: AgentIndex) -> Option<usize> {
        self.opens.get(key)?.agents.get(agent).copied()
    }

    /// Lets a time run; what ran before is given up.
    fn wait(&mut self, key: Key, agent: AgentIndex, within: Within) {
        let Some(agent) = self.agent_of(key, agent) else {
            return;
        };
        let Some(open) = self.opens.get_mut(key) else {
            return;
        };
        open.time += 1;
        let time = open.time;
        let member = self.gateways[open.gateway].members.get(&agent);
        let round_trip = member.and_then(|member| member.round_trip);
        let within = within(&Patience::default(), round_trip);
        self.queue.after(within, Event::Due(key, time));
    }

    /// The connection that was asked for is not wanted any more.
    fn give_up_asking(&mut self, key: Key) {
        if let Some(open) = self.opens.get_mut(key) {
            open.time += 1;
            open.asked = false;
            self.gateways[open.gateway].pending.remove(&open.id);
        }
    }

    /// Counts the stream for the agent that is tried.
    fn carry(&mut self, key: Key, agent: Option<usize>) {
        let Some(open) = self.opens.get_mut(key) else {
            return;
        };
        let before = std::mem::replace(&mut open.carried, agent);
        let members = &mut self.gateways[open.gateway].members;
        if let Some(member) = before.and_then(|agent| members.get_mut(&agent)) {
            member.streams = member.streams.saturating_sub(1);
        }
        if let Some(member) = agent.and_then(|agent| members.get_mut(&agent)) {
            member.streams += 1;
        }
    }

    fn take(&mut self, key: Key, agent: AgentIndex) -> Option<Heard> {
        self.give_up_asking(key);
        let agent = self.agent_of(key, agent)?;
        self.carry(key, Some(agent));
        let gateway = self.opens.get(key)?.gateway;
        let Some((connection, age)) = self.take_parked(agent, gateway) else {
            return Some(Heard::NoneParked);
        };
        self.opens.get_mut(key)?.came = Some((connection, Some(age)));
        Some(Heard::Taken)
    }

    fn ask(&mut self, key: Key, index: AgentIndex) -> Option<Heard> {
        self.give_up_asking(key);
        let agent = self.agent_of(key, index)?;
        self.carry(key, Some(agent));
        let open = self.opens.get_mut(key)?;
        let id = open.id;
        let gateway = &mut self.gateways[open.gateway];
        let Some(member) = gateway.members.get(&agent) else {
            return Some(Heard::CannotDial("agent left".into()));
        };
        open.asked = true;
        gateway.pending.insert(id, key);
        let control = member.control;
        self.say(control, End::Agent, Message::Dial(key, id));
        self.wait(key, index, Patience::arrive_within);
        None
    }

    /// Whether a connection of this agent was asked for.
    pub(super) fn is_asked(&self, key: Key, agent: usize) -> bool {
        let open = self.opens.get(key);
        open.is_some_and(|open| open.asked && open.carried == Some(agent))
    }

    /// The connection that was asked for is there.
    pub(super) fn arrived(&mut self, key: Key, connection: Key) {
        self.give_up_asking(key);
        if let Some(open) = self.opens.get_mut(key) {
            open.came = Some((connection, None));
        }
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.used = true;
        }
        self.hears(key, Heard::Arrived);
    }

    pub(super) fn cannot_dial(&mut self, key: Key, words: &str) {
        self.give_up_asking(key);
        self.hears(key, Heard::CannotDial(words.into()));
    }

    fn send(&mut self, key: Key, index: AgentIndex, attempt: Attempt) -> Option<Heard> {
        let now = self.now();
        let agent = self.agent_of(key, index)?;
        let open = self.opens.get_mut(key)?;
        let (connection, age) = open.came.take()?;
        let id = open.id;
        let member = self.gateways[open.gateway].members.get(&agent);
        let round_trip = member.and_then(|member| member.round_trip);
        let within = Patience::default().accept_within(round_trip);
        open.sent.push(Sent {
            attempt,
            agent,
            connection,
            age,
            due: now + within,
        });
        self.say(connection, End::Agent, Message::Open(key, id));
        self.wait(key, index, Patience::accept_within);
        None
    }

    /// Which attempt a connection is.
    fn attempt(&self, key: Key, connection: Key) -> Option<Attempt> {
        let open = self.opens.get(key)?;
        let sent = open
            .sent
            .iter()
            .find(|sent| sent.connection == connection)?;
        Some(sent.attempt)
    }

    pub(super) fn accepted(&mut self, key: Key, connection: Key) {
        if let Some(attempt) = self.attempt(key, connection) {
            self.hears(key, Heard::Accepted(attempt));
        }
    }

    pub(super) fn connected(&mut self, key: Key, connection: Key) {
        if let Some(attempt) = self.attempt(key, connection) {
            self.hears(key, Heard::Connected(attempt));
        }
    }

    pub(super) fn failed(&mut self, key: Key, connection: Key, reason: FailReason) {
        let Some(attempt) = self.attempt(key, connection) else {
            return;
        };
        if let Some(open) = self.opens.get_mut(key) {
            open.sent.retain(|sent| sent.attempt != attempt);
        }
        self.close(connection, End::Gateway);
        self.hears(key, Heard::Failed(attempt, reason, reason.as_str().into()));
    }

    /// A data connection ended at its gateway.
    pub(super) fn data_lost(&mut self, connection: Key, gateway: usize) {
        // Opens are few; an index of them by connection would have to be kept for this alone.
        let uses = |open: &Open| {
            open.gateway == gateway && open.sent.iter().any(|sent| sent.connection == connection)
        };
        let Some((key, _)) = self.opens.iter().find(|(_, open)| uses(open)) else {
            return;
        };
        let Some(open) = self.opens.get_mut(key) else {
            return;
        };
        if open.connected {
            return self.stream_ends(key);
        }
        let Some(at) = open
            .sent
            .iter()
            .position(|sent| sent.connection == connection)
        else {
            return;
        };
        let sent = open.sent.remove(at);
        if let Some(age) = sent.age {
            self.died(sent.agent, gateway, age);
        }
        self.hears(key, Heard::Died(sent.attempt));
    }

    /// Goes on with one connection alone.
    fn keep_one(&mut self, key: Key, attempt: Attempt) -> Option<Heard> {
        self.give_up_asking(key);
        let now = self.now();
        let open = self.opens.get_mut(key)?;
        let gateway = open.gateway;
        let (kept, others): (Vec<_>, Vec<_>) = open
            .sent
            .drain(..)
            .partition(|sent| sent.attempt == attempt);
        open.sent.clone_from(&kept);
        if !others.is_empty() {
            self.tally.retried += 1;
        }
        for other in others {
            self.close(other.connection, End::Gateway);
            // The agent answers on another connection: this one was dead.
            if let Some(age) = other.age
                && other.due <= now
            {
                self.died(other.agent, gateway, age);
            }
        }
        let kept = kept.first()?;
        self.carry(key, Some(kept.agent));
        if let Some(age) = kept.age
            && let Some(member) = self.gateways[gateway].members.get_mut(&kept.agent)
        {
            member.pool.survived(age);
        }
        None
    }

    fn done(&mut self, key: Key, attempt: Attempt) -> Option<Heard> {
        let (now, instant) = (self.now(), self.instant());
        let open = self.opens.get_mut(key)?;
        open.connected = true;
        let (index, took) = (open.gateway, now - open.began);
        let (id, sent) = (open.id, open.sent.clone());
        let alone = sent.len() == 1 && sent.first().is_some_and(|sent| sent.attempt == attempt);
        self.checks.holds(
            alone && !self.gateways[index].pending.contains_key(&id),
            "an open has two connections after Connected",
            now,
            format!("{id}"),
        );
        let kept = sent.first()?;
        let round_trip = self.round_trip(kept.agent, index);
        let kind = match kept.age {
            Some(_) => &mut self.tally.warm,
            None => &mut self.tally.cold,
        };
        kind.note(took, round_trip);
        let gateway = &mut self.gateways[index];
        gateway.tally.opens.note(took, round_trip);
        if let Some(member) = gateway.members.get_mut(&kept.agent) {
            member.pool.opened(instant);
            self.repark(kept.agent, index);
        }
        let lives = self.about(LIVES);
        self.queue.after(lives, Event::StreamEnds(key));
        None
    }

    /// An open failed.
    fn over(&mut self, key: Key, failure: &OpenFailure) {
        let why = words(failure);
        self.ends(key);
        if let Some(open) = self.opens.remove(key) {
            self.fails(&why, Some(open.gateway));
        }
    }

    /// Closes all that an open has.
    fn ends(&mut self, key: Key) {
        self.give_up_asking(key);
        self.carry(key, None);
        let Some(open) = self.opens.get_mut(key) else {
            return;
        };
        let came = open.came.take().map(|(connection, _)| connection);
        let sent = std::mem::take(&mut open.sent);
        for connection in came
            .into_iter()
            .chain(sent.into_iter().map(|sent| sent.connection))
        {
            self.close(connection, End::Gateway);
        }
    }

    pub(super) fn fails(&mut self, why: &str, gateway: Option<usize>) {
        *self.tally.failed.entry(why.to_owned()).or_default() += 1;
        if let Some(gateway) = gateway {
            self.gateways[gateway].tally.failed += 1;
        }
    }

    /// The process of its gateway ended.
    pub(super) fn gateway_gone(&mut self, key: Key) {
        self.ends(key);
        let Some(open) = self.opens.remove(key) else {
            return;
        };
        if open.connected {
            self.tally.streams_cut += 1;
        } else {
            self.fails("the gateway ended", Some(open.gateway));
        }
    }

    pub(super) fn due(&mut self, key: Key, time: u32) {
        if self
            .opens
            .get(key)
            .is_some_and(|open| open.time == time && !open.connected)
        {
            self.hears(key, Heard::TimedOut);
        }
    }

    pub(super) fn deadline(&mut self, key: Key) {
        if self.opens.get(key).is_some_and(|open| !open.connected) {
            self.hears(key, Heard::Deadline);
        }
    }

    pub(super) fn stream_ends(&mut self, key: Key) {
        self.ends(key);
        self.opens.remove(key);
    }
}

fn words(failure: &OpenFailure) -> String {
    match failure {
        OpenFailure::NoAgent => "no agent could be asked".to_owned(),
        OpenFailure::Answer { reason, .. } => format!("the target's answer: {reason}"),
        OpenFailure::Lost { .. } => "connection lost after the acceptance".to_owned(),
        OpenFailure::Tunnel { trouble, .. } => format!(
            "no agent accepted; {}",
            match trouble {
                Trouble::NoneParked => "no connection was waiting".to_owned(),
                Trouble::CannotDial(words) => words.to_string(),
                Trouble::Died => "the connection was lost".to_owned(),
                Trouble::Late => "no answer in time".to_owned(),
                Trouble::Refused { reason, .. } => format!("refused: {reason}"),
            }
        ),
        OpenFailure::Deadline { awaited, .. } => match awaited {
            Awaited::Connection => "the target did not answer".to_owned(),
            awaited => format!("deadline, before {awaited}"),
        },
    }
}
