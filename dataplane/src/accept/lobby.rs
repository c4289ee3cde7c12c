//! Those whose connections wait at the door, and how they are sent away.

use crate::accept::strangers::Crowd;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::sync::Notify;

/// A worker's connections on which nobody has authenticated yet.
#[derive(Default)]
pub(crate) struct Lobby {
    pub(super) crowd: RefCell<Crowd<Rc<Waiting>>>,
    /// Those that may become streams.
    pub(super) clients: Cell<usize>,
    pub(super) closing: Cell<bool>,
}

/// One that waits.
#[derive(Default)]
pub(super) struct Waiting {
    /// It comes from an agent, and will be no stream of its own.
    pub(super) of_agent: bool,
    /// Its handshake has begun.
    pub(super) begun: Cell<bool>,
    pub(super) evicted: Notify,
}

impl Lobby {
    pub(crate) fn is_empty(&self) -> bool {
        self.crowd.borrow().is_empty()
    }

    /// Whether nobody is there who may become a stream.
    pub(crate) fn has_no_clients(&self) -> bool {
        self.clients.get() == 0
    }

    /// Sends away clients that have not begun a handshake, as those in the backlog are when the
    /// listener closes.
    pub(crate) fn close(&self) {
        self.closing.set(true);
        for waiting in self.crowd.borrow().handles() {
            if !waiting.begun.get() && !waiting.of_agent {
                waiting.evicted.notify_one();
            }
        }
    }

    /// Sends everybody away.
    pub(crate) fn abort(&self) {
        for waiting in self.crowd.borrow().handles() {
            waiting.evicted.notify_one();
        }
    }
}
