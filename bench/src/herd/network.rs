//! Carries what agents and gateways say to each other, and what goes wrong on the way.

use super::arena::Key;
use super::entities::{Connection, End, Event, Message, Purpose};
use super::world::World;
use std::time::Duration;

/// When a SYN without an answer goes out once more (TCP doubles a second), and when a dial is given
/// up, after the one before.
const SYNS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
const GIVEN_UP: Duration = Duration::from_secs(3);

/// How long a handshake may take at an agent.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// One message in so many is lost, and sent again after a time.
const LOST: u32 = 500;
const RETRANSMITTED: Duration = Duration::from_millis(200);

/// Keepalive ends a connection whose probes have no answer after this time (tcpUserTimeout).
const PROBED: Duration = Duration::from_secs(60);

impl World {
    /// Begins to dial.
    pub(super) fn dial(&mut self, agent: usize, gateway: usize, purpose: Purpose) -> Key {
        let key = self.connections.insert(Connection {
            agent,
            gateway,
            purpose,
            near: true,
            far: false,
            port: false,
            forgotten: false,
            parked: None,
            used: false,
            half_closed: None,
            arrivals: [Duration::ZERO; 2],
        });
        self.syn(key, 0);
        key
    }

    pub(super) fn syn(&mut self, key: Key, tries: usize) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (agent, gateway) = (connection.agent, connection.gateway);
        let site = self.site(agent);
        let full = self
            .plan
            .nat
            .is_some_and(|nat| self.ports[site] >= nat.ports);
        if full {
            self.tally.no_port += 1;
        }
        if full || self.agents[agent].cut {
            match SYNS.get(tries) {
                Some(delay) => self.queue.after(*delay, Event::Syn(key, tries + 1)),
                None => self.queue.after(GIVEN_UP, Event::DialFailed(key)),
            }
            return;
        }
        self.ports[site] += 1;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.port = true;
        }
        let round_trip = self.round_trip(agent, gateway);
        if self.gateways[gateway].up {
            let delay = round_trip + round_trip / 2;
            self.queue.after(delay, Event::Hello(key, false));
        } else {
            self.queue.after(round_trip, Event::DialFailed(key));
        }
    }

    /// The way is cut in the middle of a handshake.
    pub(super) fn handshake_lost(&mut self, key: Key) {
        self.queue.after(HANDSHAKE, Event::DialFailed(key));
    }

    /// Says something; it arrives in order, or never.
    pub(super) fn say(&mut self, key: Key, to: End, message: Message) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (agent, gateway) = (connection.agent, connection.gateway);
        if self.agents[agent].cut || connection.forgotten {
            return;
        }
        let mut delay = self.round_trip(agent, gateway) / 2;
        if self.random.u32(0..LOST) == 0 {
            delay = delay * 3 + RETRANSMITTED;
        }
        let now = self.queue.now();
        if let Some(connection) = self.connections.get_mut(key) {
            let last = &mut connection.arrivals[usize::from(to == End::Gateway)];
            *last = (*last).max(now + delay);
            delay = *last - now;
        }
        self.queue.after(delay, Event::Deliver(key, to, message));
    }

    /// Closes an end; the other one hears of it if the way is free.
    pub(super) fn close(&mut self, key: Key, end: End) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let open = match end {
            End::Agent => &mut connection.near,
            End::Gateway => &mut connection.far,
        };
        if !std::mem::replace(open, false) {
            return;
        }
        let (to, other) = match end {
            End::Agent => (End::Gateway, connection.far),
            End::Gateway => (End::Agent, connection.near),
        };
        connection.half_closed = other.then_some(self.queue.now());
        let silent = connection.forgotten || self.agents[connection.agent].cut;
        if other && !silent {
            self.say(key, to, Message::Closed);
        } else if other {
            // Its probes, or its user timeout, find out.
            self.queue.after(PROBED, Event::Unanswered(key));
        }
        self.sweep(key);
    }

    /// A connection waits now: what its way does to it.
    pub(super) fn idles(&mut self, key: Key) {
        if let Some(nat) = self.plan.nat {
            self.queue.after(nat.forgets, Event::NatForgets(key));
        }
        if let Some(ages) = self.plan.carrier.clone() {
            let age = *ages.start() + self.up_to(*ages.end() - *ages.start());
            self.queue.after(age, Event::CarrierCuts(key));
        }
    }

    /// A carrier resets both ends of a connection that waits.
    pub(super) fn carrier_cuts(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if connection.used || !connection.near || !connection.far {
            return;
        }
        self.tally.cut += 1;
        self.lost_parked(key);
        self.close(key, End::Gateway);
    }

    pub(super) fn nat_forgets(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.used || !connection.near || !connection.far {
            return;
        }
        connection.forgotten = true;
        let agent = connection.agent;
        if std::mem::replace(&mut connection.port, false) {
            let site = self.site(agent);
            self.ports[site] -= 1;
        }
        self.tally.forgotten += 1;
        self.queue.after(PROBED, Event::Unanswered(key));
    }

    /// Keepalive gives up a connection at both ends.
    pub(super) fn unanswered(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (near, far) = (connection.near, connection.far);
        if far {
            self.lost_parked(key);
            self.lost_at_gateway(key);
        }
        if near {
            self.lost_at_agent(key);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.near = false;
            connection.far = false;
        }
        self.sweep(key);
    }
}
