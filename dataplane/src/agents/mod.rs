//! Knows the other ends of tunnels: at a gateway the agents that are connected, at an agent the
//! gateways that it holds.
//!
//! Shared by all workers, each half behind one lock that is held for look-ups only. What runs on
//! the connections themselves is in `tunnel` and `accept`.

mod carried;
mod holding;
mod random;
mod registry;

pub(crate) use carried::{Carried, Tally};
pub(crate) use holding::{Hold, Holding};
pub(crate) use random::{NoRandomness, random};
pub(crate) use registry::{
    AgentKey, Candidate, Chain, Claim, Connection, DialBack, Newcomer, Order, Registration,
    Registry, Unregistered,
};

use crate::seam::{Control, Route};
use eyesplice_proto::tls::provider;
use std::sync::Arc;

/// What the workers of a process share of its tunnels.
pub(crate) struct Agents {
    pub(crate) registry: Arc<Registry>,
    pub(crate) holding: Arc<Holding>,
}

/// The door at which agents shake hands.
pub(crate) trait Door: Send + Sync {
    /// Whether handshakes wait for each other there, so that those for pools should not be asked
    /// for.
    fn is_crowded(&self) -> bool;
}

impl Agents {
    /// Nobody yet, behind this door.
    pub(crate) fn new(door: Arc<dyn Door>) -> Result<Self, NoRandomness> {
        let source = provider::shared().secure_random;
        Ok(Self {
            registry: Arc::new(Registry::new(door, source)?),
            holding: Arc::default(),
        })
    }
}

/// Through which agent a stream runs, and by what right.
pub(crate) struct Via {
    pub(crate) chain: Chain,
    pub(crate) name: Arc<str>,
    pub(crate) route: Route,
    /// Counts the stream, once it is open.
    pub(crate) carried: Option<Carried>,
}

impl Via {
    /// Whether the agent may still carry the stream.
    pub(crate) fn is_granted(&self, control: &dyn Control) -> bool {
        control
            .agent(&self.chain)
            .is_ok_and(|grant| grant.name == self.name && grant.covers(&self.route))
    }
}
