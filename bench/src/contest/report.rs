//! The result of a contest: JSON for tools, Markdown for people, and a plot.

use super::places::Places;
use super::scenario::{Proxy, Scenario};
use super::table;
use crate::identity::Suite;
use crate::machine::{Machine, Quiet};
use crate::relay::Used;
use crate::run::Measured;
use crate::stats::Summary;
use crate::work::{Work, Workload};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Bytes of an answer from which on round trips are a transfer, and compared by CPU time per byte.
const TRANSFER: u32 = 64 * 1024;

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
    /// Whether proxies were started for each turn.
    pub(crate) fresh: bool,
    /// Cores of clients and far end.
    pub(crate) generator_cores: Vec<usize>,
    /// What proxies say of their versions, by name.
    #[serde(default)]
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) cells: Vec<CellReport>,
}

/// One cell, through all proxies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CellReport {
    pub(crate) name: String,
    pub(crate) works: Vec<Work>,
    /// By which figure proxies are compared.
    pub(crate) figure: Figure,
    /// The cell that each proxy's figure is to be compared with: the same without stalled readers.
    pub(crate) alone: Option<String>,
    /// The work without a proxy: in each round, or in the first alone.
    pub(crate) direct: Vec<Measured>,
    pub(crate) proxies: Vec<Entry>,
}

/// One proxy in one cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) proxy: String,
    pub(crate) cores: Vec<usize>,
    /// Why it was left out.
    pub(crate) skipped: Option<String>,
    pub(crate) rounds: Vec<Measured>,
    pub(crate) failures: Vec<String>,
    /// Of the figure.
    pub(crate) figure: Summary,
    /// The first proxy's figure by this one's, within each round.
    pub(crate) ratio: Summary,
    /// Throughput by that of the direct connection.
    pub(crate) of_direct: Option<Summary>,
    /// What the figure grows by, where something else changes than the proxy.
    pub(crate) growth: Option<Growth>,
}

/// A proxy's figure by one of the same round that is to be compared with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Growth {
    /// The other proxy of the same cell, or the other cell of the same proxy.
    pub(crate) of: String,
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
        let Some(first) = works.first() else {
            return Self::CpuPerOperation;
        };
        match first.workload {
            Workload::Bulk | Workload::Stalled => Self::CpuPerGib,
            Workload::Rr if first.answer >= TRANSFER => Self::CpuPerGib,
            Workload::Stall => Self::P99,
            Workload::Idle => Self::RssPerStream,
            _ => Self::CpuPerOperation,
        }
    }

    /// Its value in one round.
    pub(crate) fn of(self, measured: &Measured) -> f64 {
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
    /// A cell without figures yet; `alone` names the one that it is compared with.
    pub(super) fn new(
        name: &str,
        works: &[Work],
        proxies: &[Proxy],
        alone: Option<String>,
    ) -> Self {
        let entry = |proxy: &Proxy| Entry {
            proxy: proxy.name.clone(),
            cores: Vec::new(),
            skipped: proxy.skip.get(name).cloned(),
            rounds: Vec::new(),
            failures: Vec::new(),
            figure: Summary::default(),
            ratio: Summary::default(),
            of_direct: None,
            growth: None,
        };
        Self {
            name: name.into(),
            works: works.to_vec(),
            figure: Figure::of_works(works),
            alone,
            direct: Vec::new(),
            proxies: proxies.iter().map(entry).collect(),
        }
    }

    fn is(&self, workload: Workload) -> bool {
        self.works.iter().any(|work| work.workload == workload)
    }

    /// Whether the direct connection is to be measured (again): of a transfer in each round, since it is
    /// compared with that; of anything else once, as what the generator can do.
    pub(super) fn wants_direct(&self) -> bool {
        !self.is(Workload::Idle) && (self.is(Workload::Bulk) || self.direct.is_empty())
    }

    pub(super) fn add(&mut self, proxy: usize, measured: Measured, failures: Vec<String>) {
        if let Some(entry) = self.proxies.get_mut(proxy) {
            entry.rounds.push(measured);
            entry.failures.extend(failures);
        }
    }

    /// Notes why a proxy did not take part in a round.
    pub(super) fn fail(&mut self, proxy: usize, why: String) {
        if let Some(entry) = self.proxies.get_mut(proxy) {
            entry.failures.push(why);
        }
    }

    /// Medians and ratios of what was added.
    fn settle(&mut self) {
        let figure = self.figure;
        let first = self.proxies.first().map(|entry| entry.rounds.clone());
        let first = first.unwrap_or_default();
        let compared = self.is(Workload::Bulk) && !self.direct.is_empty();
        for entry in &mut self.proxies {
            entry.figure = entry.summary(|round| figure.of(round));
            entry.ratio = ratios(&first, &entry.rounds, |round| figure.of(round));
            entry.of_direct =
                compared.then(|| ratios(&entry.rounds, &self.direct, |round| round.gib_per_second));
        }
    }
}

impl Entry {
    /// Of a figure, over the rounds.
    pub(crate) fn summary(&self, figure: impl Fn(&Measured) -> f64) -> Summary {
        Summary::of(&self.rounds.iter().map(figure).collect::<Vec<_>>())
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        self.summary(figure).median
    }
}

