//! Is the clients' side: which agents they open streams through, and at which gateway.

use super::entities::Event;
use super::world::World;
use std::time::Duration;

/// A hop from one gateway to another.
const HOP: Duration = Duration::from_millis(1);

/// Half of the opens are of one agent in so many.
const BUSY: usize = 100;

/// Each arrival of clients is so many opens with this chance in 16, within a short time.
const BURST: usize = 4;
const BURSTS_IN_16: u32 = 1;
const BURST_WITHIN: Duration = Duration::from_millis(200);

/// One open in so many is for a network that this agent and its neighbour both carry.
const SHARED: u32 = 5;

impl World {
    /// Clients open some streams.
    pub(super) fn clients(&mut self) {
        let per_arrival = 1.0 + f64::from(BURSTS_IN_16) / 16.0 * (BURST - 1) as f64;
        let mean = 3600.0 * per_arrival / self.herd.opens.max(1) as f64;
        let next = self.about(Duration::from_secs_f64(mean));
        self.queue.after(next, Event::Clients);
        let agents = self.agents.len();
        let agent = if self.random.bool() {
            let busy = agents.div_ceil(BUSY);
            self.random.usize(0..busy) * BUSY
        } else {
            self.random.usize(0..agents)
        };
        let agent = agent.min(agents - 1);
        let count = if self.random.u32(0..16) < BURSTS_IN_16 {
            BURST
        } else {
            1
        };
        for _ in 0..count {
            let delay = self.up_to(BURST_WITHIN);
            self.queue.after(delay, Event::Client(agent));
        }
    }

    /// A client asks a gateway for a stream; one that lacks the agent passes it on in hash order.
    pub(super) fn client(&mut self, agent: usize) {
        self.tally.opens += 1;
        let shared = self.random.u32(0..SHARED) == 0;
        let neighbour = agent ^ 1;
        let mut agents = vec![agent];
        if shared && neighbour < self.agents.len() {
            agents.push(neighbour);
        }
        let up = self
            .gateways
            .iter()
            .enumerate()
            .filter(|(_, each)| each.up && each.listed);
        let up: Vec<_> = up.map(|(index, _)| index).collect();
        let Some(own) = self.random.choice(up) else {
            return self.fails("no gateway is up", None);
        };
        let ranked = self.agents[agent].ranked.clone();
        for (hops, index) in (0..).zip([own].into_iter().chain(ranked)) {
            let gateway = &self.gateways[index];
            let may = |agent: &usize| {
                gateway
                    .members
                    .get(agent)
                    .is_some_and(|member| !member.draining)
            };
            if gateway.up && agents.iter().any(may) {
                agents.retain(may);
                agents.sort_by_key(|agent| gateway.members[agent].streams);
                self.tally.forwarded += u64::from(hops > 0);
                return self.open(index, agents, HOP * hops);
            }
        }
        self.fails("no agent is connected", None);
    }
}
