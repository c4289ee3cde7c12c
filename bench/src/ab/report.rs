//! The result of a comparison: JSON for tools, Markdown for people.

use super::{Mode, Summary};
use crate::identity::Suite;
use crate::load::{Direction, Outcome};
use crate::machine::{Machine, Quiet};
use crate::{Result, results};
use serde::Serialize;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How quiet it was.
    pub quiet: Quiet,
    /// Rounds per cell.
    pub rounds: usize,
    /// Payload of one cell of one round in MiB.
    pub cell_mib: u64,
    /// Cipher suite of both TLS legs.
    pub suite: Suite,
    /// One per mode.
    pub modes: Vec<ModeReport>,
}

/// One mode's cells.
#[derive(Clone, Debug, Serialize)]
pub struct ModeReport {
    mode: Mode,
    subject: String,
    baseline: String,
    /// The promised bound of the ratios; none against another build.
    target: Option<f64>,
    /// Median of the cells' ratios.
    median_ratio: f64,
    /// Their worst.
    worst_ratio: f64,
    cells: Vec<CellReport>,
}

#[derive(Clone, Debug, Serialize)]
struct CellReport {
    direction: Direction,
    connections: usize,
    /// CPU seconds of the proxy per GiB.
    subject_cpu_per_gib: Summary,
    baseline_cpu_per_gib: Summary,
    /// Of the two within one round.
    ratio: Summary,
    subject_gib_per_second: Summary,
    baseline_gib_per_second: Summary,
    /// CPU seconds of clients and servers per second of wall-clock time with the subject: near the
    /// number of their cores they are the limit of the throughput, though not of the CPU figures.
    generator_cores: Summary,
}

/// The measurements of one direction and number of connections.
pub(super) struct Cell {
    pub(super) direction: Direction,
    pub(super) connections: usize,
    rounds: Vec<[Outcome; 2]>,
}

impl Cell {
    pub(super) fn new(direction: Direction, connections: usize) -> Self {
        Self {
            direction,
            connections,
            rounds: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, subject: &Outcome, baseline: &Outcome) {
        self.rounds.push([*subject, *baseline]);
    }

    fn report(&self) -> CellReport {
        let of = |figure: &dyn Fn(&[Outcome; 2]) -> f64| {
            Summary::of(&self.rounds.iter().map(figure).collect::<Vec<_>>())
        };
        CellReport {
            direction: self.direction,
            connections: self.connections,
            subject_cpu_per_gib: of(&|[subject, _]| subject.cpu_per_gib()),
            baseline_cpu_per_gib: of(&|[_, baseline]| baseline.cpu_per_gib()),
            ratio: of(&|[subject, baseline]| subject.cpu_per_gib() / baseline.cpu_per_gib()),
            subject_gib_per_second: of(&|[subject, _]| subject.gib_per_second()),
            baseline_gib_per_second: of(&|[_, baseline]| baseline.gib_per_second()),
            generator_cores: of(&|[subject, _]| {
                subject.generators.as_secs_f64() / subject.wall.as_secs_f64()
            }),
        }
    }
}

impl ModeReport {
    pub(super) fn new(
        mode: Mode,
        [subject, baseline]: [String; 2],
        target: Option<f64>,
        cells: Vec<Cell>,
    ) -> Self {
        let cells: Vec<_> = cells.iter().map(Cell::report).collect();
        let ratios: Vec<_> = cells.iter().map(|cell| cell.ratio.median).collect();
        let ratios = Summary::of(&ratios);
        Self {
            mode,
            subject,
            baseline,
            target,
            median_ratio: ratios.median,
            worst_ratio: ratios.highest,
            cells,
        }
    }
}

impl Report {
    /// Writes `<date>-ab.json` and `<date>-ab.md` into `directory`; returns their paths.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, directory: &Path) -> Result<[PathBuf; 2]> {
        results::write(self, "ab", directory)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# A/B: CPU seconds per GiB\n")?;
        self.machine.fmt(f)?;
        writeln!(
            f,
            "- work: {} rounds of {} MiB per cell, cipher {:?}, proxy alone on one core",
            self.rounds, self.cell_mib, self.suite
        )?;
        writeln!(f, "{}", self.quiet)?;
        self.modes.iter().try_for_each(|mode| mode.fmt(f))
    }
}

impl fmt::Display for ModeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "## {:?}: {} against {}\n",
            self.mode, self.subject, self.baseline
        )?;
        write!(
            f,
            "Median ratio {:.2}, worst {:.2}",
            self.median_ratio, self.worst_ratio
        )?;
        match self.target {
            Some(target) => writeln!(f, "; target at most {target}.\n")?,
            None => writeln!(f, ".\n")?,
        }
        writeln!(
            f,
            "| direction | connections | {} | {} | ratio | lowest to highest | GiB/s |",
            self.subject, self.baseline
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|")?;
        for cell in &self.cells {
            let mut speeds = String::new();
            write!(
                speeds,
                "{:.2} / {:.2}",
                cell.subject_gib_per_second.median, cell.baseline_gib_per_second.median
            )?;
            writeln!(
                f,
                "| {:?} | {} | {:.3} | {:.3} | {:.2} | {:.2} to {:.2} | {speeds} |",
                cell.direction,
                cell.connections,
                cell.subject_cpu_per_gib.median,
                cell.baseline_cpu_per_gib.median,
                cell.ratio.median,
                cell.ratio.lowest,
                cell.ratio.highest,
            )?;
        }
        writeln!(f)
    }
}
