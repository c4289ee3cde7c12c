//! What must hold for the process to take new streams.

use arc_swap::ArcSwapOption;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What must hold for the process to take new streams; every part is set by whoever knows it.
#[derive(Debug, Default)]
pub struct Readiness {
    material: AtomicBool,
    listeners: AtomicBool,
    draining: AtomicBool,
    /// Certificates that must come from an authority before anything is accepted.
    awaited: ArcSwapOption<String>,
}

impl Readiness {
    /// Configuration and certificates are loaded.
    pub fn material_loaded(&self) {
        self.material.store(true, Relaxed);
    }

    /// What of the certificates from an authority is not there, in words; nothing: all are.
    pub fn await_certificates(&self, missing: Option<String>) {
        self.awaited.store(missing.map(Arc::new));
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
        Checks(vec![
            Check {
                name: "ping",
                failure: None,
            },
            Check {
                name: "material",
                failure: unless(
                    self.material.load(Relaxed),
                    "configuration and certificates are not loaded",
                ),
            },
            Check {
                name: "certificates",
                failure: self.awaited.load().as_deref().cloned(),
            },
            Check {
                name: "listeners",
                failure: unless(self.listeners.load(Relaxed), "listeners are not bound"),
            },
            Check {
                name: "shutdown",
                failure: unless(!self.draining.load(Relaxed), "process is draining"),
            },
        ])
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
        }])
    }

    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|check| check.failure.is_none())
    }

    /// The format of the API server's own endpoints with `?verbose`.
    pub(super) fn verbose(&self, endpoint: &str) -> String {
        let mut text = String::new();
        for Check { name, failure } in &self.0 {
            // Writing into a String has no way to fail.
            let _ = match failure {
                None => writeln!(text, "[+]{name} ok"),
                Some(failure) => writeln!(text, "[-]{name} failed: {failure}"),
            };
        }
        let verdict = if self.hold() { "passed" } else { "failed" };
        let _ = writeln!(text, "{endpoint} check {verdict}");
        text
    }
}
