//! How far a process is confined: for the log, a metric and `/readyz`.

use crate::metrics::Row;
use std::collections::BTreeMap;

/// A part of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Part {
    /// No capabilities beside those that are needed, and no new ones.
    Privileges,
    /// No cores, and nobody looks into the memory.
    Dumps,
    /// Files beside those of the configuration are out of reach.
    Files,
    /// TCP ports beside those of the configuration are out of reach.
    Ports,
    /// Other processes get no signals.
    Signals,
    /// System calls beside those that are needed are denied.
    Calls,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Privileges,
        Self::Dumps,
        Self::Files,
        Self::Ports,
        Self::Signals,
        Self::Calls,
    ];

    /// The word in log and metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Dumps => "dumps",
            Self::Files => "files",
            Self::Ports => "ports",
            Self::Signals => "signals",
            Self::Calls => "calls",
        }
    }

    /// Whether operators should hear at `/readyz` that it is off: it is the sandbox, more or less.
    fn is_vital(self) -> bool {
        matches!(
            self,
            Self::Privileges | Self::Dumps | Self::Files | Self::Calls
        )
    }
}

/// Whether a part is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is; with what there is to say of it.
    On(String),
    /// It is not, and why.
    Off(String),
}

/// What becomes of each part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts(BTreeMap<Part, State>);

impl Parts {
    pub(super) fn set(&mut self, part: Part, state: State) {
        self.0.insert(part, state);
    }
}

/// How far a process is confined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// Nothing under `--insecure-no-sandbox`.
    parts: Option<Parts>,
}

impl Confinement {
    pub(super) fn on(parts: Parts) -> Self {
        Self { parts: Some(parts) }
    }

    pub(super) fn off() -> Self {
        Self { parts: None }
    }

    /// Whether it was to be confined.
    pub fn is_wanted(&self) -> bool {
        self.parts.is_some()
    }

    /// Whether a part is on.
    pub fn has(&self, part: Part) -> bool {
        let parts = self.parts.as_ref();
        parts.is_some_and(|parts| matches!(parts.0.get(&part), Some(State::On(_))))
    }

    /// What an operator should know of it; nothing where all that matters is on.
    pub fn lack(&self) -> Option<String> {
        let Some(parts) = &self.parts else {
            return Some("off by --insecure-no-sandbox".to_owned());
        };
        let off = parts.0.iter().filter_map(|(part, state)| match state {
            State::Off(why) if part.is_vital() => Some(format!("{part} are not confined: {why}")),
            State::Off(_) | State::On(_) => None,
        });
        let off: Vec<String> = off.collect();
        (!off.is_empty()).then(|| off.join("; "))
    }

    pub(super) fn log(&self) {
        let Some(parts) = &self.parts else {
            tracing::warn!(
                "INSECURE: the sandbox is off: a fault in this process opens every file, port and \
                 program that its user may use; remove --insecure-no-sandbox"
            );
            return;
        };
        let words = |part: Part| match parts.0.get(&part) {
            Some(State::On(words)) if words.is_empty() => "confined".to_owned(),
            Some(State::On(words)) => format!("confined ({words})"),
            Some(State::Off(why)) => format!("NOT confined: {why}"),
            None => "NOT confined".to_owned(),
        };
        let [privileges, dumps, files, ports, signals, calls] = Part::ALL.map(words);
        let message = "sandbox is entered";
        if self.lack().is_none() {
            tracing::info!(privileges, dumps, files, ports, signals, calls, "{message}");
        } else {
            tracing::warn!(privileges, dumps, files, ports, signals, calls, "{message}");
        }
    }

    /// Rows of the metric `eyesplice_sandbox`: 1 for what is on.
    pub fn rows(&self) -> Vec<Row> {
        let row = |part: Part| Row {
            labels: vec![("part", part.to_string())],
            value: self.has(part).into(),
        };
        Part::ALL.map(row).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_on() -> Parts {
        let mut parts = Parts::default();
        for part in Part::ALL {
            parts.set(part, State::On(String::new()));
        }
        parts
    }

    #[test]
    fn sandbox_that_is_off_lacks_everything() {
        let off = Confinement::off();
        assert!(off.lack().unwrap().contains("--insecure-no-sandbox"));
        let values: Vec<_> = off.rows().into_iter().map(|row| row.value).collect();
        assert_eq!(values, [0; 6]);
    }

    #[test]
    fn part_that_the_kernel_lacks_is_named_with_the_reason_and_shown_as_zero() {
        let mut parts = all_on();
        assert_eq!(Confinement::on(parts.clone()).lack(), None);
        parts.set(Part::Files, State::Off("no Landlock".to_owned()));
        let lacking = Confinement::on(parts.clone());
        let words = "files are not confined: no Landlock";
        assert_eq!(lacking.lack().as_deref(), Some(words));
        let values: Vec<_> = lacking.rows().into_iter().map(|row| row.value).collect();
        assert_eq!(values, [1, 1, 0, 1, 1, 1]);
        // Kernels of many years have no rules for ports: that is said once, in the log.
        let mut parts = all_on();
        parts.set(Part::Ports, State::Off("ABI 3".to_owned()));
        assert_eq!(Confinement::on(parts).lack(), None);
    }
}
