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

/// How a part of the process does, for health endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Good,
    /// It does not, or not as it should; streams begin all the same.
    Noted(String),
    /// It does not, and neither does the process take streams.
    Failed(String),
}

/// What must hold for the process to take new streams; every part is set by whoever knows it.
#[derive(Default, derive_more::Debug)]
#[debug("Readiness({:?})", self.checks())]
pub struct Readiness {
    material: AtomicBool,
    listeners: AtomicBool,
    draining: AtomicBool,
    handed_over: AtomicBool,
    /// Certificates that must come from an authority before anything is accepted.
    awaited: ArcSwapOption<String>,
    /// Limits that are lower than configured, in words.
    lowered: ArcSwapOption<String>,
    /// Another process was to take over and did not, in words.
    takeover: ArcSwapOption<String>,
    /// What the sandbox lacks, in words.
    unconfined: ArcSwapOption<String>,
    audit: OnceLock<Box<dyn Audited>>,
    /// In place of listeners where the process dials out.
    gateways: OnceLock<Box<dyn Fn() -> Condition + Send + Sync>>,
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

    /// Another process was to take over and did not, in words: this one is as ready, and says so.
    pub fn takeover_failed(&self, why: String) {
        self.takeover.store(Some(Arc::new(why)));
    }

    /// What the sandbox lacks, in words: the process is as ready, and says so.
    pub fn unconfined(&self, what: Option<String>) {
        self.unconfined.store(what.map(Arc::new));
    }

    /// Streams are audited, as this gate lets them.
    pub fn audits(&self, gate: impl Audited) {
        self.audit.get_or_init(|| Box::new(gate));
    }

    /// The process dials out, and is ready while this is good.
    pub fn dials(&self, gateways: impl Fn() -> Condition + Send + Sync + 'static) {
        self.gateways.get_or_init(|| Box::new(gateways));
    }

    /// Every worker accepts on every listener.
    pub fn listeners_bound(&self) {
        self.listeners.store(true, Relaxed);
    }

    /// The process accepts no more.
    pub fn draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Another process accepts in place of this one, and answers for the service from the next
    /// connection on.
    pub fn handed_over(&self) {
        self.handed_over.store(true, Relaxed);
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Relaxed)
    }

    pub(super) fn checks(&self) -> Checks {
        let material = self.material.load(Relaxed);
        let awaited = self.awaited.load().as_deref().cloned();
        let mut checks = vec![
            ("ping", Condition::Good),
            (
                "material",
                unless(material, "configuration and certificates are not loaded"),
            ),
            (
                "certificates",
                awaited.map_or(Condition::Good, Condition::Failed),
            ),
        ];
        match self.cluster.get() {
            None => {
                checks.push(match self.gateways.get() {
                    Some(gateways) => ("gateways", gateways()),
                    None => {
                        let bound = self.listeners.load(Relaxed);
                        ("listeners", unless(bound, "listeners are not bound"))
                    }
                });
                let lowered = self.lowered.load().as_deref().cloned();
                checks.extend(lowered.map(|lowered| ("descriptors", Condition::Noted(lowered))));
            }
            Some(cluster) => {
                let seen = cluster.watches.load(Relaxed);
                let why = "the API server's objects are not listed, or their watch fails";
                checks.push(("watches", unless(seen, why)));
                let leads = cluster.leads.load(Relaxed);
                checks.push((if leads { "leader" } else { "standby" }, Condition::Good));
            }
        }
        checks.extend(self.audit.get().map(|gate| ("audit", gate.condition())));
        let failed = self.takeover.load().as_deref().cloned();
        checks.extend(failed.map(|failed| ("takeover", Condition::Noted(failed))));
        let lacks = self.unconfined.load().as_deref().cloned();
        checks.extend(lacks.map(|lacks| ("sandbox", Condition::Noted(lacks))));
        let draining = self.draining.load(Relaxed);
        checks.push(("shutdown", unless(!draining, "process is draining")));
        Checks(checks)
    }

    /// That the process answers. A log or audit log that is stuck is noted and fails nothing: a restart would end
    /// live streams, and mend neither a disk nor a reader.
    pub(super) fn alive(&self) -> Checks {
        let audit = self.audit.get().and_then(|gate| match gate.condition() {
            Condition::Good => None,
            Condition::Noted(words) | Condition::Failed(words) => Some(words),
        });
        let notes = [("audit", audit), ("log", stalled_log())].into_iter();
        let notes = notes.filter_map(|(name, note)| Some((name, Condition::Noted(note?))));
        Checks(
            [("ping", Condition::Good)]
                .into_iter()
                .chain(notes)
                .collect(),
        )
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

fn unless(good: bool, failure: &str) -> Condition {
    if good {
        Condition::Good
    } else {
        Condition::Failed(failure.to_owned())
    }
}

/// Named conditions; none may have failed.
#[derive(Debug)]
pub(super) struct Checks(Vec<(&'static str, Condition)>);

impl Checks {
    pub(super) fn hold(&self) -> bool {
        !self.any(|condition| matches!(condition, Condition::Failed(_)))
    }

    /// Whether an operator should see more than that they hold.
    pub(super) fn have_notes(&self) -> bool {
        self.any(|condition| matches!(condition, Condition::Noted(_)))
    }

    fn any(&self, is: fn(&Condition) -> bool) -> bool {
        self.0.iter().any(|(_, condition)| is(condition))
    }

    /// The format of the API server's own endpoints with `?verbose`.
    pub(super) fn verbose(&self, endpoint: &str) -> String {
        let mut text = String::new();
        for (name, condition) in &self.0 {
            // Writing into a String has no way to fail.
            let _ = match condition {
                Condition::Failed(failure) => writeln!(text, "[-]{name} failed: {failure}"),
                Condition::Noted(note) => writeln!(text, "[+]{name} ok, but: {note}"),
                Condition::Good => writeln!(text, "[+]{name} ok"),
            };
        }
        let verdict = if self.hold() { "passed" } else { "failed" };
        let _ = writeln!(text, "{endpoint} check {verdict}");
        text
    }
}
