//! Is the agents' side: which gateways they hold, what they park, and how they answer.

use super::arena::Key;
use super::entities::{End, Event, Fate, Hold, Message, Purpose, Slot};
use super::world::World;
use eyesplice_proto::tunnel::{Backoff, FailReason, NotNew, OpenId, hold};
use std::time::Duration;

/// The first and the longest pause of a back-off, as the agent's configuration has them.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);

/// Agents resolve the names of gateways so often.
pub(super) const LEARNS: Duration = Duration::from_secs(30);

/// How long a gateway that is not wanted is held while others are not there, and how long its
/// requests are taken then (the engine's TUNNEL_OVERLAP and TUNNEL_GRACE).
const OVERLAP: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(1);

/// An agent answers after this time, but one open in so many finds it stalled for up to two
/// seconds.
const ANSWERS: Duration = Duration::from_micros(200);
const STALLED: u32 = 500;
const STALL: Duration = Duration::from_secs(2);

impl World {
    /// An agent learns the list of gateways: what is new is held, then the rest let go of.
    pub(super) fn learn(&mut self, agent: usize) {
        let listed = self.gateways.iter().filter(|each| each.listed).count();
        let wanted = self.agents[agent].ranked.clone();
        let now = self.now();
        let what = format!("agent {agent} wants {} of {listed}", wanted.len());
        let within = wanted.len() <= hold(None, listed);
        self.checks
            .holds(within, "an agent is above its hold", now, what);
        for gateway in &wanted {
            if self.hold(agent, *gateway).is_some() {
                continue;
            }
            self.agents[agent].holds.push(Hold {
                gateway: *gateway,
                backoff: Backoff::new(FIRST, LONGEST),
                control: None,
                registered: None,
                retired: None,
                slots: Vec::new(),
                next_slot: 0,
            });
            self.tally.moved += 1;
            self.tally.missing(1, now);
            self.dial_control(agent, *gateway);
        }
        if self.agents[agent].holds.len() > wanted.len() {
            self.queue.after(OVERLAP, Event::Retire(agent));
        }
    }

    /// Lets go of what is not wanted.
    pub(super) fn retire(&mut self, agent: usize) {
        let now = self.now();
        let wanted = self.agents[agent].ranked.clone();
        let is_over = |hold: &Hold| hold.retired.is_none() && !wanted.contains(&hold.gateway);
        let over = self.agents[agent].holds.iter().filter(|hold| is_over(hold));
        let over: Vec<_> = over.map(|hold| hold.gateway).collect();
        for gateway in over {
            self.keep(agent, gateway, 0);
            let Some(hold) = self.hold(agent, gateway) else {
                continue;
            };
            hold.retired = Some(now);
            let (registered, control) = (hold.registered.is_some(), hold.control);
            if !registered {
                self.tally.missing(-1, now);
            }
            if let Some(control) = control {
                self.say(control, End::Gateway, Message::Draining);
            }
            self.queue.after(GRACE, Event::LetGo(agent, gateway));
        }
    }

    pub(super) fn let_go(&mut self, agent: usize, gateway: usize) {
        let holds = &mut self.agents[agent].holds;
        let Some(at) = holds.iter().position(|hold| hold.gateway == gateway) else {
            return;
        };
        let hold = holds.swap_remove(at);
        if let Some(control) = hold.control {
            self.close(control, End::Agent);
        }
    }

    pub(super) fn hold(&mut self, agent: usize, gateway: usize) -> Option<&mut Hold> {
        let mut holds = self.agents[agent].holds.iter_mut();
        holds.find(|hold| hold.gateway == gateway)
    }

    pub(super) fn dial_control(&mut self, agent: usize, gateway: usize) {
        let Some(hold) = self.hold(agent, gateway) else {
            return;
        };
        if hold.control.is_some() || hold.retired.is_some() {
            return;
        }
        let key = self.dial(agent, gateway, Purpose::Control);
        if let Some(hold) = self.hold(agent, gateway) {
            hold.control = Some(key);
        }
    }

