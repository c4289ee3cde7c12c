//! Is a simulated world: what is in it, and what each event is for.

use super::arena::{Arena, Key};
use super::checks::Checks;
use super::doors::Doors;
use super::entities::{Agent, Connection, End, Event, Gateway, Open};
use super::scenario::{ARRIVAL, CONVERGES, Fault, Plan, WARM_UP};
use super::tally::{GatewayTally, Tally};
use super::{Herd, queue::Queue};
use eyesplice_dataplane::strangers::Source;
use eyesplice_proto::tunnel::{SeenIds, hold, rank};
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// Time between two pings of a gateway, as the gateway's default.
pub(super) const PING: Duration = Duration::from_secs(15);

/// A simulated world.
pub(super) struct World {
    pub(super) herd: Herd,
    pub(super) plan: Plan,
    pub(super) queue: Queue<Event>,
    pub(super) random: fastrand::Rng,
    pub(super) agents: Vec<Agent>,
    pub(super) gateways: Vec<Gateway>,
    /// Ports in use, by source address.
    pub(super) ports: Vec<u32>,
    pub(super) connections: Arena<Connection>,
    pub(super) opens: Arena<Open>,
    pub(super) checks: Checks,
    pub(super) tally: Tally,
    /// When the last thing went wrong, and what is in order again must be so later.
    pub(super) calm: Duration,
    start: Instant,
}