/// A figure of one by that of another in the same round, of all rounds that both have.
pub(crate) fn ratios(
    ones: &[Measured],
    others: &[Measured],
    figure: impl Fn(&Measured) -> f64,
) -> Summary {
    let pairs = ones.iter().zip(others);
    let ratios: Vec<_> = pairs
        .map(|(one, other)| (figure(one), figure(other)))
        .filter(|(one, other)| *one > 0.0 && *other > 0.0)
        .map(|(one, other)| one / other)
        .collect();
    Summary::of(&ratios)
}

impl ContestReport {
    pub(super) fn new(
        scenario: &Scenario,
        places: &Places,
        machine: Machine,
        quiet: Quiet,
        far_end: Used,
        mut cells: Vec<CellReport>,
    ) -> Self {
        for cell in &mut cells {
            for (entry, proxy) in cell.proxies.iter_mut().zip(&scenario.proxies) {
                entry.cores = places.of(proxy.cores()).to_vec();
            }
            cell.settle();
        }
        grow(&mut cells, &scenario.proxies);
        Self {
            title: scenario.title.clone(),
            machine,
            quiet,
            rounds: scenario.rounds,
            seconds: scenario.duration.as_secs_f64(),
            suite: scenario.suite,
            far_end,
            fresh: scenario.fresh,
            generator_cores: places.generators.clone(),
            versions: BTreeMap::new(),
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

    /// Proxies that have a core in common with the generator.
    fn sharing(&self) -> Vec<&str> {
        let proxies = self.cells.first().map(|cell| cell.proxies.as_slice());
        let shares = |entry: &&Entry| {
            let mut cores = entry.cores.iter();
            cores.any(|core| self.generator_cores.contains(core))
        };
        let sharing = proxies.unwrap_or_default().iter().filter(shares);
        sharing.map(|entry| entry.proxy.as_str()).collect()
    }
}

/// Compares each cell with the one without stalled readers, and proxies with those that they are `against`.
fn grow(cells: &mut [CellReport], proxies: &[Proxy]) {
    let before = cells.to_vec();
    for cell in cells {
        let alone = cell.alone.as_ref();
        let alone = alone.and_then(|name| before.iter().find(|other| other.name == *name));
        let beside = cell.proxies.clone();
        for (index, (entry, proxy)) in cell.proxies.iter_mut().zip(proxies).enumerate() {
            let base = match (alone, &proxy.against) {
                (Some(alone), _) => alone.proxies.get(index).map(|base| (&alone.name, base)),
                (None, Some(name)) => beside
                    .iter()
                    .find(|base| base.proxy == *name)
                    .map(|base| (name, base)),
                (None, None) => None,
            };
            let figure = cell.figure;
            entry.growth = base.map(|(of, base)| Growth {
                of: of.clone(),
                ratio: ratios(&entry.rounds, &base.rounds, |round| figure.of(round)),
            });
        }
    }
}

impl fmt::Display for ContestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# {}\n", self.title)?;
        self.machine.fmt(f)?;
        writeln!(
            f,
            "- work: {} interleaved rounds of {} s for each proxy and cell, cipher {:?}, every byte checked{}",
            self.rounds,
            self.seconds,
            self.suite,
            if self.fresh {
                ", proxies started for each turn"
            } else {
                ""
            }
        )?;
        write!(f, "- cores: generator on {:?}", self.generator_cores)?;
        match self.sharing().as_slice() {
            [] => writeln!(f, ", proxies on others")?,
            sharing => writeln!(
                f,
                "; **these share a core with it: {}**",
                sharing.join("; ")
            )?,
        }
        self.quiet.fmt(f)?;
        self.far_end.fmt(f)?;
        for (proxy, version) in &self.versions {
            writeln!(f, "- {proxy}: {version}")?;
        }
        writeln!(f, "\n{}", table::LEGEND)?;
        self.cells.iter().try_for_each(|cell| cell.fmt(f))
    }
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
        CellReport::new("bulk", &[work], &proxies(), None)
    }

    fn proxies() -> Vec<Proxy> {
        serde_saphyr::from_str("[{name: ours}, {name: theirs, against: ours}, {name: absent}]")
            .unwrap()
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
    fn throughput_is_compared_with_the_direct_connection_of_its_round() {
        let fast = |gib_per_second| Measured {
            gib_per_second,
            ..Measured::default()
        };
        let mut cell = cell();
        assert!(cell.wants_direct());
        cell.proxies[0].rounds = [1.0, 0.1].map(fast).to_vec();
        cell.direct = [2.0, 0.2].map(fast).to_vec();
        cell.settle();
        let of_direct = cell.proxies[0].of_direct.as_ref().unwrap();
        assert_eq!((of_direct.median, of_direct.deviation), (0.5, 0.0));
    }

    #[test]
    fn growth_is_by_the_proxy_that_is_named_or_by_the_cell_without_stalled_readers() {
        let mut alone = cell();
        alone.name = "alone".into();
        alone.proxies[0].rounds = [1.0, 2.0].map(round).to_vec();
        alone.proxies[1].rounds = [1.1, 2.2].map(round).to_vec();
        let mut beside = alone.clone();
        beside.alone = Some("alone".into());
        beside.proxies[0].rounds = [1.5, 3.0].map(round).to_vec();
        let mut cells = [alone, beside];
        grow(&mut cells, &proxies());
        assert!(cells[0].proxies[0].growth.is_none());
        let named = cells[0].proxies[1].growth.as_ref().unwrap();
        assert_eq!((named.of.as_str(), named.ratio.median), ("ours", 1.1));
        let without = cells[1].proxies[0].growth.as_ref().unwrap();
        assert_eq!((without.of.as_str(), without.ratio.median), ("alone", 1.5));
    }
}