    /// A dial failed: refused, without an answer, or without its turn.
    pub(super) fn dial_failed(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if let Purpose::Fresh(_, id) = connection.purpose
            && connection.near
        {
            let (agent, gateway) = (connection.agent, connection.gateway);
            if let Some(control) = self.hold(agent, gateway).and_then(|hold| hold.control) {
                self.say(control, End::Gateway, Message::CannotDial(id));
            }
        }
        self.lost_at_agent(key);
    }

    /// A connection ended at its agent.
    pub(super) fn lost_at_agent(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut connection.near, false) {
            return;
        }
        let (agent, gateway) = (connection.agent, connection.gateway);
        let (purpose, used) = (connection.purpose, connection.used);
        self.sweep(key);
        match purpose {
            Purpose::Control => self.control_lost(agent, gateway, key),
            Purpose::Parked(slot) if !used => self.slot_failed(agent, gateway, slot),
            Purpose::Parked(_) | Purpose::Fresh(..) => {}
        }
    }

    fn control_lost(&mut self, agent: usize, gateway: usize, key: Key) {
        let now = self.now();
        let random = self.random.u64(..);
        let Some(hold) = self.hold(agent, gateway) else {
            return;
        };
        if hold.control != Some(key) {
            return;
        }
        hold.control = None;
        let registered = hold.registered.take();
        let lived = registered.map(|since| now.saturating_sub(since));
        let pause = hold.backoff.failed(lived, random);
        let wanted = hold.retired.is_none();
        if wanted {
            self.tally.missing(i64::from(lived.is_some()), now);
            self.queue.after(pause, Event::Hold(agent, gateway));
        }
        self.keep(agent, gateway, 0);
    }

    /// Keeps so many connections parked.
    fn keep(&mut self, agent: usize, gateway: usize, count: usize) {
        let most = *self.plan.pool.end();
        let now = self.now();
        let what = format!("agent {agent} is asked for {count} by gateway {gateway}");
        self.checks
            .holds(count <= most, "a pool is above its cap", now, what);
        let Some(hold) = self.hold(agent, gateway) else {
            return;
        };
        let surplus: Vec<_> = hold.slots.drain(count.min(hold.slots.len())..).collect();
        let mut new = Vec::new();
        while hold.slots.len() < count {
            let number = hold.next_slot;
            hold.next_slot += 1;
            hold.slots.push(Slot {
                number,
                connection: None,
                pause: FIRST,
            });
            new.push(number);
        }
        for connection in surplus.into_iter().filter_map(|slot| slot.connection) {
            self.close(connection, End::Agent);
        }
        for slot in new {
            self.fill(agent, gateway, slot);
        }
    }

    /// Dials a connection that is to wait.
    pub(super) fn fill(&mut self, agent: usize, gateway: usize, number: u32) {
        if self
            .slot(agent, gateway, number)
            .is_none_or(|slot| slot.connection.is_some())
        {
            return;
        }
        let key = self.dial(agent, gateway, Purpose::Parked(number));
        if let Some(slot) = self.slot(agent, gateway, number) {
            slot.connection = Some(key);
        }
    }

    fn slot(&mut self, agent: usize, gateway: usize, number: u32) -> Option<&mut Slot> {
        let hold = self.hold(agent, gateway)?;
        hold.slots.iter_mut().find(|slot| slot.number == number)
    }

    fn slot_failed(&mut self, agent: usize, gateway: usize, number: u32) {
        if let Some(slot) = self.slot(agent, gateway, number) {
            slot.connection = None;
            let pause = slot.pause;
            slot.pause = LONGEST.min(pause * 2);
            self.queue.after(pause, Event::Slot(agent, gateway, number));
        }
    }

    /// Something is said to an agent.
    pub(super) fn at_agent(&mut self, key: Key, message: Message) {
        let now = self.now();
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if !connection.near {
            return;
        }
        let (agent, gateway) = (connection.agent, connection.gateway);
        match message {
            Message::Registered(park) => {
                let Some(hold) = self.hold(agent, gateway) else {
                    return;
                };
                if hold.control != Some(key) || hold.retired.is_some() {
                    return;
                }
                hold.registered = Some(now);
                self.tally.missing(-1, now);
                self.keep(agent, gateway, park);
                self.complete(agent);
            }
            Message::Park(count) => {
                if self
                    .hold(agent, gateway)
                    .is_some_and(|hold| hold.retired.is_none())
                {
                    self.keep(agent, gateway, count);
                }
            }
            Message::Dial(open, id) => {
                self.dial(agent, gateway, Purpose::Fresh(open, id));
            }
            Message::Open(open, id) => self.opened_at_agent(key, open, id),
            Message::Closed => self.lost_at_agent(key),
            _ => self.checks.broken(
                "an agent hears what only a gateway does",
                now,
                format!("{message:?}"),
            ),
        }
    }

    /// If all that is wanted is registered, the rest is let go of.
    fn complete(&mut self, agent: usize) {
        let (wanted, now) = (self.agents[agent].ranked.clone(), self.now());
        let holds = &self.agents[agent].holds;
        let registered = |hold: &&Hold| hold.registered.is_some() && hold.retired.is_none();
        let held = holds.iter().filter(registered);
        let (in_time, over) = held.fold((0, 0), |(wants, over), hold| {
            let wants_it = wanted.contains(&hold.gateway);
            (wants + usize::from(wants_it), over + usize::from(!wants_it))
        });
        let moves = self.plan.unlisted > 0;
        let what = format!("agent {agent} is registered {in_time} times and {over} times more");
        let rule = "an agent is above its hold";
        self.checks.holds(
            in_time <= wanted.len() && (over == 0 || moves),
            rule,
            now,
            what,
        );
        if in_time == wanted.len() && over > 0 {
            self.retire(agent);
        }
    }

    /// A gateway opens a stream on this connection.
    fn opened_at_agent(&mut self, key: Key, open: Key, id: OpenId) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (agent, gateway) = (connection.agent, connection.gateway);
        if let Purpose::Parked(slot) = connection.purpose
            && let Some(slot) = self.slot(agent, gateway, slot)
        {
            // Another one waits in its place.
            (slot.connection, slot.pause) = (None, FIRST);
            let number = slot.number;
            self.fill(agent, gateway, number);
        }
        let stalls = self.random.u32(0..STALLED) == 0;
        let delay = if stalls { self.up_to(STALL) } else { ANSWERS };
        self.queue.after(delay, Event::Read(key, open, id));
    }

    /// The agent comes to read an open: it accepts it, and dials.
    pub(super) fn read_open(&mut self, key: Key, open: Key, id: OpenId) {
        let (now, instant) = (self.now(), self.instant());
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let agent = connection.agent;
        let near = connection.near;
        // One whose open is over has been closed, or is about to be.
        let left = self
            .opens
            .get(open)
            .map(|open| open.until.saturating_sub(now));
        let noted = self.agents[agent]
            .seen
            .note(id, left.unwrap_or_default(), instant);
        if !near {
            return;
        }
        match noted {
            Ok(()) => {}
            Err(why) => {
                let reason = match why {
                    NotNew::Seen => FailReason::Seen,
                    NotNew::Full { .. } => FailReason::Exhausted,
                };
                self.say(key, End::Gateway, Message::Failed(open, reason));
                return self.close(key, End::Agent);
            }
        }
        self.checks.dialled(id, agent, now);
        self.say(key, End::Gateway, Message::Accepted(open));
        let after = match self.opens.get(open).map(|open| open.fate) {
            Some(Fate::Connects(after) | Fate::Refuses(after)) => after,
            Some(Fate::Silent) | None => return,
        };
        self.queue.after(after, Event::Target(key, open));
    }

    /// The target answered.
    pub(super) fn target(&mut self, key: Key, open: Key) {
        let near = self
            .connections
            .get(key)
            .is_some_and(|connection| connection.near);
        if !near {
            return;
        }
        match self.opens.get(open).map(|open| open.fate) {
            Some(Fate::Connects(_)) => self.say(key, End::Gateway, Message::Connected(open)),
            Some(Fate::Refuses(_)) => {
                self.say(
                    key,
                    End::Gateway,
                    Message::Failed(open, FailReason::Refused),
                );
                self.close(key, End::Agent);
            }
            Some(Fate::Silent) | None => {}
        }
    }
}
