//! The gateways that a worker holds, and how it is said that one is not wanted any more.

use crate::seam::{AgentDuties, GatewayPeer};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// The gateways that a worker holds.
#[derive(Default)]
pub(crate) struct Held(pub(super) RefCell<HashMap<Arc<str>, Holder>>);

pub(super) struct Holder {
    pub(super) peer: Arc<GatewayPeer>,
    pub(super) duties: Arc<AgentDuties>,
    pub(super) retirement: Rc<Retirement>,
}

/// Tells a task that what it holds is not wanted any more.
#[derive(Default)]
pub(super) struct Retirement {
    pub(super) due: Cell<bool>,
    news: Notify,
}

impl Retirement {
    pub(super) fn begin(&self) {
        self.due.set(true);
        self.news.notify_one();
    }

    pub(super) async fn begun(&self) {
        while !self.due.get() {
            self.news.notified().await;
        }
    }
}