impl World {
    pub(super) fn new(herd: Herd, plan: Plan) -> Self {
        let start = Instant::now();
        let gateways = (0..herd.gateways + plan.unlisted).map(|index| Gateway {
            name: format!("192.0.2.{index}:8443"),
            listed: index < herd.gateways,
            up: true,
            doors: Doors::new(plan.doors, herd.handshakes, start),
            members: HashMap::new(),
            pending: BTreeMap::new(),
            parked: 0,
            tally: GatewayTally::new(),
        });
        let gateways: Vec<_> = gateways.collect();
        let mut random = fastrand::Rng::with_seed(herd.seed);
        let agents = (0..herd.agents).map(|_| Agent {
            round_trip: round_trip(&mut random),
            cut: false,
            seen: SeenIds::default(),
            holds: Vec::new(),
            ranked: Vec::new(),
        });
        let agents: Vec<_> = agents.collect();
        let mut world = Self {
            ports: vec![0; herd.agents],
            herd,
            plan,
            queue: Queue::new(),
            random,
            agents,
            gateways,
            connections: Arena::new(),
            opens: Arena::new(),
            checks: Checks::default(),
            tally: Tally::new(),
            calm: WARM_UP,
            start,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.list();
        for agent in 0..self.agents.len() {
            let delay = self.up_to(ARRIVAL);
            self.queue.after(delay, Event::Learn(agent));
        }
        self.queue.after(WARM_UP, Event::Clients);
        let mut last = Duration::ZERO;
        for (index, (at, _)) in self.plan.faults.iter().enumerate() {
            self.queue.after(WARM_UP + *at, Event::Fault(index));
            last = last.max(*at);
        }
        // What agents learn, they learn within half a minute.
        let learns = self.plan.unlisted > 0;
        let learnt = if learns {
            super::agent::LEARNS
        } else {
            Duration::ZERO
        };
        self.queue
            .after(WARM_UP + last + learnt + CONVERGES, Event::Converged);
    }

    /// Runs to its end.
    pub(super) fn run(&mut self) {
        let end = WARM_UP + self.plan.length;
        let mut warm = false;
        while let Some(event) = self.queue.next(end) {
            if !warm && self.now() >= WARM_UP {
                warm = true;
                self.warm();
            }
            self.tally.events += 1;
            self.on(event);
        }
        self.check_end();
    }

    /// Begins to count.
    fn warm(&mut self) {
        let missing = self.tally.missing;
        self.tally = Tally::new();
        self.tally.missing = missing;
        for gateway in &mut self.gateways {
            gateway.tally.restart(gateway.parked);
        }
        let now = self.now();
        let what = format!("{missing} controls");
        self.checks.holds(
            missing == 0,
            "the herd did not come within the warm-up",
            now,
            what,
        );
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Learn(agent) => self.learn(agent),
            Event::Hold(agent, gateway) => self.dial_control(agent, gateway),
            Event::Slot(agent, gateway, slot) => self.fill(agent, gateway, slot),
            Event::Retire(agent) => self.retire(agent),
            Event::LetGo(agent, gateway) => self.let_go(agent, gateway),
            Event::DialFailed(key) => self.dial_failed(key),
            Event::Syn(key, tries) => self.syn(key, tries),
            Event::Hello(key, waited) => self.hello(key, waited),
            Event::Ready(key) => self.ready(key),
            Event::Measured(key) => self.measured(key),
            Event::Look(key) => self.look(key),
            Event::Silent(key, end) => self.silent(key, end),
            Event::Deliver(key, End::Agent, message) => self.at_agent(key, message),
            Event::Deliver(key, End::Gateway, message) => self.at_gateway(key, message),
            Event::Clients => self.clients(),
            Event::Client(agent) => self.client(agent),
            Event::Due(open, time) => self.due(open, time),
            Event::Deadline(open) => self.deadline(open),
            Event::Read(key, open, id) => self.read_open(key, open, id),
            Event::Target(key, open) => self.target(key, open),
            Event::StreamEnds(open) => self.stream_ends(open),
            Event::CarrierCuts(key) => self.carrier_cuts(key),
            Event::NatForgets(key) => self.nat_forgets(key),
            Event::Unanswered(key) => self.unanswered(key),
            Event::Fault(index) => self.fault(index),
            Event::Leave(gateway) => self.down(gateway),
            Event::Converged => self.check_converged(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.queue.now()
    }

    /// Gives the time as the state machines count it.
    pub(super) fn instant(&self) -> Instant {
        self.start + self.queue.now()
    }

    /// Gives a random time below `most`.
    pub(super) fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }

    /// Gives a random time with this mean, distributed exponentially.
    pub(super) fn about(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.random.f64()).ln())
    }

    /// Gives the round trip between two.
    pub(super) fn round_trip(&self, agent: usize, gateway: usize) -> Duration {
        // Gateways are up to 2 ms apart.
        let apart = (agent * 7 + gateway * 13) % 2000;
        self.agents[agent].round_trip + Duration::from_micros(apart as u64)
    }

    /// Gives the address from which an agent comes, as a number.
    pub(super) fn site(&self, agent: usize) -> usize {
        self.plan.nat.map_or(agent, |nat| agent / nat.agents)
    }

    pub(super) fn source(&self, agent: usize) -> Source {
        let site = u32::try_from(self.site(agent)).unwrap_or(u32::MAX);
        Source::V4(Ipv4Addr::from_bits(site))
    }

    /// Computes who should hold whom, from the list in force.
    pub(super) fn list(&mut self) {
        let listed = self
            .gateways
            .iter()
            .enumerate()
            .filter(|(_, gateway)| gateway.listed);
        let (indices, names): (Vec<_>, Vec<_>) = listed
            .map(|(index, gateway)| (index, gateway.name.as_str()))
            .unzip();
        let most = hold(None, names.len());
        for (index, agent) in self.agents.iter_mut().enumerate() {
            let order = rank(format!("worker-{index}").as_bytes(), &names);
            agent.ranked = order.into_iter().take(most).map(|at| indices[at]).collect();
        }
    }

    fn check_converged(&mut self) {
        let now = self.now();
        let rule = "not converged 60 s after the last fault";
        for (index, agent) in self.agents.iter().enumerate() {
            let mut held: Vec<_> = agent
                .holds
                .iter()
                .filter(|hold| hold.registered.is_some() && hold.retired.is_none())
                .map(|hold| hold.gateway)
                .collect();
            held.sort_unstable();
            let mut wanted = agent.ranked.clone();
            wanted.sort_unstable();
            let known = wanted
                .iter()
                .all(|gateway| self.gateways[*gateway].members.contains_key(&index));
            let what = || format!("agent {index} holds {held:?} of {wanted:?}");
            if held != wanted || !known {
                self.checks.broken(rule, now, what());
            }
        }
    }

    fn check_end(&mut self) {
        let now = self.now();
        for (_, connection) in self.connections.iter() {
            let since = connection.half_closed;
            if since.is_some_and(|since| now.saturating_sub(since) > 2 * CONVERGES) {
                let what = format!("{:?} of agent {}", connection.purpose, connection.agent);
                let rule = "a connection is open at one end only";
                self.checks.broken(rule, now, what);
            }
        }
        for (_, open) in self.opens.iter() {
            if !open.connected && open.until < now {
                let what = open.id.to_string();
                self.checks
                    .broken("an open is older than its deadline", now, what);
            }
        }
        for gateway in &self.gateways {
            let counted: usize = gateway.members.values().map(|each| each.parked.len()).sum();
            let what = format!("{} of {counted} at {}", gateway.parked, gateway.name);
            let equal = counted == gateway.parked;
            self.checks
                .holds(equal, "parked connections are miscounted", now, what);
        }
    }

    /// Forgets a connection that is closed at both ends.
    pub(super) fn sweep(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else {
            return;
        };
        let (near, far, agent, port) = (
            connection.near,
            connection.far,
            connection.agent,
            connection.port,
        );
        if !near && port {
            let site = self.site(agent);
            self.ports[site] -= 1;
            if let Some(connection) = self.connections.get_mut(key) {
                connection.port = false;
            }
        }
        if !near && !far {
            self.connections.remove(key);
        }
    }

    fn fault(&mut self, index: usize) {
        self.calm = self.now();
        match self.plan.faults[index].1 {
            Fault::Down(gateway) => self.down(gateway),
            Fault::Up(gateway) => self.up(gateway),
            Fault::Cut => self.cut(),
            Fault::Heal => self.heal(),
            Fault::Listed(gateway) => self.relist(gateway, true),
            Fault::Unlisted(gateway) => self.relist(gateway, false),
        }
    }
}

/// Six in ten agents are 1 to 10 ms away, three 10 to 60 ms, and one 60 to 250 ms.
fn round_trip(random: &mut fastrand::Rng) -> Duration {
    let (least, most) = match random.u32(0..10) {
        0..=5 => (1.0, 10.0),
        6..=8 => (10.0, 60.0),
        _ => (60.0, 250.0),
    };
    Duration::from_secs_f64((least + (most - least) * random.f64()) / 1000.0)
}
