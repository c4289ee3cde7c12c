//! Holds what must never happen in a simulated world, and what did.

use eyesplice_proto::tunnel::OpenId;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Most breaks that are described; the others are counted.
const DESCRIBED: usize = 20;

/// What must hold while the world runs.
#[derive(Default)]
pub(super) struct Checks {
    /// Ids of all opens.
    used: HashSet<OpenId>,
    /// Which agent dialled a target for which open.
    dialled: HashSet<(OpenId, usize)>,
    /// Breaks by kind.
    broken: BTreeMap<&'static str, u64>,
    described: Vec<String>,
}

impl Checks {
    /// An open begins.
    pub(super) fn used(&mut self, id: OpenId, now: Duration) {
        if !self.used.insert(id) {
            self.broken("an id is used twice", now, format!("{id}"));
        }
    }

    /// An agent accepts an open, and dials.
    pub(super) fn dialled(&mut self, id: OpenId, agent: usize, now: Duration) {
        if !self.dialled.insert((id, agent)) {
            let what = format!("open {id} at agent {agent}");
            self.broken("an agent serves an open twice", now, what);
        }
    }

    pub(super) fn holds(&mut self, holds: bool, rule: &'static str, now: Duration, what: String) {
        if !holds {
            self.broken(rule, now, what);
        }
    }

    pub(super) fn broken(&mut self, rule: &'static str, now: Duration, what: String) {
        *self.broken.entry(rule).or_default() += 1;
        if self.described.len() < DESCRIBED {
            let seconds = now.as_secs_f64();
            self.described
                .push(format!("{seconds:.3} s: {rule}: {what}"));
        }
    }

    /// Gives what was broken: how often by kind, and the first ones in words.
    pub(super) fn into_broken(self) -> (BTreeMap<&'static str, u64>, Vec<String>) {
        (self.broken, self.described)
    }
}
