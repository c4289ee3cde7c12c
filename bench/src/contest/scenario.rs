//! Scenario files: which proxies, started how, and what they are given to do.

use crate::identity::Suite;
use crate::relay::LineOptions;
use crate::route::RouteOptions;
use crate::run::FarEnd;
use crate::work::WorkOptions;
use crate::{Attempt, Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A scenario file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Scenario {
    /// Heads the report.
    pub(crate) title: String,
    /// Begins the names of the results' files.
    pub(crate) name: String,
    #[serde(default = "rounds")]
    pub(crate) rounds: usize,
    #[serde(default = "duration", deserialize_with = "span")]
    pub(crate) duration: Duration,
    #[serde(default = "warm_up", deserialize_with = "span")]
    pub(crate) warm_up: Duration,
    #[serde(default)]
    pub(crate) suite: Suite,
    /// Between the proxies and the far end.
    #[serde(default)]
    pub(crate) line: LineOptions,
    /// Starts proxies for each turn, where what an earlier one left would be measured too.
    #[serde(default)]
    pub(crate) fresh: bool,
    /// The first is the one that the others are compared with.
    pub(crate) proxies: Vec<Proxy>,
    /// Each is one cell, or several workloads at the same time.
    pub(crate) works: Vec<Cell>,
    /// Where the file lies; paths in it start there.
    #[serde(skip)]
    pub(crate) directory: PathBuf,
}

/// A proxy.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Proxy {
    pub(crate) name: String,
    /// Program and arguments; none if it runs already, or for the direct connection.
    #[serde(default)]
    pub(crate) command: Vec<String>,
    /// Variables of its environment, beside those that all have.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    /// Program and arguments that say which version it is.
    #[serde(default)]
    pub(crate) version: Vec<String>,
    /// Files that it needs: their name in `{dir}`, and the template.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, PathBuf>,
    /// How clients reach it.
    #[serde(default)]
    pub(crate) route: RouteOptions,
    /// What the far end behind it speaks.
    #[serde(default = "plain")]
    pub(crate) far_end: FarEnd,
    /// Processes to watch, if it runs already.
    #[serde(default)]
    pub(crate) pids: Vec<u32>,
    /// Its workers; none given: as many as --proxy-cores names, or one.
    #[serde(default)]
    pub(crate) workers: Option<usize>,
    /// The cores that its workers share; none given: each has one.
    #[serde(default)]
    pub(crate) cores: Option<usize>,
    /// Another proxy of the scenario: by how much this one's figure is larger than that one's is shown.
    #[serde(default)]
    pub(crate) against: Option<String>,
    /// Cells that it cannot do, and why.
    #[serde(default)]
    pub(crate) skip: BTreeMap<String, String>,
}

/// One cell: a workload, or several at the same time.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    /// Several.
    Mix(Vec<WorkOptions>),
    /// One.
    One(Box<WorkOptions>),
}

impl Proxy {
    /// How many workers it has.
    pub(crate) fn workers(&self) -> usize {
        self.workers.unwrap_or(1)
    }

    /// On how many cores they run.
    pub(crate) fn cores(&self) -> usize {
        self.cores.unwrap_or(self.workers())
    }
}

impl Cell {
    /// Its workloads.
    pub(crate) fn works(&self) -> Vec<WorkOptions> {
        match self {
            Self::One(one) => vec![WorkOptions::clone(one)],
            Self::Mix(mix) => mix.clone(),
        }
    }

