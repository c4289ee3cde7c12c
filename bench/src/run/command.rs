//! `eyesplice-load run`.

use super::report::RunReport;
use super::{Bench, Outcome, Plan, measure};
use crate::cpu;
use crate::crypto::Group;
use crate::identity::{Identity, Suite};
use crate::machine::{Machine, Watch};
use crate::meter::{Bounds, Limit, Watched, judge};
use crate::origin::Origin;
use crate::progress::Progress;
use crate::relay::{Line, LineOptions, Used};
use crate::route::{Route, RouteOptions};
use crate::wire::Content;
use crate::work::{Work, WorkOptions, Workload};
use crate::{Attempt, Error, Result};
use clap::{Args, Parser, ValueEnum};
use eyesplice_sys::limits;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the direct connection is measured at most, to know the generator's own ceiling.
const CEILING: Duration = Duration::from_secs(2);

/// What `run` is told.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// The first workload
    #[command(flatten)]
    pub work: WorkOptions,
    /// Another workload at the same time, with options as above: --and '--workload log --rate 500'
    #[arg(long = "and", value_name = "OPTIONS")]
    pub others: Vec<String>,
    /// The way to the far end
    #[command(flatten)]
    pub route: RouteOptions,
    /// The far end, HOST:PORT, where `serve` runs [default: one in this process]
    #[arg(long, conflicts_with = "delay")]
    pub target: Option<String>,
    /// What the far end in this process speaks, when the proxy ends or begins TLS [default: as the
    /// client]
    #[arg(long, value_enum)]
    pub far_end: Option<FarEnd>,
    /// Where the far end in this process listens, for a proxy that is told its target beforehand
    #[arg(long, value_name = "ADDRESS", conflicts_with = "target")]
    pub far_end_listen: Option<SocketAddr>,
    /// The line to the far end in this process
    #[command(flatten)]
    pub line: LineOptions,
    /// How long to measure
    #[arg(long, short, default_value = "10s", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Work before the measurement that does not count
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub warm_up: Duration,
    /// Between two rows of the report and two histograms of the log
    #[arg(long, default_value = "1s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// How long streams may take to end; what has not ended then has lost bytes
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub patience: Duration,
    /// Processes of the proxy, to read what they and their children use
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub proxy_pid: Vec<u32>,
    /// Cores that the generator is bound to [default: all]
    #[arg(long, value_name = "CORE", value_delimiter = ',')]
    pub cores: Vec<usize>,
    /// Directory with ca.crt, leaf.crt and leaf.key, as `certificates` makes it [default: made for each run]
    #[arg(long, value_name = "DIRECTORY")]
    pub certificates: Option<PathBuf>,
    /// Cipher suite of TLS
    #[arg(long, value_enum, default_value_t)]
    pub suite: Suite,
    /// Leaves out the direct connection, which tells the generator's own ceiling
    #[arg(long)]
    pub no_ceiling: bool,
    /// Writes report.md, report.json, HdrHistogram logs and SVG plots into this directory
    #[arg(long, value_name = "DIRECTORY")]
    pub report: Option<PathBuf>,
    /// Prints JSON and not a table
    #[arg(long)]
    pub json: bool,
}

/// What the far end speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FarEnd {
    /// Plain TCP.
    Plain,
    /// TLS.
    Tls,
}

#[derive(Parser)]
#[command(no_binary_name = true)]
struct Other {
    #[command(flatten)]
    work: WorkOptions,
}

/// The far end in this process, and what it needs.
pub(crate) struct Ends {
    pub(crate) bench: Bench,
    pub(crate) identity: Identity,
    pub(crate) origin: Origin,
    /// Where it takes TLS streams that agree on keys with another group than X25519.
    groups: BTreeMap<Group, SocketAddr>,
    /// Between proxy and far end.
    pub(crate) line: Option<Line>,
    pub(crate) directory: tempfile::TempDir,
}

