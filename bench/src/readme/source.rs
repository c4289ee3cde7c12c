//! Which results a table comes from, and how to repeat them.

use crate::contest::ContestReport;
use crate::machine::Machine;
use std::fmt;

/// Where lines come from.
pub(super) struct Source {
    pub(super) stem: String,
    pub(super) command: &'static str,
    pub(super) machine: Machine,
    pub(super) rounds: Option<usize>,
    pub(super) others_cores: Option<f64>,
}

impl Source {
    pub(super) fn of_contest(stem: &str, report: &ContestReport) -> Self {
        Self {
            stem: stem.into(),
            command: "scripts/bench peers",
            machine: report.machine.clone(),
            rounds: Some(report.rounds),
            others_cores: Some(report.quiet.others_cores),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stem = &self.stem;
        let kernel: Vec<_> = self.machine.kernel.split('.').take(2).collect();
        let rounds = self
            .rounds
            .map_or_else(String::new, |rounds| rounds.to_string());
        let others = self
            .others_cores
            .map_or_else(String::new, |cores| format!("{cores:.2}"));
        write!(
            f,
            "| [{stem}](../bench/results/{stem}.md) | `{}` | {} cores of {}, Linux {} \
             | {rounds} | {others} |",
            self.command,
            self.machine.cores,
            self.machine.cpu,
            kernel.join(".")
        )
    }
}
