//! Places in the registry: of a control connection, a parked connection, an open that waits for its
//! agent. Each is given up when it is dropped.

use super::{AgentKey, Arrived, Registry, Waiting};
use crate::seam::{AgentGrant, TunnelLimits};
use eyesplice_proto::tunnel::{OpenId, Words};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A control connection in the registry; taken off when dropped.
pub(crate) struct Registration {
    pub(super) registry: Arc<Registry>,
    pub(super) key: AgentKey,
    pub(super) number: u64,
}

impl Registration {
    pub(crate) fn key(&self) -> &AgentKey {
        &self.key
    }

    /// The agent takes no new streams from now on.
    pub(crate) fn drain(&self) {
        if let Some(agent) = self.registry.lock().registered(&self.key, self.number) {
            agent.draining = true;
        }
    }

    /// How long an answer of the agent took.
    pub(crate) fn answered(&self, round_trip: Duration) {
        if let Some(agent) = self.registry.lock().registered(&self.key, self.number) {
            agent.round_trip = Some(round_trip);
        }
    }

    /// How many connections the agent should park, if that has changed since it was asked last.
    pub(crate) fn park(&self, limits: &TunnelLimits) -> Option<u32> {
        let crowded = self.registry.door.is_crowded();
        let mut state = self.registry.lock();
        let agent = state.registered(&self.key, self.number)?;
        agent.pool.set_limits(limits.parked.clone());
        agent.target(crowded)
    }

    /// No connection will come for this open.
    pub(crate) fn cannot_dial(&self, id: OpenId, words: Words) {
        let mut state = self.registry.lock();
        if state
            .pending
            .get(&id)
            .is_some_and(|pending| pending.key == self.key)
            && let Some(pending) = state.pending.remove(&id)
        {
            drop(state);
            // The open may be gone.
            let _ = pending.arrived.send(Err(words));
        }
    }

    /// Replaces what the agent may carry.
    pub(crate) fn regrant(&self, grant: Arc<AgentGrant>) {
        let mut state = self.registry.lock();
        state.regrant(&self.key, self.number, grant);
    }

    /// Takes the agent off, ahead of the end of its connection.
    pub(crate) fn revoke(&self) {
        self.registry.lock().remove(&self.key, self.number);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.revoke();
    }
}

/// A parked connection in the registry; taken off when dropped.
pub(crate) struct Parked {
    pub(super) registry: Arc<Registry>,
    pub(super) key: AgentKey,
    pub(super) number: u64,
}

impl Drop for Parked {
    fn drop(&mut self) {
        let mut state = self.registry.lock();
        let Some(agent) = state.agents.get_mut(&self.key) else {
            return;
        };
        let own = |waiting: &Waiting| waiting.number == self.number;
        if let Some(at) = agent.parked.iter().position(own) {
            let waiting = agent.parked.remove(at);
            state.unparked(waiting.source);
        }
    }
}

/// An open that waits for its agent to connect back; its id is void when dropped.
pub(crate) struct DialBack {
    pub(super) registry: Arc<Registry>,
    pub(super) id: OpenId,
    pub(crate) arrived: oneshot::Receiver<Arrived>,
}

impl DialBack {
    /// Voids the id. Says whether a connection has come for it all the same, which is closed.
    pub(crate) fn void(mut self) -> bool {
        self.registry.lock().pending.remove(&self.id);
        self.arrived.close();
        matches!(self.arrived.try_recv(), Ok(Ok(_)))
    }
}

impl Drop for DialBack {
    fn drop(&mut self) {
        self.registry.lock().pending.remove(&self.id);
    }
}
