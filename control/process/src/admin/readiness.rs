//! What must hold for the process to take new streams.

use crate::log;
use crate::output::limits::STALLED;
use arc_swap::ArcSwapOption;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

/// An audit log, as health endpoints see it.
pub trait Audited: fmt::Debug + Send + Sync + 'static {
    /// How it does.
    fn condition(&self) -> Condition;
}

/// How the audit log does, for health endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It takes lines.
    Good,
    /// It takes none; streams begin all the same.
    Noted(String),
    /// It takes none, and neither does the gateway take streams.
    Failed(String),
}

/// What must hold for the process to take new streams; every part is set by whoever knows it.
#[derive(Debug, Default)]
pub struct Readiness {
    material: AtomicBool,
    listeners: AtomicBool,
    draining: AtomicBool,
    /// Certificates that must come from an authority before anything is accepted.
    awaited: ArcSwapOption<String>,
    /// Limits that are lower than configured, in words.
    lowered: ArcSwapOption<String>,
    audit: OnceLock<Box<dyn Audited>>,
    cluster: OnceLock<Cluster>,
}

/// What must hold in place of listeners where the process works on the objects of a cluster.
#[derive(Debug, Default)]
struct Cluster {
    watches: AtomicBool,
    leads: AtomicBool,
}

impl Readiness {
    /// The process works on the objects of a cluster: it is ready when it has seen them. A replica that
    /// does not lead is as ready as the one that does.
    pub fn watches(&self, seen: bool) {
        let cluster = self.cluster.get_or_init(Cluster::default);
        cluster.watches.store(seen, Relaxed);
    }

    /// This replica leads, or stands by.
    pub fn leads(&self, leads: bool) {
        let cluster = self.cluster.get_or_init(Cluster::default);
        cluster.leads.store(leads, Relaxed);
    }

    /// Configuration and certificates are loaded.
    pub fn material_loaded(&self) {
        self.material.store(true, Relaxed);
    }

    /// What of the certificates from an authority is not there, in words; nothing: all are.
    pub fn await_certificates(&self, missing: Option<String>) {
        self.awaited.store(missing.map(Arc::new));
    }

    /// Limits are lower than configured, in words: the process is as ready, and says so.
    pub fn lowered(&self, what: Option<String>) {
        self.lowered.store(what.map(Arc::new));
    }

    /// Streams are audited, as this gate lets them.
    pub fn audits(&self, gate: impl Audited) {
        self.audit.get_or_init(|| Box::new(gate));
    }

    /// Every worker accepts on every listener.
    pub fn listeners_bound(&self) {
        self.listeners.store(true, Relaxed);
    }

    /// The process accepts no more.
    pub fn draining(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(super) fn checks(&self) -> Checks {
        let check = |name, failure| Check {
            name,
            failure,
            note: None,
        };
        let material = self.material.load(Relaxed);
        let mut checks = vec![
            check("ping", None),
            check(
                "material",
                unless(material, "configuration and certificates are not loaded"),
            ),
            check("certificates", self.awaited.load().as_deref().cloned()),
        ];
        match self.cluster.get() {
            None => {
                let bound = self.listeners.load(Relaxed);
                checks.push(check("listeners", unless(bound, "listeners are not bound")));
                checks.extend(self.lowered.load().as_deref().map(|lowered| Check {
                    note: Some(lowered.clone()),
                    ..check("descriptors", None)
                }));
            }
            Some(cluster) => {
                let seen = cluster.watches.load(Relaxed);
                let why = "the API server's objects are not listed, or their watch fails";
                checks.push(check("watches", unless(seen, why)));
                let leads = cluster.leads.load(Relaxed);
                checks.push(check(if leads { "leader" } else { "standby" }, None));
            }
        }
        if let Some(gate) = self.audit.get() {
            let (failure, note) = match gate.condition() {
                Condition::Good => (None, None),
                Condition::Noted(words) => (None, Some(words)),
                Condition::Failed(words) => (Some(words), None),
            };
            checks.push(Check {
                name: "audit",
                failure,
                note,
            });
        }
        let draining = self.draining.load(Relaxed);
        checks.push(check("shutdown", unless(!draining, "process is draining")));
        Checks(checks)
    }

    /// That the process answers. A log or audit log that is stuck is noted and fails nothing: a restart would end
    /// live streams, and mend neither a disk nor a reader.
    pub(super) fn alive(&self) -> Checks {
        let audit = self.audit.get().and_then(|gate| match gate.condition() {
            Condition::Good => None,
            Condition::Noted(words) | Condition::Failed(words) => Some(words),
        });
        let notes = [("audit", audit), ("log", stalled_log())];
        let mut checks = vec![Check {
            name: "ping",
            failure: None,
            note: None,
        }];
        for (name, note) in notes {
            checks.extend(note.map(|words| Check {
                name,
                failure: None,
                note: Some(words),
            }));
        }
        Checks(checks)
    }
}

/// What is the matter with the log, which cannot say so itself.
fn stalled_log() -> Option<String> {
    let status = log::output()?.status();
    let since = status.blocked.filter(|since| *since >= STALLED)?.as_secs();
    let why = status
        .trouble
        .as_deref()
        .unwrap_or("its reader does not read");
    let lost = status.lost;
    Some(format!(
        "log has taken no lines for {since} s ({why}); {lost} are lost"
    ))
}

fn unless(good: bool, failure: &str) -> Option<String> {
    (!good).then(|| failure.to_owned())
}

/// One named condition.
#[derive(Clone, Debug)]
pub(super) struct Check {
    name: &'static str,
    failure: Option<String>,
    /// What an operator should know although it holds.
    note: Option<String>,
}

/// Named conditions; all must hold.
#[derive(Debug)]
pub(super) struct Checks(Vec<Check>);

impl Checks {
    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|check| check.failure.is_none())
    }

    /// Whether an operator should see more than that they hold.
    pub(super) fn have_notes(&self) -> bool {
        self.0.iter().any(|check| check.note.is_some())
    }

    /// The format of the API server's own endpoints with `?verbose`.
    pub(super) fn verbose(&self, endpoint: &str) -> String {
        let mut text = String::new();
        for check in &self.0 {
            let name = check.name;
            // Writing into a String has no way to fail.
            let _ = match (&check.failure, &check.note) {
                (Some(failure), _) => writeln!(text, "[-]{name} failed: {failure}"),
                (None, Some(note)) => writeln!(text, "[+]{name} ok, but: {note}"),
                (None, None) => writeln!(text, "[+]{name} ok"),
            };
        }
        let verdict = if self.hold() { "passed" } else { "failed" };
        let _ = writeln!(text, "{endpoint} check {verdict}");
        text
    }
}
