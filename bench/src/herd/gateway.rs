//! Is the gateways' side: the doors, the registry, and the size of pools.

use super::arena::Key;
use super::entities::{End, Event, Member, Message, Purpose};
use super::world::{PING, World};
use eyesplice_dataplane::strangers::{Asked, Turn};
use eyesplice_proto::tunnel::PoolPolicy;
use std::time::Duration;

impl World {
    /// A ClientHello is there: the handshake waits for its turn.
    pub(super) fn hello(&mut self, key: Key, waited: bool) {
        let (now, instant) = (self.now(), self.instant());
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if !connection.near || connection.forgotten {
            return;
        }
        let (agent, index) = (connection.agent, connection.gateway);
        let control = connection.purpose == Purpose::Control;
        if self.agents[agent].cut {
            return self.handshake_lost(key);
        }
        let source = self.source(agent);
        let round_trip = self.round_trip(agent, index);
        let asked = if waited { Asked::Waited } else { Asked::First };
        let gateway = &mut self.gateways[index];
        let wait = match gateway.doors.turn(source, asked, instant) {
            Turn::Now => Duration::ZERO,
            Turn::In(wait) => wait,
            Turn::Ask(wait) => return self.queue.after(wait, Event::Hello(key, true)),
            Turn::Never(_) => {
                gateway.tally.refused += 1;
                return self.queue.after(round_trip / 2, Event::DialFailed(key));
            }
        };
        gateway.tally.handshake(now + wait);
        if self.tally.missing > 0 {
            self.tally.data_meanwhile += u64::from(!control);
            self.tally.controls_meanwhile += u64::from(control);
        }
        self.queue.after(wait + round_trip, Event::Ready(key));
    }

    /// An agent has authenticated, and said what its connection is for.
    pub(super) fn ready(&mut self, key: Key) {
        let instant = self.instant();
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if !connection.near || connection.forgotten {
            return;
        }
        let (agent, index, purpose) = (connection.agent, connection.gateway, connection.purpose);
        if self.agents[agent].cut {
            return self.handshake_lost(key);
        }
        let source = self.source(agent);
        self.gateways[index].doors.authenticated(source, instant);
        if let Some(connection) = self.connections.get_mut(key) {
            connection.far = true;
        }
        match purpose {
            Purpose::Control => self.register(key, agent, index),
            Purpose::Parked(_) => self.park(key, agent, index),
            Purpose::Fresh(open, id) => {
                let awaited = self.gateways[index].pending.get(&id) == Some(&open);
                if awaited && self.is_asked(open, agent) {
                    self.arrived(open, key);
                } else {
                    self.close(key, End::Gateway);
                }
            }
        }
    }

    fn register(&mut self, key: Key, agent: usize, index: usize) {
        let (instant, round_trip) = (self.instant(), self.round_trip(agent, index));
        let limits = self.plan.pool.clone();
        let floor = *limits.start();
        let gateway = &mut self.gateways[index];
        let crowded = gateway.doors.is_crowded(instant);
        let before = gateway.members.remove(&agent);
        let old = before.as_ref().map(|before| before.control);
        let mut member = before.unwrap_or_else(|| Member {
            control: key,
            round_trip: None,
            parked: Vec::new(),
            pool: PoolPolicy::new(limits, instant),
            streams: 0,
            draining: false,
        });
        member.control = key;
        (member.round_trip, member.draining) = (None, false);
        member.pool.registered();
        let park = member.pool.ask(instant, crowded).unwrap_or(0);
        gateway.members.insert(agent, member);
        self.count(index);
        if let Some(old) = old {
            self.close(old, End::Gateway);
        }
        self.say(key, End::Agent, Message::Registered(park));
        self.queue.after(round_trip, Event::Measured(key));
        if park > 0 || park < floor {
            self.queue.after(PING, Event::Look(key));
        }
    }

