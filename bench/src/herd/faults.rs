//! Does what goes wrong to gateways and agents.

use super::agent::LEARNS;
use super::arena::Key;
use super::doors::Doors;
use super::entities::{End, Event, Purpose};
use super::world::{PING, World};
use std::collections::HashMap;

impl World {
    /// An end has heard nothing for three pings.
    pub(super) fn silent(&mut self, key: Key, end: End) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        if !self.agents[connection.agent].cut {
            return;
        }
        match end {
            End::Agent => self.lost_at_agent(key),
            End::Gateway => self.lost_at_gateway(key),
        }
    }

    /// The process of a gateway ends: the kernel closes what it had.
    pub(super) fn down(&mut self, index: usize) {
        self.gateways[index].up = false;
        let own = self
            .connections
            .iter()
            .filter(|(_, each)| each.gateway == index);
        let own: Vec<_> = own
            .map(|(key, each)| (key, each.near, each.far, each.port))
            .collect();
        let opens = self.opens.iter().filter(|(_, each)| each.gateway == index);
        let opens: Vec<_> = opens.map(|(key, _)| key).collect();
        for open in opens {
            self.gateway_gone(open);
        }
        let gateway = &mut self.gateways[index];
        gateway.members = HashMap::new();
        gateway.pending.clear();
        gateway.parked = 0;
        self.count(index);
        for (key, near, far, port) in own {
            if far {
                self.close(key, End::Gateway);
            } else if near && port {
                let Some(connection) = self.connections.get_mut(key) else {
                    continue;
                };
                let (agent, gateway) = (connection.agent, connection.gateway);
                // A handshake that has begun ends with it.
                connection.forgotten = true;
                let delay = self.round_trip(agent, gateway) / 2;
                self.queue.after(delay, Event::DialFailed(key));
            }
        }
    }

    /// A new process listens.
    pub(super) fn up(&mut self, index: usize) {
        let instant = self.instant();
        let gateway = &mut self.gateways[index];
        gateway.up = true;
        gateway.doors = Doors::new(self.plan.doors, self.herd.handshakes, instant);
    }

    /// A third of the agents are cut off.
    pub(super) fn cut(&mut self) {
        for agent in self.agents.iter_mut().step_by(3) {
            agent.cut = true;
        }
        let controls = self
            .connections
            .iter()
            .filter(|(_, each)| each.purpose == Purpose::Control && each.agent % 3 == 0);
        let controls: Vec<_> = controls.map(|(key, _)| key).collect();
        let streams = self
            .opens
            .iter()
            .filter(|(_, each)| each.connected && each.carried.is_some_and(|agent| agent % 3 == 0));
        let streams: Vec<_> = streams.map(|(key, _)| key).collect();
        for key in controls {
            // The last ping was up to a period ago.
            let delay = PING * 2 + self.up_to(PING);
            self.queue.after(delay, Event::Silent(key, End::Agent));
            self.queue.after(delay, Event::Silent(key, End::Gateway));
        }
        for stream in streams {
            self.tally.streams_cut += 1;
            // The user timeout ends both ends.
            let delay = PING * 4;
            self.queue.after(delay, Event::StreamEnds(stream));
        }
    }

    pub(super) fn heal(&mut self) {
        for agent in &mut self.agents {
            agent.cut = false;
        }
    }

    /// A gateway is on the list from now on, or is not any more.
    pub(super) fn relist(&mut self, index: usize, listed: bool) {
        self.gateways[index].listed = listed;
        self.list();
        for agent in 0..self.agents.len() {
            let delay = self.up_to(LEARNS);
            self.queue.after(delay, Event::Learn(agent));
        }
        if !listed {
            self.queue.after(PING * 4, Event::Leave(index));
        }
    }
}
