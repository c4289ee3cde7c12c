//! One connection of a tunnel that is no stream: it ends with its worker, and with the grant of its
//! agent.

use crate::accept::links::{Agent, Linked};
use crate::accept::worker::Worker;
use crate::agents::{Chain, Registration};
use crate::context::StreamContext;
use crate::seam::{AgentVerdict, Control, Reason};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// A connection in its worker's books; taken off when dropped.
pub(crate) struct Link {
    worker: Rc<Worker>,
    linked: Rc<Linked>,
}

impl Link {
    pub(crate) fn new(worker: &Rc<Worker>, cx: Rc<StreamContext>) -> Self {
        let linked = Rc::new(Linked {
            cx,
            agent: OnceCell::new(),
        });
        let id = linked.cx.id();
        let mut links = worker.links.of.borrow_mut();
        links.insert(id, Rc::clone(&linked));
        Self {
            worker: Rc::clone(worker),
            linked,
        }
    }

    pub(crate) fn cx(&self) -> &Rc<StreamContext> {
        &self.linked.cx
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }

    /// From now on it ends when its agent may not be one any more.
    pub(crate) fn is_of(
        &self,
        chain: &Chain,
        name: &Arc<str>,
        registration: Option<&Rc<Registration>>,
    ) {
        // A connection has one agent.
        let _ = self.linked.agent.set(Agent {
            chain: Arc::clone(chain),
            name: Arc::clone(name),
            registration: registration.cloned(),
        });
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.worker
            .links
            .of
            .borrow_mut()
            .remove(&self.linked.cx.id());
        self.worker.ended();
    }
}

/// One whose other end has to hear of a drain before it may be cut; settled when dropped.
pub(crate) struct Unsettled(Rc<Worker>);

impl Unsettled {
    pub(crate) fn new(worker: &Rc<Worker>) -> Self {
        let unsettled = &worker.links.unsettled;
        unsettled.set(unsettled.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        let unsettled = &self.0.links.unsettled;
        unsettled.set(unsettled.get() - 1);
        self.0.ended();
    }
}

/// Judges all agents again, by the configuration that is in force now: ends what may not be any
/// more, be it a connection of an agent, or a stream through one.
pub(crate) fn judge(worker: &Worker) {
    let mut judge = Judge {
        control: &*worker.desk.control,
        verdicts: HashMap::new(),
    };
    for linked in worker.links.all() {
        let Some(agent) = linked.agent.get() else {
            continue;
        };
        match judge.verdict(&agent.chain) {
            Ok(grant) if grant.name == agent.name => {
                if let Some(registration) = &agent.registration {
                    registration.regrant(grant);
                }
            }
            verdict => {
                if let Some(registration) = &agent.registration {
                    registration.revoke();
                    let why = verdict.err().map(|refusal| refusal.words);
                    tracing::warn!(
                        agent = %agent.name,
                        "revoked: {}", why.as_deref().unwrap_or("it has another name now")
                    );
                }
                // Its own task counts it: it may know by the end of the registration already.
                linked.cx.abort(Reason::Revoked);
            }
        }
    }
    for stream in worker.live.borrow().values() {
        let granted = stream.with_via(|via| match judge.verdict(&via.chain) {
            Ok(grant) => grant.name == via.name && grant.covers(&via.route),
            Err(_) => false,
        });
        if granted == Some(false) && stream.abort(Reason::Revoked) {
            worker.desk.counters.tunnel_revoked.inc();
        }
    }
}

/// Asks about each certificate once.
struct Judge<'a> {
    control: &'a dyn Control,
    verdicts: HashMap<Vec<u8>, AgentVerdict>,
}

impl Judge<'_> {
    fn verdict(&mut self, chain: &Chain) -> AgentVerdict {
        let leaf = chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default();
        let control = self.control;
        self.verdicts
            .entry(leaf)
            .or_insert_with(|| control.agent(chain))
            .clone()
    }
}