    /// Puts a connection among those that wait.
    fn park(&mut self, key: Key, agent: usize, index: usize) {
        let (now, most) = (self.now(), *self.plan.pool.end());
        let gateway = &mut self.gateways[index];
        let Some(member) = gateway.members.get_mut(&agent) else {
            return self.close(key, End::Gateway);
        };
        if member.parked.len() >= most {
            return self.close(key, End::Gateway);
        }
        member.parked.push(key);
        gateway.parked += 1;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.parked = Some(now);
        }
        self.count(index);
        self.idles(key);
    }

    pub(super) fn count(&mut self, index: usize) {
        let gateway = &mut self.gateways[index];
        gateway
            .tally
            .connections(gateway.members.len(), gateway.parked);
    }

    /// Takes the youngest connection that waits, and how long it did.
    pub(super) fn take_parked(&mut self, agent: usize, index: usize) -> Option<(Key, Duration)> {
        let gateway = &mut self.gateways[index];
        let key = gateway.members.get_mut(&agent)?.parked.pop()?;
        gateway.parked -= 1;
        let now = self.now();
        let connection = self.connections.get_mut(key)?;
        connection.used = true;
        let since = connection.parked?;
        Some((key, now - since))
    }

    /// A connection that waited was found dead before anything was sent on it.
    pub(super) fn lost_parked(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (agent, index) = (connection.agent, connection.gateway);
        let Some(since) = connection.parked else {
            return;
        };
        if self.unpark(key, agent, index) {
            let age = self.now() - since;
            self.died(agent, index, age);
        }
    }

    fn unpark(&mut self, key: Key, agent: usize, index: usize) -> bool {
        let gateway = &mut self.gateways[index];
        let Some(member) = gateway.members.get_mut(&agent) else {
            return false;
        };
        let Some(at) = member.parked.iter().position(|each| *each == key) else {
            return false;
        };
        member.parked.remove(at);
        gateway.parked -= 1;
        true
    }

    /// Notes that one that had waited was dead.
    pub(super) fn died(&mut self, agent: usize, index: usize, age: Duration) {
        let instant = self.instant();
        if let Some(member) = self.gateways[index].members.get_mut(&agent) {
            let left = member.parked.len();
            member.pool.died(age, left, instant);
            self.repark(agent, index);
        }
    }

    /// Asks an agent for another number of parked connections, if that has changed.
    pub(super) fn repark(&mut self, agent: usize, index: usize) {
        let instant = self.instant();
        let floor = *self.plan.pool.start();
        let gateway = &mut self.gateways[index];
        let crowded = gateway.doors.is_crowded(instant);
        let Some(member) = gateway.members.get_mut(&agent) else {
            return;
        };
        if let Some(target) = member.pool.ask(instant, crowded) {
            let control = member.control;
            self.say(control, End::Agent, Message::Park(target));
            if target != floor {
                self.queue.after(PING, Event::Look(control));
            }
        }
    }

    pub(super) fn look(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (agent, index) = (connection.agent, connection.gateway);
        let (instant, floor) = (self.instant(), *self.plan.pool.start());
        let Some(member) = self.gateways[index].members.get_mut(&agent) else {
            return;
        };
        if member.control != key {
            return;
        }
        let asked = member.pool.asked();
        // One that is shrunk grows after minutes: fewer looks are enough.
        let shrunk = member.pool.shrunk(instant).is_some();
        self.repark(agent, index);
        let member = self.gateways[index].members.get(&agent);
        // Another look was asked for where it has changed.
        if asked != floor && member.is_some_and(|member| member.pool.asked() == asked) {
            let pings = if shrunk { 4 } else { 1 };
            self.queue.after(PING * pings, Event::Look(key));
        }
    }

    pub(super) fn measured(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (agent, index) = (connection.agent, connection.gateway);
        let round_trip = self.round_trip(agent, index);
        if let Some(member) = self.gateways[index].members.get_mut(&agent)
            && member.control == key
        {
            member.round_trip = Some(round_trip);
        }
    }

    /// Something is said to a gateway.
    pub(super) fn at_gateway(&mut self, key: Key, message: Message) {
        let now = self.now();
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if !connection.far {
            return;
        }
        let (agent, index) = (connection.agent, connection.gateway);
        match message {
            Message::CannotDial(id) => {
                if let Some(open) = self.gateways[index].pending.get(&id).copied()
                    && self.is_asked(open, agent)
                {
                    self.cannot_dial(open, "cannot connect back");
                }
            }
            Message::Draining => {
                if let Some(member) = self.gateways[index].members.get_mut(&agent) {
                    member.draining = true;
                }
            }
            Message::Accepted(open) => self.accepted(open, key),
            Message::Connected(open) => self.connected(open, key),
            Message::Failed(open, reason) => self.failed(open, key, reason),
            Message::Closed => {
                // Those that an agent closes on purpose do not count as dead.
                self.unpark(key, agent, index);
                self.lost_at_gateway(key);
            }
            _ => self.checks.broken(
                "a gateway hears what only an agent does",
                now,
                format!("{message:?}"),
            ),
        }
    }

    /// A connection ended at its gateway.
    pub(super) fn lost_at_gateway(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !std::mem::replace(&mut connection.far, false) {
            return;
        }
        let (agent, index, purpose) = (connection.agent, connection.gateway, connection.purpose);
        let used = connection.used;
        self.sweep(key);
        if purpose == Purpose::Control {
            self.unregister(key, agent, index);
        } else if used {
            self.data_lost(key, index);
        }
    }

    /// Forgets an agent: what it has parked is closed, and opens go on without it.
    fn unregister(&mut self, key: Key, agent: usize, index: usize) {
        let gateway = &mut self.gateways[index];
        if gateway
            .members
            .get(&agent)
            .is_none_or(|member| member.control != key)
        {
            return;
        }
        let Some(member) = gateway.members.remove(&agent) else {
            return;
        };
        gateway.parked -= member.parked.len();
        let waiting: Vec<_> = gateway.pending.values().copied().collect();
        self.count(index);
        for parked in member.parked {
            self.close(parked, End::Gateway);
        }
        for open in waiting {
            if self.is_asked(open, agent) {
                self.cannot_dial(open, "its agent left");
            }
        }
    }
}