impl Ends {
    /// Starts a far end with certificates of its own, or with those in a directory.
    pub(crate) fn start(
        certificates: Option<&Path>,
        suite: Suite,
        listen: [Option<SocketAddr>; 2],
        line: &LineOptions,
        cores: usize,
    ) -> Result<Self> {
        let line = line.lay()?;
        let directory = tempfile::tempdir().attempt("make a temporary directory")?;
        let identity = match certificates {
            Some(path) => Identity::open(path, suite),
            None => {
                let beyond = line.as_ref().map(|line| line.far().to_string());
                Identity::create_for(directory.path(), suite, beyond.as_slice())?
            }
        };
        let content = Arc::new(Content::new());
        let origin = Origin::start(&content, &identity, listen, line.as_ref())?;
        Ok(Self {
            bench: Bench {
                content,
                seeds: Arc::default(),
                faults: origin.faults.clone(),
                cores,
            },
            identity,
            origin,
            groups: BTreeMap::new(),
            line,
            directory,
        })
    }

    /// Takes TLS streams of a group too: on this address, or on a free port.
    pub(crate) fn offer(&mut self, group: Group, listen: Option<SocketAddr>) -> Result<()> {
        if group != Group::default() && !self.groups.contains_key(&group) {
            let identity = self.identity.clone().exchanging(group.into());
            let address = self.origin.also(&identity, listen, self.line.as_ref())?;
            self.groups.insert(group, address);
        }
        Ok(())
    }

    /// What became of the line to the far end.
    pub(crate) fn used(&self, line: &LineOptions) -> Result<Used> {
        Ok(Used {
            line: line.clone(),
            lost: self.line.as_ref().map_or(Ok(0), Line::lost)?,
        })
    }

    /// Where the far end in this process is, for clients and proxies with a group that it offers.
    pub(crate) fn target(&self, far_end: FarEnd, group: Option<Group>) -> String {
        let other = group.and_then(|group| self.groups.get(&group));
        match far_end {
            FarEnd::Plain => self.origin.plain.to_string(),
            FarEnd::Tls => other.unwrap_or(&self.origin.tls).to_string(),
        }
    }
}

