//! What must hold for the process to take new streams.

use arc_swap::ArcSwapOption;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

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
        let draining = self.draining.load(Relaxed);
        checks.push(check("shutdown", unless(!draining, "process is draining")));
        Checks(checks)
    }
}

fn unless(good: bool, failure: &str) -> Option<String> {
    (!good).then(|| failure.to_owned())
}

/// One named condition.
#[derive(Clone, Debug)]
pub(super) struct Check {
    name: &'static str,
    failure: Option<String>,
    /// What holds and should be known.
    note: Option<String>,
}

/// Named conditions; all must hold.
#[derive(Debug)]
pub(super) struct Checks(Vec<Check>);

impl Checks {
    /// The one condition of a process that answers at all.
    pub(super) fn ping() -> Self {
        Self(vec![Check {
            name: "ping",
            failure: None,
            note: None,
        }])
    }

    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|check| check.failure.is_none())
    }

    /// The format of the API server's own endpoints with `?verbose`.
    pub(super) fn verbose(&self, endpoint: &str) -> String {
        let mut text = String::new();
        for check in &self.0 {
            let Check {
                name,
                failure,
                note,
            } = check;
            // Writing into a String has no way to fail.
            let _ = match failure {
                None => match note {
                    None => writeln!(text, "[+]{name} ok"),
                    Some(note) => writeln!(text, "[+]{name} ok: {note}"),
                },
                Some(failure) => writeln!(text, "[-]{name} failed: {failure}"),
            };
        }
        let verdict = if self.hold() { "passed" } else { "failed" };
        let _ = writeln!(text, "{endpoint} check {verdict}");
        text
    }
}
