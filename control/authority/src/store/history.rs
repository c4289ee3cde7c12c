//! The last changes, for watchers.

use super::Object;
use std::collections::VecDeque;
use std::sync::Arc;

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// The revision that it made.
    pub(crate) revision: u64,
    pub(crate) kind: EventKind,
    /// The object after it; of a deleted one, the last state.
    pub(crate) object: Object,
    /// The object before it.
    pub(crate) previous: Option<Object>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// A watcher asks for changes that are not kept any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOld {
    /// The revision that was asked for.
    pub(crate) asked: u64,
    /// The first one that can be.
    pub(crate) oldest: u64,
}

impl Event {
    /// Reads the kind off what was there and what is; `None` if there is neither.
    pub(super) fn new(
        revision: u64,
        written: Option<Object>,
        previous: Option<Object>,
    ) -> Option<Self> {
        let (kind, object) = match (written, &previous) {
            (Some(object), None) => (EventKind::Added, object),
            (Some(object), Some(_)) => (EventKind::Modified, object),
            (None, Some(last)) => {
                // Watchers continue from the number in the last object that they saw.
                let mut last = (**last).clone();
                last.metadata.resource_version = revision.to_string();
                (EventKind::Deleted, Arc::new(last))
            }
            (None, None) => return None,
        };
        Some(Self {
            revision,
            kind,
            object,
            previous,
        })
    }
}

/// The last changes, in order.
#[derive(Debug)]
pub(super) struct History {
    events: VecDeque<Arc<Event>>,
    /// Changes after this revision are all there.
    floor: u64,
}

impl History {
    pub(super) fn new(revision: u64) -> Self {
        Self {
            events: VecDeque::new(),
            floor: revision,
        }
    }

    pub(super) fn push(&mut self, event: Arc<Event>, limit: usize) {
        self.events.push_back(event);
        while self.events.len() > limit {
            if let Some(dropped) = self.events.pop_front() {
                self.floor = dropped.revision;
            }
        }
    }

    pub(super) fn after(&self, revision: u64) -> Result<Vec<Arc<Event>>, TooOld> {
        if revision < self.floor {
            return Err(TooOld {
                asked: revision,
                oldest: self.floor,
            });
        }
        let first = self
            .events
            .partition_point(|event| event.revision <= revision);
        Ok(self.events.range(first..).cloned().collect())
    }
}
