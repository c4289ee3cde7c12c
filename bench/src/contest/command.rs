//! `eyesplice-load ab`.

use super::fleet::{Places, Running};
use super::report::{CellReport, ContestReport};
use super::scenario::{Cell, Proxy, Scenario};
use crate::cpu::{self, Cores};
use crate::identity::Suite;
use crate::machine::{Machine, Watch};
use crate::relay::LineOptions;
use crate::report::Progress;
use crate::route::RouteOptions;
use crate::run::{Ends, FarEnd, Outcome, Plan, ceiling, in_turn, measure, runtime};
use crate::work::{Work, WorkOptions};
use crate::{Attempt, Error, Result, results};
use clap::{Args, Parser};
use eyesplice_sys::limits;
use std::path::PathBuf;
use std::time::Duration;

/// What `ab` is told.
#[derive(Args, Clone, Debug)]
pub struct ContestOptions {
    /// A scenario file; see docs/load.md
    #[arg(long, value_name = "FILE", required_unless_present = "proxies")]
    pub scenario: Option<PathBuf>,
    /// Without a scenario: a proxy as NAME=WAY, or NAME=WAY=COMMAND to start it; the first is the one that
    /// the others are compared with. {port} and {target} stand for a free port and the far end
    #[arg(
        long = "proxy",
        value_name = "NAME=WAY[=COMMAND]",
        requires = "works",
        conflicts_with = "scenario"
    )]
    pub proxies: Vec<String>,
    /// Without a scenario: a workload, with the options of `run`: --work '--workload rr --connections 4'
    #[arg(long = "work", value_name = "OPTIONS", conflicts_with = "scenario")]
    pub works: Vec<String>,
    /// Rounds; the figures are medians over them [default: the scenario's, or 5]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// How long each proxy works in each round [default: the scenario's, or 2s]
    #[arg(long, short, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Only cells whose name has this in it
    #[arg(long, value_name = "WORD")]
    pub only: Option<String>,
    /// Only these proxies of the scenario
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub among: Vec<String>,
    /// The line between proxies and far end; overrules the scenario's
    #[command(flatten)]
    pub line: LineOptions,
    /// Cores of the proxies [default: the last one]
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    pub proxy_cores: Vec<usize>,
    /// Writes `DATE-NAME.json`, `.md` and `.svg` into this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub output: Option<PathBuf>,
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    work: WorkOptions,
}

/// Compares and reports.
///
/// # Errors
/// If a proxy does not start, or a stream failed or a byte was wrong.
pub fn run(options: &ContestOptions) -> Result<()> {
    limits::raise_open_files().attempt("raise the limit of open files")?;
    let scenario = scenario(options)?;
    let cores = Cores::split()?;
    let proxies = match options.proxy_cores.as_slice() {
        [] => vec![cores.proxy],
        chosen => chosen.to_vec(),
    };
    let places = Places {
        proxies: &proxies,
        generators: &cores.generators,
    };
    cpu::pin(places.generators)?;
    let report = runtime(cores.generators.len())?.block_on(contest(&scenario, &places))?;
    print!("{report}");
    if let Some(directory) = &options.output {
        for path in results::write(&report, &scenario.name, directory)? {
            eprintln!("wrote {}", path.display());
        }
        let plot = results::path(directory, &scenario.name, "svg");
        report.draw(&plot)?;
        eprintln!("wrote {}", plot.display());
    }
    report.verdict()
}

fn scenario(options: &ContestOptions) -> Result<Scenario> {
    let mut scenario = match &options.scenario {
        Some(path) => Scenario::read(path)?,
        None => from_words(options)?,
    };
    scenario.rounds = options.rounds.unwrap_or(scenario.rounds).max(1);
    scenario.duration = options.duration.unwrap_or(scenario.duration);
    if options.line.delay.is_some() {
        scenario.line = options.line.clone();
    }
    if !options.among.is_empty() {
        scenario
            .proxies
            .retain(|proxy| options.among.contains(&proxy.name));
    }
    if let Some(word) = &options.only {
        scenario.works.retain(|cell| {
            let names = cell.works();
            names
                .iter()
                .any(|work| work.resolve().is_ok_and(|work| work.name.contains(word)))
        });
    }
    if scenario.proxies.is_empty() || scenario.works.is_empty() {
        return Err(Error::Unfit(
            "--among and --only leave nothing to measure".into(),
        ));
    }
    Ok(scenario)
}

