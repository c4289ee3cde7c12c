//! `eyesplice-load ab`.

use super::places::Places;
use super::rounds::contest;
use super::scenario::{Cell, Proxy, Scenario};
use crate::cpu;
use crate::identity::Suite;
use crate::relay::LineOptions;
use crate::route::RouteOptions;
use crate::run::{FarEnd, runtime};
use crate::work::WorkOptions;
use crate::{Attempt, Error, Result, results};
use clap::{Args, Parser};
use eyesplice_sys::limits;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    #[arg(
        long = "work",
        value_name = "OPTIONS",
        allow_hyphen_values = true,
        conflicts_with = "scenario"
    )]
    pub works: Vec<String>,
    /// Rounds; the figures are medians over them [default: the scenario's, or 5]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// How long each proxy works in each round [default: the scenario's, or 2s]
    #[arg(long, short, value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
    /// Only the cell of this name, or, where there is none, cells whose name has this in it; may be repeated
    #[arg(long, value_name = "WORD")]
    pub only: Vec<String>,
    /// Only the proxy of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub among: Vec<String>,
    /// The revision of the gateway that {before} stands for, whose program is in the variable BEFORE
    #[arg(long, value_name = "REVISION")]
    pub before: Option<String>,
    /// The line between proxies and far end; overrules the scenario's
    #[command(flatten)]
    pub line: LineOptions,
    /// Cores of the proxies, one for each worker [default: the last ones]; the generator gets the others
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
    let most = scenario.proxies.iter().map(Proxy::cores).max();
    let places = Places::choose(&cpu::allowed()?, &options.proxy_cores, most.unwrap_or(1))?;
    cpu::pin(&places.generators)?;
    let report = runtime(places.generators.len())?.block_on(async {
        // Listened for before the first proxy starts: what is dropped here ends those that run.
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        tokio::select! {
            report = contest(&scenario, &places) => report,
            _ = interrupt.recv() => Err(Error::Interrupted("SIGINT")),
            _ = terminate.recv() => Err(Error::Interrupted("SIGTERM")),
        }
    })?;
    results::show(&report, &scenario.name, options.output.as_deref())?;
    if let Some(directory) = &options.output {
        let plot = results::path(directory, &scenario.name, "svg");
        report.draw(&plot)?;
        eprintln!("wrote {}", plot.display());
    }
    report.verdict()
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).attempt("listen for signals")
}

fn scenario(options: &ContestOptions) -> Result<Scenario> {
    let mut scenario = match &options.scenario {
        Some(path) => Scenario::read(path)?,
        None => from_words(options)?,
    };
    scenario.rounds = options.rounds.unwrap_or(scenario.rounds).max(1);
    scenario.duration = options.duration.unwrap_or(scenario.duration);
    if let Some(delay) = options.line.delay {
        scenario.line = options.line.clone();
        // Results of several delays lie side by side.
        scenario.name = format!("{}-{}", scenario.name, humantime::format_duration(delay));
    }
    for proxy in &mut scenario.proxies {
        let workers = proxy.workers.unwrap_or(options.proxy_cores.len().max(1));
        proxy.workers = Some(workers);
    }
    if options.before.is_some() && std::env::var_os("BEFORE").is_none() {
        return Err(Error::Unfit(
            "--before needs that revision's gateway in the variable BEFORE".into(),
        ));
    }
    scenario.compare_with(options.before.as_deref())?;
    scenario.keep(&options.among, &options.only)?;
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
            env: Default::default(),
            version: Vec::new(),
            files: Default::default(),
            route: RouteOptions {
                via: via.into(),
                ..RouteOptions::default()
            },
            far_end: FarEnd::Plain,
            pids: Vec::new(),
            workers: None,
            cores: None,
            against: None,
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
        fresh: false,
        proxies: options.proxies.iter().map(proxy).collect::<Result<_>>()?,
        works: options.works.iter().map(work).collect::<Result<_>>()?,
        directory: PathBuf::from("."),
    })
}
