//! The agents that are connected to this gateway, their parked connections, and the opens that wait
//! for a connection.

mod seats;

pub(crate) use seats::{DialBack, Parked, Registration};

use super::{Door, NoRandomness, Tally, random};
use crate::leg::Parts;
use crate::routes::RouteIndex;
use crate::seam::{AgentGrant, AgentStatus, Route, Through, TunnelLimits};
use crate::source::Source;
use eyesplice_proto::tunnel::{Instance, OpenId, PoolPolicy, Register, Words};
use rustls::crypto::SecureRandom;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, oneshot};

/// A validated certificate chain.
pub(crate) type Chain = Arc<[CertificateDer<'static>]>;

/// One process of one identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AgentKey {
    pub(crate) name: Arc<str>,
    pub(crate) instance: Instance,
}

/// What a control connection is asked to say to its agent.
#[derive(Debug)]
pub(crate) enum Order {
    /// Connect back for this open.
    Dial { id: OpenId, within: Duration },
    /// Keep so many connections parked.
    Park(u32),
}

/// An authenticated data connection that is on no worker.
pub(crate) struct Connection {
    pub(crate) leg: Parts,
    pub(crate) chain: Chain,
}

/// Asks the worker of a parked connection to give it away.
pub(crate) type Claim = oneshot::Sender<Connection>;

/// What came of an open that waits for its agent to connect back.
pub(crate) type Arrived = Result<Connection, Words>;

/// Why an agent or a connection of it is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unregistered {
    #[error("gateway is at its limit of {0} agents; see tunnel.maxAgents")]
    Agents(usize),
    #[error("agent {0} has no control connection of this instance")]
    NoControl(Arc<str>),
    #[error("agent {0} has parked {1} connections, as many as it may; see tunnel.pool.max")]
    Parked(Arc<str>, usize),
    #[error("gateway is at its limit of {0} parked connections; see tunnel.maxParked")]
    AllParked(usize),
    #[error(
        "{0} has parked {1} connections, as many as one address may; see tunnel.maxParkedPerAddress"
    )]
    AllParkedFrom(Source, usize),
    #[error("no open of agent {0} waits for this id: it is unknown, over, or of another agent")]
    NoOpen(Arc<str>),
}

/// An agent that registers.
pub(crate) struct Newcomer {
    pub(crate) register: Register,
    pub(crate) grant: Arc<AgentGrant>,
    pub(crate) address: SocketAddr,
}

/// The agents of a gateway.
pub(crate) struct Registry {
    /// Tells this process from others.
    pub(crate) instance: Instance,
    door: Arc<dyn Door>,
    /// Of the ids of opens.
    source: &'static dyn SecureRandom,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agents: HashMap<AgentKey, Agent>,
    /// The same by what they may carry.
    index: RouteIndex<AgentKey>,
    pending: HashMap<OpenId, Pending>,
    /// Parked connections of all agents, and how many of them come from where.
    parked: usize,
    parked_from: HashMap<Source, usize>,
    /// Numbers registrations and parked connections.
    number: u64,
}

struct Agent {
    /// Of its registration: another one takes the place of one that may not know yet that it is
    /// dead.
    number: u64,
    grant: Arc<AgentGrant>,
    version: Arc<str>,
    address: SocketAddr,
    since: SystemTime,
    draining: bool,
    round_trip: Option<Duration>,
    orders: mpsc::Sender<Order>,
    /// The last one parked is the last of them.
    parked: Vec<Waiting>,
    pool: PoolPolicy,
    tally: Arc<Tally>,
    last_error: Option<Arc<str>>,
}

struct Waiting {
    number: u64,
    source: Source,
    since: Instant,
    claims: oneshot::Sender<Claim>,
}

struct Pending {
    key: AgentKey,
    arrived: oneshot::Sender<Arrived>,
}

/// An agent that may carry a stream.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) key: AgentKey,
    /// By which it was found.
    pub(crate) route: Route,
    pub(crate) round_trip: Option<Duration>,
    /// How many of its connections are parked; it may change at any time.
    pub(crate) parked: usize,
    pub(crate) tally: Arc<Tally>,
}

impl Registry {
    pub(super) fn new(
        door: Arc<dyn Door>,
        source: &'static dyn SecureRandom,
    ) -> Result<Self, NoRandomness> {
        Ok(Self {
            instance: Instance(random(source)?),
            door,
            source,
            state: Mutex::default(),
        })
    }

    /// Draws the id of an open.
    pub(crate) fn open_id(&self) -> Result<OpenId, NoRandomness> {
        random(self.source).map(OpenId)
    }