    /// The names of its workloads.
    fn names(&self) -> Vec<String> {
        let works = self.works();
        let resolved = works.iter().flat_map(WorkOptions::resolve);
        resolved.map(|work| work.name).collect()
    }
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).attempt(format!("read {}", path.display()))?;
        let mut scenario = Self::parse(&text)
            .map_err(|error| Error::Unfit(format!("{}: {error}", path.display())))?;
        scenario.directory = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        Ok(scenario)
    }

    /// Names the revision that the scenario compares this one with, where it does.
    pub(super) fn compare_with(&mut self, revision: Option<&str>) -> Result<()> {
        let mut words = self.proxies.iter().flat_map(|proxy| &proxy.command);
        match (revision, words.any(|word| word.contains("{before}"))) {
            (None, true) => Err(Error::Unfit(format!(
                "{} needs the gateway of an earlier revision: use scripts/bench against, or --before",
                self.name
            ))),
            (Some(revision), true) => {
                let values = [("revision", revision.to_string())];
                self.title = expand(&self.title, &values);
                self.name = expand(&self.name, &values);
                Ok(())
            }
            (Some(_), false) => Err(Error::Unfit(format!(
                "{} has no proxy that --before could stand for: none starts {{before}}",
                self.name
            ))),
            (None, false) => Ok(()),
        }
    }

    /// Leaves out proxies that are not `among` those named, and cells that are not `only` those; none named
    /// are all.
    pub(super) fn keep(&mut self, among: &[String], only: &[String]) -> Result<()> {
        if let Some(name) = among.iter().find(|name| !self.has_proxy(name)) {
            let names: Vec<_> = self.proxies.iter().map(|proxy| &proxy.name).collect();
            return Err(Error::Unfit(format!(
                "--among: no proxy is named {name:?}; there are {names:?}"
            )));
        }
        let names: Vec<_> = self.works.iter().map(Cell::names).collect();
        let mut kept = vec![only.is_empty(); names.len()];
        for word in only {
            let meant = meant(&names, word);
            if meant.is_empty() {
                return Err(Error::Unfit(format!(
                    "--only: no cell has {word:?} in its name; there are {names:?}"
                )));
            }
            meant.into_iter().for_each(|index| kept[index] = true);
        }
        let mut kept = kept.into_iter();
        self.works.retain(|_| kept.next().unwrap_or(true));
        self.proxies
            .retain(|proxy| among.is_empty() || among.contains(&proxy.name));
        Ok(())
    }

    fn has_proxy(&self, name: &str) -> bool {
        self.proxies.iter().any(|proxy| proxy.name == name)
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let scenario: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        if scenario.proxies.is_empty() || scenario.works.is_empty() || scenario.rounds == 0 {
            return Err("needs proxies, works and rounds, one each at least".into());
        }
        for proxy in &scenario.proxies {
            if proxy.workers == Some(0) {
                return Err(format!("proxy {}: workers must be 1 or more", proxy.name));
            }
            if !(1..=proxy.workers()).contains(&proxy.cores()) {
                return Err(format!(
                    "proxy {}: cores must be from 1 to the number of its workers",
                    proxy.name
                ));
            }
            let unknown = |name: &&String| !scenario.has_proxy(name);
            if let Some(name) = proxy.against.as_ref().filter(unknown) {
                return Err(format!(
                    "proxy {}: against names no proxy: {name}",
                    proxy.name
                ));
            }
        }
        Ok(scenario)
    }
}

/// The cells that have this name, or if none has, those that have it in theirs. A name may be a part of another.
fn meant(cells: &[Vec<String>], word: &str) -> Vec<usize> {
    let with = |fits: &dyn Fn(&String) -> bool| -> Vec<usize> {
        let fitting = |index: &usize| cells[*index].iter().any(fits);
        (0..cells.len()).filter(fitting).collect()
    };
    match with(&|name| name == word) {
        none if none.is_empty() => with(&|name| name.contains(word)),
        exact => exact,
    }
}

fn rounds() -> usize {
    5
}

fn duration() -> Duration {
    Duration::from_secs(2)
}

fn warm_up() -> Duration {
    Duration::from_millis(300)
}

fn plain() -> FarEnd {
    FarEnd::Plain
}

fn span<'de, D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(serde::de::Error::custom)
}