/// A scenario of the command line.
fn from_words(options: &ContestOptions) -> Result<Scenario> {
    let proxy = |words: &String| {
        let mut words = words.splitn(3, '=');
        let (name, via) = words
            .next()
            .zip(words.next())
            .ok_or_else(|| Error::Unfit("--proxy must be NAME=WAY or NAME=WAY=COMMAND".into()))?;
        let command = words.next().unwrap_or_default();
        Ok(Proxy {
            name: name.into(),
            command: command.split_whitespace().map(Into::into).collect(),
            files: Default::default(),
            route: RouteOptions {
                via: via.into(),
                ..RouteOptions::default()
            },
            far_end: FarEnd::Plain,
            pids: Vec::new(),
            skip: Default::default(),
        })
    };
    let work = |words: &String| {
        Line::try_parse_from(words.split_whitespace())
            .map(|line| Cell::One(Box::new(line.work)))
            .map_err(|error| Error::Unfit(format!("--work {words:?}: {error}")))
    };
    Ok(Scenario {
        title: "Proxies in turn".into(),
        name: "load".into(),
        rounds: 5,
        duration: Duration::from_secs(2),
        warm_up: Duration::from_millis(300),
        suite: Suite::default(),
        line: LineOptions::default(),
        proxies: options.proxies.iter().map(proxy).collect::<Result<_>>()?,
        works: options.works.iter().map(work).collect::<Result<_>>()?,
        directory: PathBuf::from("."),
    })
}

/// All rounds of a scenario.
async fn contest(scenario: &Scenario, places: &Places<'_>) -> Result<ContestReport> {
    let generators = places.generators.len();
    let ends = Ends::start(
        None,
        scenario.suite,
        [None, None],
        &scenario.line,
        generators,
    )?;
    let watch = Watch::start();
    let own = cpu::CpuClock::of(0)?;
    let mut fleet = Vec::new();
    for (index, spec) in scenario.proxies.iter().enumerate() {
        fleet.push(Running::start(spec, index, scenario, &ends, places).await?);
    }
    let mut cells = Vec::new();
    for cell in &scenario.works {
        let works: Vec<Work> = cell
            .works()
            .iter()
            .map(WorkOptions::resolve)
            .collect::<Result<_>>()?;
        for (name, works) in in_turn(works) {
            cells.push((name, works));
        }
    }
    let plan = Plan {
        works: Vec::new(),
        warm_up: scenario.warm_up,
        duration: scenario.duration,
        interval: scenario.duration,
        patience: Duration::from_secs(10),
    };
    let progress = Progress::new(&scenario.title);
    let mut reports: Vec<_> = cells
        .iter()
        .map(|(name, works)| CellReport::new(name, works, fleet.iter().map(|one| &one.spec)))
        .collect();
    let turns = scenario.rounds * cells.len() * fleet.len();
    let mut turn = 0_usize;
    for round in 0..scenario.rounds {
        for ((name, works), report) in cells.iter().zip(&mut reports) {
            for at in 0..fleet.len() {
                // Who is first changes with the round.
                let index = (at + round) % fleet.len();
                turn += 1;
                progress.name(&format!("{name}: {}", fleet[index].spec.name));
                progress.share(turn as f64 / turns as f64);
                if !fleet[index].spec.skip.contains_key(name) {
                    let outcome = one(&fleet[index], &ends, &plan.of(works.clone())).await?;
                    report.add(index, outcome);
                }
            }
        }
    }
    for ((_, works), report) in cells.iter().zip(&mut reports) {
        let first = &fleet[0];
        let target = ends.target(first.spec.far_end);
        let plan = plan.of(works.clone());
        // Only where a direct connection does the same work at both ends.
        if (first.spec.far_end == FarEnd::Tls) == first.route.has_tls() && !report.is_idle() {
            report.direct(&ceiling(&ends.bench, &first.route, &target, &plan).await?);
        }
    }
    progress.done();
    let used: f64 = fleet
        .iter()
        .map(|one| one.watched.usage().cpu_seconds)
        .sum();
    Ok(ContestReport::new(
        scenario,
        Machine::here(),
        watch.end(own.used()?.as_secs_f64() + used),
        ends.used(&scenario.line)?,
        reports,
    ))
}

async fn one(running: &Running, ends: &Ends, plan: &Plan) -> Result<Outcome> {
    measure(&ends.bench, &running.route, &running.watched, plan, |_| {}).await
}
