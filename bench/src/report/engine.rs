//! What the table of docs/performance.md says of the engine's own measurements.

use super::shows::{Line, range};
use super::source::Source;
use crate::machine::{Machine, Quiet};
use crate::stats::Summary;
use serde::Deserialize;

/// Of an engine A/B, what the section tells.
#[derive(Deserialize)]
pub(super) struct Ab {
    machine: Machine,
    quiet: Quiet,
    rounds: usize,
    modes: Vec<Mode>,
}

#[derive(Deserialize)]
struct Mode {
    mode: String,
    baseline: String,
    median_ratio: f64,
    worst_ratio: f64,
    cells: Vec<Cell>,
}

#[derive(Deserialize)]
struct Cell {
    subject_cpu_per_gib: Summary,
}

impl Ab {
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.modes.iter().map(|mode| {
            let cells = mode.cells.iter();
            let cells: Vec<_> = cells.map(|cell| cell.subject_cpu_per_gib.median).collect();
            Line {
                work: format!("engine alone, {}, bulk", mode.mode),
                figure: format!("{} CPU s/GiB", range(&Summary::of(&cells))),
                against: mode.baseline.clone(),
                ratio: format!("{:.2} ({:.2})", mode.median_ratio, mode.worst_ratio),
            }
        })
    }

    pub(super) fn source(&self, stem: &str) -> Source {
        Source {
            stem: stem.into(),
            command: "scripts/bench ab",
            machine: self.machine.clone(),
            rounds: Some(self.rounds),
            others_cores: Some(self.quiet.others_cores),
        }
    }
}

/// Of an idle measurement, what the section tells.
#[derive(Deserialize)]
pub(super) struct Idle {
    machine: Machine,
    rows: Vec<IdleRow>,
}

#[derive(Deserialize)]
struct IdleRow {
    mode: String,
    streams: usize,
    rss_per_stream: f64,
}

impl Idle {
    pub(super) fn lines(&self) -> impl Iterator<Item = Line> {
        self.rows.iter().map(|row| Line {
            work: format!("engine alone, {} idle streams, {}", row.streams, row.mode),
            figure: format!("{:.1} KiB resident", row.rss_per_stream / 1024.0),
            against: String::new(),
            ratio: String::new(),
        })
    }

    pub(super) fn source(&self, stem: &str) -> Source {
        Source {
            stem: stem.into(),
            command: "scripts/bench idle",
            machine: self.machine.clone(),
            rounds: None,
            others_cores: None,
        }
    }
}