    /// Registers an agent whose certificate was judged. One with the same key is replaced: its
    /// control connection ends, and its parked connections stay.
    pub(crate) fn register(
        self: &Arc<Self>,
        newcomer: Newcomer,
        orders: mpsc::Sender<Order>,
        limits: &TunnelLimits,
    ) -> Result<Registration, Unregistered> {
        let Newcomer {
            register,
            grant,
            address,
        } = newcomer;
        let key = AgentKey {
            name: Arc::clone(&grant.name),
            instance: register.instance,
        };
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.agents.remove(&key);
        if before.is_none() && state.agents.len() >= limits.max_agents {
            return Err(Unregistered::Agents(limits.max_agents));
        }
        if let Some(before) = &before {
            state.index.remove(&key, &before.grant);
        }
        state.index.insert(&key, &grant);
        let number = state.next_number();
        let (parked, mut pool, tally, last_error) = match before {
            Some(before) => (before.parked, before.pool, before.tally, before.last_error),
            None => {
                let pool = PoolPolicy::new(limits.parked.clone(), now);
                (Vec::new(), pool, Arc::default(), None)
            }
        };
        pool.registered();
        let agent = Agent {
            number,
            grant,
            version: register.version.as_str().into(),
            address,
            since: SystemTime::now(),
            draining: register.draining,
            round_trip: None,
            orders,
            parked,
            pool,
            tally,
            last_error,
        };
        state.agents.insert(key.clone(), agent);
        drop(state);
        Ok(Registration {
            registry: Arc::clone(self),
            key,
            number,
        })
    }

    /// Puts a connection among those that wait for an open.
    pub(crate) fn park(
        self: &Arc<Self>,
        key: &AgentKey,
        source: Source,
        claims: oneshot::Sender<Claim>,
        limits: &TunnelLimits,
    ) -> Result<Parked, Unregistered> {
        let mut state = self.lock();
        let number = state.next_number();
        let all = state.parked;
        let from_there = state.parked_from.get(&source).copied().unwrap_or(0);
        let Some(agent) = state.agents.get_mut(key) else {
            return Err(Unregistered::NoControl(Arc::clone(&key.name)));
        };
        let most = *limits.parked.end();
        if agent.parked.len() >= most {
            return Err(Unregistered::Parked(Arc::clone(&key.name), most));
        }
        if all >= limits.max_parked {
            return Err(Unregistered::AllParked(limits.max_parked));
        }
        let most = limits.max_parked_per_address;
        if from_there >= most {
            return Err(Unregistered::AllParkedFrom(source, most));
        }
        agent.parked.push(Waiting {
            number,
            source,
            since: Instant::now(),
            claims,
        });
        state.parked += 1;
        state.parked_from.insert(source, from_there + 1);
        drop(state);
        Ok(Parked {
            registry: Arc::clone(self),
            key: key.clone(),
            number,
        })
    }

    /// Who may carry a stream, the best first: by the first route that anybody has.
    pub(crate) fn candidates(&self, through: &Through) -> Vec<Candidate> {
        let state = self.lock();
        let mut found: Vec<Candidate> = Vec::new();
        for route in &through.routes {
            let listed = state.index.find(route).into_iter();
            let mut of_route: Vec<_> = listed
                .filter(|key| !found.iter().any(|found| found.key == **key))
                .filter_map(|key| Some((key, state.agents.get(key)?)))
                .filter(|(_, agent)| !agent.draining)
                .map(|(key, agent)| Candidate {
                    key: key.clone(),
                    route: route.clone(),
                    round_trip: agent.round_trip,
                    parked: agent.parked.len(),
                    tally: Arc::clone(&agent.tally),
                })
                .collect();
            of_route.sort_by_key(|each| (each.tally.streams(), each.key.instance.0));
            found.append(&mut of_route);
        }
        found
    }

    /// Takes the youngest parked connection of an agent: the one that a NAT forgets last. Its
    /// worker gives it to the open that a [`Claim`] names. Since when it
    /// was parked comes with it.
    pub(crate) fn take_parked(&self, key: &AgentKey) -> Option<(oneshot::Sender<Claim>, Instant)> {
        let mut state = self.lock();
        let waiting = state.agents.get_mut(key)?.parked.pop()?;
        state.unparked(waiting.source);
        Some((waiting.claims, waiting.since))
    }

    /// Notes that a connection which had been parked for so long was alive.
    pub(crate) fn survived(&self, key: &AgentKey, age: Duration) {
        if let Some(agent) = self.lock().agents.get_mut(key) {
            agent.pool.survived(age);
        }
    }

    /// Notes that one was dead.
    pub(crate) fn died(&self, key: &AgentKey, age: Duration) {
        let crowded = self.door.is_crowded();
        if let Some(agent) = self.lock().agents.get_mut(key) {
            let left = agent.parked.len();
            agent.pool.died(age, left, Instant::now());
            agent.repark(crowded);
        }
    }

