//! The result of a contest: JSON for tools, Markdown for people, and a plot.

use super::scenario::{Proxy, Scenario};
use crate::identity::Suite;
use crate::machine::{Machine, Quiet};
use crate::relay::Used;
use crate::run::{Measured, Outcome};
use crate::stats::Summary;
use crate::work::{Work, Workload};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// From this share of its cores on the generator may have been the limit.
const BUSY: f64 = 0.95;

/// A whole contest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContestReport {
    pub(crate) title: String,
    pub(crate) machine: Machine,
    pub(crate) quiet: Quiet,
    pub(crate) rounds: usize,
    /// Seconds that each proxy worked in each round.
    pub(crate) seconds: f64,
    pub(crate) suite: Suite,
    #[serde(default)]
    pub(crate) far_end: Used,
    pub(crate) cells: Vec<CellReport>,
}

/// One cell, through all proxies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellReport {
    pub(crate) name: String,
    pub(crate) works: Vec<Work>,
    /// By which figure proxies are compared.
    pub(crate) figure: Figure,
    /// The work without a proxy.
    pub(crate) direct: Option<Measured>,
    pub(crate) proxies: Vec<Entry>,
}

/// One proxy in one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) proxy: String,
    /// Why it was left out.
    pub(crate) skipped: Option<String>,
    pub(crate) rounds: Vec<Measured>,
    pub(crate) failures: Vec<String>,
    /// Of the figure.
    pub(crate) figure: Summary,
    /// The first proxy's figure by this one's, within each round.
    pub(crate) ratio: Summary,
}

/// By what proxies are compared; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    /// CPU seconds of the proxy per GiB of payload.
    CpuPerGib,
    /// CPU microseconds of the proxy per operation.
    CpuPerOperation,
    /// Microseconds.
    P99,
    /// Bytes.
    RssPerStream,
}

impl Figure {
    fn of_works(works: &[Work]) -> Self {
        match works.first().map(|work| work.workload) {
            Some(Workload::Bulk | Workload::Stalled) => Self::CpuPerGib,
            Some(Workload::Stall) => Self::P99,
            Some(Workload::Idle) => Self::RssPerStream,
            _ => Self::CpuPerOperation,
        }
    }

    fn of(self, measured: &Measured) -> f64 {
        match self {
            Self::CpuPerGib => measured.cpu_per_gib,
            Self::CpuPerOperation => measured.cpu_us_per_operation,
            Self::P99 => measured.p99,
            Self::RssPerStream => measured.rss_per_stream,
        }
    }

    /// Its unit.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::CpuPerGib => "CPU s/GiB",
            Self::CpuPerOperation => "CPU µs/operation",
            Self::P99 => "p99 µs",
            Self::RssPerStream => "bytes/stream",
        }
    }
}

impl CellReport {
    pub(super) fn new<'a>(
        name: &str,
        works: &[Work],
        proxies: impl Iterator<Item = &'a Proxy>,
    ) -> Self {
        Self {
            name: name.into(),
            works: works.to_vec(),
            figure: Figure::of_works(works),
            direct: None,
            proxies: proxies
                .map(|proxy| Entry {
                    proxy: proxy.name.clone(),
                    skipped: proxy.skip.get(name).cloned(),
                    rounds: Vec::new(),
                    failures: Vec::new(),
                    figure: Summary::default(),
                    ratio: Summary::default(),
                })
                .collect(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.works
            .iter()
            .any(|work| work.workload == Workload::Idle)
    }

    pub(super) fn add(&mut self, proxy: usize, outcome: Outcome) {
        if let Some(entry) = self.proxies.get_mut(proxy) {
            entry.rounds.push(outcome.measured());
            entry.failures.extend(outcome.failures);
        }
    }

    pub(super) fn direct(&mut self, outcome: &Outcome) {
        self.direct = Some(outcome.measured());
    }

    /// Medians and ratios of what was added.
    fn settle(&mut self) {
        let figure = self.figure;
        let first: Vec<_> = self
            .proxies
            .first()
            .map(|entry| entry.rounds.iter().map(|round| figure.of(round)).collect())
            .unwrap_or_default();
        for entry in &mut self.proxies {
            let own: Vec<_> = entry.rounds.iter().map(|round| figure.of(round)).collect();
            let ratios: Vec<_> = first
                .iter()
                .zip(&own)
                .filter(|(_, own)| **own > 0.0)
                .map(|(first, own)| first / own)
                .collect();
            entry.figure = Summary::of(&own);
            entry.ratio = Summary::of(&ratios);
        }
    }
}

impl Entry {
    /// The median over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        Summary::of(&self.rounds.iter().map(figure).collect::<Vec<_>>()).median
    }
}

impl ContestReport {
    pub(super) fn new(
        scenario: &Scenario,
        machine: Machine,
        quiet: Quiet,
        far_end: Used,
        mut cells: Vec<CellReport>,
    ) -> Self {
        cells.iter_mut().for_each(CellReport::settle);
        Self {
            title: scenario.title.clone(),
            machine,
            quiet,
            rounds: scenario.rounds,
            seconds: scenario.duration.as_secs_f64(),
            suite: scenario.suite,
            far_end,
            cells,
        }
    }

