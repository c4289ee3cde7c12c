//! A worker, as its connections know it: its books, and its share of the limits.

use crate::accept::agent::held::Held;
use crate::accept::departure::Stage;
use crate::accept::gate::Gate;
use crate::accept::links::Links;
use crate::accept::lobby::Lobby;
use crate::accept::placement::{Arrival, Connection, Placement};
use crate::context::StreamContext;
use crate::descriptors::Room;
use crate::desk::Desk;
use crate::seam::StreamId;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Whose streams are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PeerKey {
    Uid(u32),
    Ip(IpAddr),
}

/// A running worker; never leaves its thread.
pub(crate) struct Worker {
    pub(crate) index: u16,
    pub(super) placement: Arc<Placement>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) room: Room,
    /// What its streams share.
    pub(crate) desk: Rc<Desk>,
    pub(super) sequence: Cell<u64>,
    /// Streams, and connections that are being refused.
    pub(crate) live: RefCell<HashMap<StreamId, Rc<StreamContext>>>,
    /// Streams of this worker.
    pub(crate) streams: Cell<usize>,
    /// Connections that are being refused.
    pub(crate) refusing: Cell<usize>,
    pub(crate) per_peer: RefCell<HashMap<PeerKey, usize>>,
    pub(crate) lobby: Lobby,
    /// Connections of tunnels that are no streams.
    pub(crate) links: Links,
    /// The gateways that it holds, as a part of an agent.
    pub(crate) held: Held,
}

impl Worker {
    /// The context of a connection that began then, under a number of its own.
    pub(crate) fn context(&self, started: Instant) -> Rc<StreamContext> {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        let [a, b, c, d, ..] = self.desk.agents.registry.instance.0;
        let id = StreamId::new(u32::from_be_bytes([a, b, c, d]), self.index, sequence);
        StreamContext::new(id, started, Rc::clone(&self.desk))
    }

    /// Gives a connection to the worker with the fewest streams; returns it if that is this one.
    pub(crate) fn place(&self, connection: Connection) -> Option<Arrival> {
        self.placement.place(usize::from(self.index), connection)
    }

    /// A stream, a refusal, a guest of the lobby or a connection of a tunnel is over.
    pub(crate) fn ended(&self) {
        if self.is_empty() {
            self.desk.emptied.notify_one();
        }
    }

    /// Whether it carries nothing, save for what is there for its streams.
    pub(super) fn is_empty(&self) -> bool {
        self.live.borrow().is_empty() && self.lobby.has_no_clients()
    }

    /// How far it is when the process stops.
    pub(super) fn stage(&self) -> Stage {
        if self.desk.pending.get() > 0 {
            Stage::Opens
        } else if self.is_empty() && self.links.is_settled() {
            Stage::Done
        } else {
            Stage::Carries
        }
    }

    /// How many connections this worker may refuse at a time.
    pub(crate) fn refusals(&self) -> usize {
        self.desk.share(self.room.refusals)
    }
}
