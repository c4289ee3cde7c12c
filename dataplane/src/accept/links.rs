//! A worker's connections of tunnels that are no streams: at a gateway those of agents, at an agent
//! those to gateways.

use crate::agents::{Chain, Registration};
use crate::context::StreamContext;
use crate::seam::{Reason, StreamId};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// All of a worker.
#[derive(Default)]
pub(crate) struct Links {
    pub(super) of: RefCell<HashMap<StreamId, Rc<Linked>>>,
    /// Those whose other end may not know yet that the process stops.
    pub(super) unsettled: Cell<usize>,
}

/// One of them.
pub(super) struct Linked {
    pub(super) cx: Rc<StreamContext>,
    pub(super) agent: OnceCell<Agent>,
}

pub(super) struct Agent {
    pub(super) chain: Chain,
    pub(super) name: Arc<str>,
    /// Of a control connection.
    pub(super) registration: Option<Rc<Registration>>,
}

impl Links {
    pub(crate) fn is_empty(&self) -> bool {
        self.of.borrow().is_empty()
    }

    /// Whether all other ends have had time to hear that the process stops.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.get() == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.of.borrow().len()
    }

    /// Tells all of them that the process stops.
    pub(crate) fn drain(&self) {
        for linked in self.all() {
            linked.cx.drain();
        }
    }

    /// Ends all of them.
    pub(crate) fn abort(&self) {
        for linked in self.all() {
            linked.cx.abort(Reason::Drained);
        }
    }

    pub(super) fn all(&self) -> Vec<Rc<Linked>> {
        self.of.borrow().values().cloned().collect()
    }
}