/// A runtime on as many threads as there are cores.
pub(crate) fn runtime(cores: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = if cores > 1 {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder
        .worker_threads(cores.max(1))
        .enable_all()
        .build()
        .attempt("make a tokio runtime")
}

/// Measures and reports.
///
/// # Errors
/// If it cannot measure, or if a stream failed or a byte was wrong.
pub fn run(options: &RunOptions) -> Result<()> {
    limits::raise_open_files().attempt("raise the limit of open files")?;
    if !options.cores.is_empty() {
        cpu::pin(&options.cores)?;
    }
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let report = runtime(cores)?.block_on(attempt(options, cores))?;
    if options.json {
        println!("{}", report.json()?);
    } else {
        print!("{report}");
    }
    if let Some(directory) = &options.report {
        for path in report.write(directory)? {
            eprintln!("wrote {}", path.display());
        }
    }
    report.verdict()
}

/// The same without a report on paper.
pub(crate) async fn attempt(options: &RunOptions, cores: usize) -> Result<RunReport> {
    let phases = phases(options)?;
    let far_end = options.far_end.unwrap_or(match options.route.tls {
        true => FarEnd::Tls,
        false => FarEnd::Plain,
    });
    let group = options.route.group.unwrap_or_default();
    let [plain, x25519, other] = match (far_end, group) {
        (FarEnd::Plain, _) => [options.far_end_listen, None, None],
        (FarEnd::Tls, Group::X25519) => [None, options.far_end_listen, None],
        (FarEnd::Tls, _) => [None, None, options.far_end_listen],
    };
    let mut ends = Ends::start(
        options.certificates.as_deref(),
        options.suite,
        [plain, x25519],
        &options.line,
        cores,
    )?;
    ends.offer(group, other)?;
    let target = match &options.target {
        Some(target) => target.clone(),
        None => ends.target(far_end, Some(group)),
    };
    let route = Arc::new(Route::new(&options.route, &target, &ends.identity)?);
    let watched = Watched::new(options.proxy_pid.clone());
    let watch = Watch::start();
    let before = watched.usage().cpu_seconds;
    let plan = Plan {
        works: Vec::new(),
        warm_up: options.warm_up,
        duration: options.duration,
        interval: options.interval.max(Duration::from_millis(10)),
        patience: options.patience,
    };
    let same_both_ends = (far_end == FarEnd::Tls) == options.route.tls;
    let mut runs = Vec::new();
    for (name, works) in phases {
        let plan = plan.of(works);
        let idle = plan
            .works
            .iter()
            .any(|work| work.workload == Workload::Idle);
        let none = route.is_direct() || route.follows_a_log();
        let ceiling = if options.no_ceiling || none || !same_both_ends || idle {
            None
        } else {
            Some(ceiling(&ends.bench, &route, &target, &plan).await?)
        };
        let progress = Progress::new(&name);
        let outcome = measure(&ends.bench, &route, &watched, &plan, |share| {
            progress.share(share);
        })
        .await?;
        progress.done();
        let limit = limit(&outcome, ceiling.as_ref());
        runs.push((name, outcome, ceiling, limit));
    }
    let own = cpu::CpuClock::of(0)?.used()?.as_secs_f64();
    let proxies = watched.usage().cpu_seconds - before;
    Ok(RunReport::new(
        Machine::here(),
        watch.end(own + proxies),
        &options.route,
        ends.used(&options.line)?,
        runs,
    ))
}

/// What is done in turn: workloads together, except that stall is first done without its stalled
/// readers.
fn phases(options: &RunOptions) -> Result<Vec<(String, Vec<Work>)>> {
    let mut works = vec![options.work.resolve()?];
    for line in &options.others {
        let other = Other::try_parse_from(line.split_whitespace())
            .map_err(|error| Error::Unfit(format!("--and {line:?}: {error}")))?;
        works.push(other.work.resolve()?);
    }
    Ok(in_turn(works))
}

/// Splits workloads into what is measured in turn.
pub(crate) fn in_turn(works: Vec<Work>) -> Vec<(String, Vec<Work>)> {
    let name = |works: &[Work]| {
        let names: Vec<_> = works.iter().map(|work| work.name.as_str()).collect();
        names.join(" + ")
    };
    let Some(stall) = works.iter().find(|work| work.workload == Workload::Stall) else {
        return vec![(name(&works), works)];
    };
    let mut beside = works.clone();
    beside.push(stall.stalled());
    vec![
        (format!("{}, alone", name(&works)), works),
        (name(&beside), beside),
    ]
}

/// The same work without the proxy.
pub(crate) async fn ceiling(
    bench: &Bench,
    route: &Arc<Route>,
    target: &str,
    plan: &Plan,
) -> Result<Outcome> {
    let direct = Arc::new(route.direct(target));
    let short = Plan {
        warm_up: plan.warm_up.min(CEILING / 4),
        duration: plan.duration.min(CEILING),
        ..plan.clone()
    };
    let outcome = measure(bench, &direct, &Watched::default(), &short, |_| {}).await?;
    match outcome.failures.first() {
        None => Ok(outcome),
        Some(first) => Err(Error::Void {
            failures: outcome.failures.len(),
            first: format!("{first} (on the direct connection; --no-ceiling leaves it out)"),
        }),
    }
}

/// What limited a run.
fn limit(outcome: &Outcome, ceiling: Option<&Outcome>) -> Limit {
    let of_direct = ceiling.map(|ceiling| {
        let (here, there) = (outcome.measured(), ceiling.measured());
        if here.operations_per_second > 0.0 {
            here.operations_per_second / there.operations_per_second.max(f64::EPSILON)
        } else {
            here.gib_per_second / there.gib_per_second.max(f64::EPSILON)
        }
    });
    judge(Bounds {
        generator_share: outcome.generator_share(),
        proxy_cores: outcome.proxy_cores(),
        of_direct,
        done: outcome.done(),
    })
}