    /// Asks an agent to connect back for an open.
    pub(crate) fn dial_back(
        self: &Arc<Self>,
        key: &AgentKey,
        id: OpenId,
        within: Duration,
    ) -> Option<DialBack> {
        let (sender, arrived) = oneshot::channel();
        let mut state = self.lock();
        let agent = state.agents.get(key)?;
        agent.orders.try_send(Order::Dial { id, within }).ok()?;
        let pending = Pending {
            key: key.clone(),
            arrived: sender,
        };
        state.pending.insert(id, pending);
        drop(state);
        Some(DialBack {
            registry: Arc::clone(self),
            id,
            arrived,
        })
    }

    /// Whether an open of this agent waits for a connection with this id.
    pub(crate) fn awaits(&self, key: &AgentKey, id: OpenId) -> Result<(), Unregistered> {
        match self.lock().pending.get(&id) {
            Some(pending) if pending.key == *key => Ok(()),
            _ => Err(Unregistered::NoOpen(Arc::clone(&key.name))),
        }
    }

    /// Gives a connection to the open that waits for it. The id is used up.
    pub(crate) fn deliver(
        &self,
        key: &AgentKey,
        id: OpenId,
        connection: Connection,
    ) -> Result<(), Unregistered> {
        self.awaits(key, id)?;
        let pending = self.lock().pending.remove(&id);
        let gone = || Unregistered::NoOpen(Arc::clone(&key.name));
        let pending = pending.ok_or_else(gone)?;
        pending.arrived.send(Ok(connection)).map_err(|_| gone())
    }

    /// Notes what came of an open.
    pub(crate) fn note(&self, key: &AgentKey, outcome: Result<bool, &str>) {
        let crowded = self.door.is_crowded();
        let mut state = self.lock();
        let Some(agent) = state.agents.get_mut(key) else {
            return;
        };
        if outcome.is_ok() {
            agent.pool.opened(Instant::now());
            agent.repark(crowded);
        }
        match outcome {
            Ok(true) => agent.tally.warm.fetch_add(1, Relaxed),
            Ok(false) => agent.tally.cold.fetch_add(1, Relaxed),
            Err(words) => {
                agent.last_error = Some(words.into());
                agent.tally.failed.fetch_add(1, Relaxed)
            }
        };
    }

    /// How all agents are, by name.
    pub(crate) fn status(&self) -> Vec<AgentStatus> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .agents
            .iter()
            .map(|(key, agent)| AgentStatus {
                grant: Arc::clone(&agent.grant),
                instance: key.instance.0,
                version: Arc::clone(&agent.version),
                address: agent.address,
                since: agent.since,
                draining: agent.draining,
                parked: agent.parked.len(),
                streams: agent.tally.streams(),
                round_trip: agent.round_trip,
                opened_warm: agent.tally.warm.load(Relaxed),
                opened_cold: agent.tally.cold.load(Relaxed),
                failed: agent.tally.failed.load(Relaxed),
                last_error: agent.last_error.clone(),
            })
            .collect();
        drop(state);
        all.sort_by(|a, b| (&a.grant.name, a.instance).cmp(&(&b.grant.name, b.instance)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Agent {
    /// How many connections it should park, if that has changed since it was asked last.
    fn target(&mut self, crowded: bool) -> Option<u32> {
        let target = self.pool.ask(Instant::now(), crowded)?;
        Some(u32::try_from(target).unwrap_or(u32::MAX))
    }

    /// Asks it for another number of parked connections, if that has changed.
    fn repark(&mut self, crowded: bool) {
        if let Some(target) = self.target(crowded) {
            // Its control connection looks by itself now and then.
            let _ = self.orders.try_send(Order::Park(target));
        }
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// One that was parked is not any more.
    fn unparked(&mut self, source: Source) {
        self.parked -= 1;
        if let Some(count) = self.parked_from.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.parked_from.remove(&source);
            }
        }
    }

    /// The agent, if this registration is the one in force.
    fn registered(&mut self, key: &AgentKey, number: u64) -> Option<&mut Agent> {
        let agent = self.agents.get_mut(key)?;
        (agent.number == number).then_some(agent)
    }

    /// Replaces what an agent may carry, if this registration is the one in force.
    fn regrant(&mut self, key: &AgentKey, number: u64, grant: Arc<AgentGrant>) {
        let Some(agent) = self.registered(key, number) else {
            return;
        };
        let before = std::mem::replace(&mut agent.grant, Arc::clone(&grant));
        if before != grant {
            self.index.remove(key, &before);
            self.index.insert(key, &grant);
        }
    }

    /// Forgets an agent: what it has parked is closed, and what waits for it goes on without it.
    fn remove(&mut self, key: &AgentKey, number: u64) {
        if self.registered(key, number).is_some()
            && let Some(agent) = self.agents.remove(key)
        {
            self.index.remove(key, &agent.grant);
            for waiting in agent.parked {
                self.unparked(waiting.source);
            }
            self.pending.retain(|_, pending| pending.key != *key);
        }
    }
}

#[cfg(test)]
mod tests;