/// Replaces `{name}` in a text by its value; other braces stay, since configurations are full of them.
pub(crate) fn expand(text: &str, values: &[(&str, String)]) -> String {
    values.iter().fold(text.to_string(), |text, (name, value)| {
        text.replace(&format!("{{{name}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "
title: t
name: n
proxies:
- {name: direct}
works:
- {workload: rr}
- [{workload: bulk, direction: up}, {workload: log, size: 100B}]
";

    #[test]
    fn smallest_scenario_is_read_with_its_defaults() {
        let scenario = Scenario::parse(SMALLEST).unwrap();
        assert_eq!((scenario.rounds, scenario.duration.as_secs()), (5, 2));
        assert_eq!(scenario.works[0].works().len(), 1);
        assert_eq!(scenario.works[1].works().len(), 2);
    }

    #[test]
    fn line_to_the_far_end_is_read() {
        let text = format!("{SMALLEST}\nline: {{delay: 60ms, bandwidth: 1Gbit}}");
        let line = Scenario::parse(&text).unwrap().line;
        assert_eq!(line.delay, Some(Duration::from_millis(60)));
        assert!(line.bandwidth.is_some());
        assert!(Scenario::parse(&text.replace("60ms", "60")).is_err());
    }

    #[test]
    fn unknown_field_and_empty_list_are_refused() {
        assert!(Scenario::parse(&SMALLEST.replace("title", "titel")).is_err());
        assert!(Scenario::parse(&format!("{SMALLEST}\nrounds: 0")).is_err());
        assert!(Scenario::parse(&format!("{SMALLEST}\nduration: 5")).is_err());
        for wrong in ["workers: 0", "cores: 0", "cores: 2", "against: nobody"] {
            let proxy = format!("name: direct, {wrong}");
            assert!(Scenario::parse(&SMALLEST.replace("name: direct", &proxy)).is_err());
        }
    }

    const SEVERAL: &str = "
title: t
name: n
proxies:
- {name: 'ours, TCP'}
- {name: ours}
works:
- {name: connections, workload: setup}
- {name: 'bulk, 16 connections', workload: bulk}
- {name: small, workload: rr}
";

    fn kept(among: &[&str], only: &[&str]) -> Result<(Vec<String>, Vec<String>)> {
        let mut scenario = Scenario::parse(SEVERAL).unwrap();
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        scenario.keep(&words(among), &words(only))?;
        let proxies = scenario.proxies.into_iter().map(|proxy| proxy.name);
        let cells = scenario.works.iter().flat_map(Cell::names);
        Ok((proxies.collect(), cells.collect()))
    }

    #[test]
    fn proxies_and_cells_are_kept_by_names_that_may_have_commas() {
        let (proxies, cells) = kept(&["ours, TCP"], &["bulk, 16 connections"]).unwrap();
        assert_eq!(proxies, ["ours, TCP"]);
        assert_eq!(cells, ["bulk, 16 connections"]);
        let (proxies, cells) = kept(&[], &["connections", "sma"]).unwrap();
        assert_eq!(proxies.len(), 2);
        assert_eq!(cells, ["connections", "small"], "a whole name is no part");
        let (_, cells) = kept(&[], &["connection"]).unwrap();
        assert_eq!(cells, ["connections", "bulk, 16 connections"]);
        assert_eq!(kept(&[], &[]).unwrap().1.len(), 3);
    }

    #[test]
    fn names_that_nothing_has_are_refused() {
        assert!(kept(&["ours,TCP"], &[]).is_err());
        assert!(kept(&["ours", "theirs"], &[]).is_err());
        assert!(kept(&[], &["small", "large"]).is_err());
    }

    #[test]
    fn earlier_revision_is_named_where_it_is_needed_and_nowhere_else() {
        let other = SMALLEST
            .replace("title: t", "title: against {revision}")
            .replace(
                "name: direct",
                "name: direct, command: ['{before}', gateway]",
            );
        let mut scenario = Scenario::parse(&other).unwrap();
        assert!(scenario.compare_with(None).is_err());
        scenario.compare_with(Some("1cf3f72")).unwrap();
        assert_eq!(scenario.title, "against 1cf3f72");
        let mut scenario = Scenario::parse(SMALLEST).unwrap();
        assert!(scenario.compare_with(Some("1cf3f72")).is_err());
        scenario.compare_with(None).unwrap();
    }

    #[test]
    fn only_known_names_in_braces_are_replaced() {
        let values = [("port", "80".to_string())];
        assert_eq!(
            expand("http { listen {port}; {x} }", &values),
            "http { listen 80; {x} }"
        );
    }

    #[test]
    fn scenarios_of_the_repository_are_valid() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let mut read = 0;
        for file in std::fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|kind| kind == "yaml") {
                let scenario = Scenario::read(&path).unwrap();
                for work in scenario.works.iter().flat_map(Cell::works) {
                    work.resolve().unwrap();
                }
                for template in scenario
                    .proxies
                    .iter()
                    .flat_map(|proxy| proxy.files.values())
                {
                    assert!(scenario.directory.join(template).is_file(), "{template:?}");
                }
                read += 1;
            }
        }
        assert!(read > 0);
    }
}
