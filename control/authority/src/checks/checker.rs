//! Keeps, per CSR, what is being found out, what was, and when it is to be tried again.
//!
//! Controllers ask it instead of waiting: a CSR whose facts are not there stays pending, and
//! [`Checker::changed`] completes when some are. Facts are used for the next decision alone.

use super::super::approve::{Decision, Evidence, Facts, Left, Questions, Unready};
use super::super::limits;
use super::super::sign::SignerCa;
use super::gather::Means;
use super::slots::Slots;
use crate::config::ApprovalSettings;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::{Lookup, Resolver};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Finds out what decisions need to know.
#[derive(derive_more::Debug)]
#[debug("Checker({} entries)", self.entries.lock().of.len())]
pub(crate) struct Checker {
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    slots: Arc<Slots>,
    entries: Arc<Mutex<Entries>>,
    changed: Arc<Notify>,
}

/// The CSR that is decided about, and what is configured for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) uid: &'a str,
    pub(crate) name: &'a str,
    pub(crate) approval: &'a ApprovalSettings,
    /// The CA of its signer; without one every certificate is a stranger's.
    pub(crate) ca: Option<&'a SignerCa>,
}

#[derive(Debug, Default)]
struct Entries {
    /// By UID.
    of: HashMap<String, Entry>,
    /// Tells a check from an earlier one of the same CSR.
    runs: u64,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    /// Why the CSR waits meanwhile.
    left: Left,
    /// The last pause; it doubles.
    pause: Duration,
    /// What was logged last.
    told: Option<String>,
}

#[derive(Debug)]
enum Phase {
    Running { run: u64, task: AbortHandle },
    Known(Facts),
    Resting { until: Instant },
}

impl Checker {
    pub(crate) fn new(lookup: Arc<dyn Lookup>, metrics: Arc<Metrics>) -> Self {
        Self {
            resolver: Arc::new(Resolver::new(lookup)),
            metrics,
            slots: Arc::default(),
            entries: Arc::default(),
            changed: Arc::default(),
        }
    }

    /// Says why a CSR waits for a check, as long as it does.
    pub(crate) fn waits(&self, uid: &str) -> Option<Left> {
        let entries = self.entries.lock();
        let entry = entries.of.get(uid)?;
        (!entry.is_due(Instant::now())).then_some(entry.left)
    }

    /// Decides by what was found out, or has it found out. Must be called within a runtime.
    pub(crate) fn judge(
        &self,
        subject: Subject<'_>,
        decide: impl FnOnce(Evidence<'_>) -> Result<Decision, Unready>,
    ) -> Decision {
        if let Some(left) = self.waits(subject.uid) {
            return Decision::Leave(left);
        }
        let facts = self.entries.lock().take(subject.uid);
        let evidence = Evidence {
            dns: subject.approval.dns,
            port: subject.approval.probe.map(|probe| probe.port),
            facts: &facts,
        };
        match decide(evidence) {
            Ok(decision) => {
                self.forget(subject.uid);
                decision
            }
            Err(Unready::Ask(questions)) => Decision::Leave(self.ask(subject, questions, facts)),
            Err(Unready::Wait { left, message }) => {
                self.rest(subject, left, message);
                Decision::Leave(left)
            }
        }
    }

    /// Completes when a CSR is to be decided about again; each completion takes what was noted so far.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// When something is to be asked again; what was due before and not asked, a moment from now.
    pub(crate) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        let entries = self.entries.lock();
        let untils = entries.of.values().filter_map(|entry| match entry.phase {
            Phase::Resting { until } => Some(until),
            Phase::Running { .. } | Phase::Known(_) => None,
        });
        let first = untils.min()?;
        Some(if first <= now {
            now + limits::CHECK_INTERVAL
        } else {
            first
        })
    }

    /// Forgets a CSR.
    pub(crate) fn forget(&self, uid: &str) {
        if let Some(entry) = self.entries.lock().of.remove(uid) {
            entry.stop();
        }
    }

    /// Forgets all but these CSRs.
    pub(crate) fn retain(&self, alive: &HashSet<&str>) {
        self.entries.lock().of.retain(|uid, entry| {
            let stays = alive.contains(&**uid);
            if !stays {
                entry.stop();
            }
            stays
        });
    }

    /// Forgets everything: what it was asked under is in force no more.
    pub(crate) fn clear(&self) {
        self.retain(&HashSet::new());
    }

    fn ask(&self, subject: Subject<'_>, questions: Questions, mut facts: Facts) -> Left {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.runs += 1;
        let run = entries.runs;
        let entry = entries.entry(subject.uid);
        let Some(slot) = self.slots.enter(&questions.node, now) else {
            let until = now + limits::CHECK_INTERVAL;
            entry.phase = Phase::Resting { until };
            return entry.left;
        };
        let (resolver, metrics) = (Arc::clone(&self.resolver), Arc::clone(&self.metrics));
        let (known, changed) = (Arc::clone(&self.entries), Arc::clone(&self.changed));
        let uid = subject.uid.to_owned();
        let probe = subject.approval.probe.unwrap_or_default();
        let ca = subject.ca.map(|ca| ca.authority.certificate().clone());
        let task = Handle::current().spawn(async move {
            let means = Means {
                resolver: &resolver,
                metrics: &metrics,
                timeout: probe.timeout,
                ca: ca.as_ref(),
            };
            means.ask(&questions, &mut facts).await;
            drop(slot);
            let mut known = known.lock();
            if let Some(entry) = known.of.get_mut(&uid)
                && matches!(entry.phase, Phase::Running { run: of, .. } if of == run)
            {
                entry.phase = Phase::Known(facts);
                changed.notify_one();
            }
        });
        let task = task.abort_handle();
        entry.phase = Phase::Running { run, task };
        entry.left
    }

    fn rest(&self, subject: Subject<'_>, left: Left, message: String) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(subject.uid);
        entry.left = left;
        let until = Instant::now() + entry.pause;
        entry.phase = Phase::Resting { until };
        entry.pause = (entry.pause * 2).min(limits::LONGEST_CHECK_PAUSE);
        let csr = subject.name;
        if entry.told.as_ref() != Some(&message) {
            tracing::warn!(csr, why = message, "CSR waits, and is checked again");
            entry.told = Some(message);
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Entries {
    /// Takes what was found out.
    fn take(&mut self, uid: &str) -> Facts {
        let Some(entry) = self.of.get_mut(uid) else {
            return Facts::default();
        };
        let until = Instant::now();
        match std::mem::replace(&mut entry.phase, Phase::Resting { until }) {
            Phase::Known(facts) => facts,
            Phase::Running { .. } | Phase::Resting { .. } => Facts::default(),
        }
    }

    fn entry(&mut self, uid: &str) -> &mut Entry {
        self.of.entry(uid.to_owned()).or_insert_with(|| Entry {
            phase: Phase::Known(Facts::default()),
            left: Left::Checking,
            pause: limits::CHECK_INTERVAL,
            told: None,
        })
    }
}

impl Entry {
    fn is_due(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Running { .. } => false,
            Phase::Known(_) => true,
            Phase::Resting { until } => *until <= now,
        }
    }

    fn stop(&self) {
        if let Phase::Running { task, .. } = &self.phase {
            task.abort();
        }
    }
}
