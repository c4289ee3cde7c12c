//! The events of one request, from its stage of being received to its end.

use super::Sinks;
use super::event::{Facts, write};
use super::policy::{Decision, Stage};
use parking_lot::Mutex;
use std::time::SystemTime;

/// The events of one request. When it is dropped the request is over.
#[derive(Debug)]
pub(crate) struct Trail {
    facts: Facts,
    decision: Decision,
    sinks: Sinks,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Of the reply.
    status: Option<u16>,
    /// An API server records the rest, under the same id.
    handed_on: bool,
}

impl Trail {
    /// Records that a request is there; `None`: that event is lost.
    pub(super) fn begin(facts: Facts, decision: Decision, sinks: Sinks) -> Option<Self> {
        let trail = Self {
            facts,
            decision,
            sinks,
            progress: Mutex::default(),
        };
        if trail.tell(Stage::RequestReceived, None) {
            return Some(trail);
        }
        trail.handed_on();
        None
    }

    /// The reply begins with this status.
    pub(crate) fn answered(&self, status: u16) {
        let mut progress = self.progress.lock();
        if progress.status.is_none() {
            progress.status = Some(status);
            self.tell(Stage::ResponseStarted, Some(status));
        }
    }

    /// The request goes through an API server after all, which records it from its first stage on.
    pub(crate) fn handed_on(&self) {
        self.progress.lock().handed_on = true;
    }

    /// Hands over the event of a stage; `false`: it is lost.
    fn tell(&self, stage: Stage, status: Option<u16>) -> bool {
        if !self.decision.has(stage) {
            return true;
        }
        let event = write(&self.facts, stage, status, SystemTime::now());
        self.sinks.push(&event, stage == Stage::RequestReceived)
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let Progress { status, handed_on } = std::mem::take(&mut *self.progress.lock());
        if handed_on {
            return;
        }
        if status.is_none() {
            self.tell(Stage::ResponseStarted, None);
        }
        self.tell(Stage::ResponseComplete, status);
    }
}