    /// An error if anything failed.
    pub(super) fn verdict(&self) -> Result<()> {
        let entries = self.cells.iter().flat_map(|cell| &cell.proxies);
        let failures: Vec<_> = entries
            .flat_map(|entry| entry.failures.iter().map(move |why| (entry, why)))
            .collect();
        match failures.first() {
            None => Ok(()),
            Some((entry, why)) => Err(Error::Void {
                failures: failures.len(),
                first: format!("{}: {why}", entry.proxy),
            }),
        }
    }

    /// Draws how each proxy compares.
    pub(super) fn draw(&self, path: &Path) -> Result<()> {
        super::bars::draw(self, path)
    }
}

impl fmt::Display for ContestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}\n", self.title)?;
        self.machine.fmt(f)?;
        writeln!(
            f,
            "- work: {} interleaved rounds of {} s for each proxy and cell, cipher {:?}, proxies on a core of \
             their own, every byte checked",
            self.rounds, self.seconds, self.suite
        )?;
        self.quiet.fmt(f)?;
        self.far_end.fmt(f)?;
        writeln!(
            f,
            "\nMedians over the rounds, ± the median deviation. *Ratio*: the first proxy's figure by this \
             one's, median of the rounds. *Generator*: its share of its cores; **from 95 % on** throughput is its \
             own, and the proxy's CPU figures are those of a proxy that waits now and then."
        )?;
        self.cells.iter().try_for_each(|cell| cell.fmt(f))
    }
}

impl fmt::Display for CellReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n## {}\n", self.name)?;
        writeln!(
            f,
            "| proxy | {} | ratio | GiB/s | operations/s | p50 µs | p99 µs | p99.99 µs | MiB | generator |",
            self.figure.unit()
        )?;
        writeln!(f, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for entry in &self.proxies {
            entry.row(f)?;
        }
        if let Some(direct) = &self.direct {
            writeln!(
                f,
                "| no proxy | | | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | | {} |",
                direct.gib_per_second,
                direct.operations_per_second,
                direct.p50,
                direct.p99,
                direct.p99_99,
                share(direct.generator_share)
            )?;
        }
        for entry in self
            .proxies
            .iter()
            .filter(|entry| !entry.failures.is_empty())
        {
            writeln!(
                f,
                "\n**{}: {} failures, the first: {}**",
                entry.proxy,
                entry.failures.len(),
                entry.failures[0]
            )?;
        }
        Ok(())
    }
}

impl Entry {
    fn row(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return writeln!(f, "| {} | {why} | | | | | | | | |", self.proxy);
        }
        let digits = if self.figure.median < 10.0 { 3 } else { 0 };
        writeln!(
            f,
            "| {} | {:.digits$} ± {:.digits$} | {:.2} ± {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
            self.proxy,
            self.figure.median,
            self.figure.deviation,
            self.ratio.median,
            self.ratio.deviation,
            self.median(|round| round.gib_per_second),
            self.median(|round| round.operations_per_second),
            self.median(|round| round.p50),
            self.median(|round| round.p99),
            self.median(|round| round.p99_99),
            self.median(|round| round.peak_rss) / f64::from(1 << 20),
            share(self.median(|round| round.generator_share)),
        )
    }
}

fn share(share: f64) -> String {
    let mark = if share >= BUSY { "**" } else { "" };
    format!("{mark}{:.0} %{mark}", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> CellReport {
        let work: Work = serde_json::from_str(
            r#"{"name":"bulk","workload":"bulk","connections":1,"direction":"upload",
                "rate":null,"arrivals":"constant","ask":1,"answer":1,"slots":1}"#,
        )
        .unwrap();
        let proxies: Vec<Proxy> =
            serde_saphyr::from_str("[{name: ours}, {name: theirs}, {name: absent}]").unwrap();
        CellReport::new("bulk", &[work], proxies.iter())
    }

    fn round(cpu_per_gib: f64) -> Measured {
        Measured {
            cpu_per_gib,
            ..Measured::default()
        }
    }

    #[test]
    fn ratios_are_those_within_a_round() {
        let mut cell = cell();
        // The third round met something else on the machine, which slowed both.
        cell.proxies[0].rounds = [1.0, 1.1, 5.0].map(round).to_vec();
        cell.proxies[1].rounds = [2.0, 2.2, 10.0].map(round).to_vec();
        cell.settle();
        assert_eq!(cell.figure, Figure::CpuPerGib);
        assert_eq!(cell.proxies[0].ratio.median, 1.0);
        assert_eq!(cell.proxies[1].ratio.median, 0.5);
        assert!(cell.proxies[1].ratio.deviation < 1e-9);
        assert!((cell.proxies[1].figure.deviation - 0.2).abs() < 1e-9);
        assert_eq!(cell.proxies[2].ratio.median, 0.0);
    }

    #[test]
    fn busy_generator_is_shown() {
        assert_eq!([share(0.5), share(0.97)], ["50 %", "**97 %**"]);
    }
}
