//! Runs workloads over a route for a while, and looks at clients, proxy and generator meanwhile.

use super::{Outcome, Part, Row};
use crate::cpu::CpuClock;
use crate::meter::{Percentiles, Recorder, Usage, Watched, Window};
use crate::origin::Faults;
use crate::route::Route;
use crate::wire::{Content, Side};
use crate::work::{self, Halves, Tally, Task, Work, Workload};
use crate::{Error, Result};
use eyesplice_proto::causes::chain;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What all measurements of a process share.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    /// The pattern.
    pub(crate) content: Arc<Content>,
    /// Numbers streams.
    pub(crate) seeds: Arc<AtomicU64>,
    /// What the far end in this process finds wrong.
    pub(crate) faults: Faults,
    /// Cores that the generator may use.
    pub(crate) cores: usize,
}

/// How long, and how closely.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) works: Vec<Work>,
    /// Work that does not count yet.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Between two looks, and two histograms in the log.
    pub(crate) interval: Duration,
    /// How long streams may take to end once the window is over.
    pub(crate) patience: Duration,
}

impl Plan {
    /// The same for other workloads.
    pub(crate) fn of(&self, works: Vec<Work>) -> Self {
        Self {
            works,
            ..self.clone()
        }
    }
}

/// One workload at work.
pub(super) struct Running {
    work: Arc<Work>,
    side: Side,
    recorder: Arc<Recorder>,
    tally: Arc<Tally>,
}

/// What is counted, at one moment.
#[derive(Clone, Debug)]
struct Look {
    at: Instant,
    /// Bytes and operations of each workload.
    moved: Vec<[u64; 2]>,
    proxy: Usage,
    own: Duration,
}

/// Measures; `tell` hears the share of the time that has passed.
///
/// # Errors
/// If this process cannot measure itself. What fails on streams is part of the outcome.
pub(crate) async fn measure(
    bench: &Bench,
    route: &Arc<Route>,
    watched: &Watched,
    plan: &Plan,
    tell: impl Fn(f64),
) -> Result<Outcome> {
    bench.faults.take();
    if let [one] = plan.works.as_slice()
        && one.workload == Workload::Idle
    {
        return park(bench, route, watched, plan, one, tell).await;
    }
    let early = Window::new(Duration::ZERO, Duration::ZERO);
    let mut runs: Vec<_> = plan
        .works
        .iter()
        .map(|work| Running::new(work, bench, early))
        .collect();
    let opened = match gathered(bench, route, &runs).await {
        Ok(opened) => opened,
        Err(error) => {
            return Ok(Outcome {
                failures: vec![chain(&error)],
                ..Outcome::default()
            });
        }
    };
    let window = Window::new(plan.warm_up, plan.duration);
    for run in &mut runs {
        run.recorder = Arc::new(Recorder::new(window.counts));
    }
    let mut tasks = JoinSet::new();
    for (run, opened) in runs.iter().zip(opened) {
        let mut opened = opened.into_iter();
        for index in 0..run.work.connections {
            let task = run.task(bench, route, window, index);
            let name = task.work.name.clone();
            match opened.next() {
                None => tasks.spawn(async move { (work::run(task).await, name) }),
                Some(halves) => {
                    tasks.spawn(async move { (work::go_on(&task, halves).await, name) })
                }
            };
        }
    }
    let mut failures = Vec::new();
    let watch = async {
        tokio::time::sleep_until(window.counts.into()).await;
        let first = Look::now(&runs, watched)?;
        let mut looks = vec![first];
        let mut logs = vec![Vec::new(); runs.len()];
        for run in &runs {
            run.recorder.rotate(window.counts);
        }
        let mut next = window.counts;
        while next < window.ends {
            next = (next + plan.interval).min(window.ends);
            tokio::time::sleep_until(next.into()).await;
            looks.push(Look::now(&runs, watched)?);
            for (run, log) in runs.iter().zip(&mut logs) {
                log.push(run.recorder.rotate(Instant::now()));
            }
            tell((next - window.counts).as_secs_f64() / plan.duration.as_secs_f64());
        }
        Ok::<_, Error>((looks, logs))
    };
    tokio::pin!(watch);
    let (looks, mut logs) = loop {
        tokio::select! {
            biased;
            watched = &mut watch => break watched?,
            Some(ended) = tasks.join_next() => note(ended, &mut failures),
        }
    };
    finish(&mut tasks, plan, &mut failures).await;
    failures.extend(bench.faults.take());
    for (run, log) in runs.iter().zip(&mut logs) {
        log.push(run.recorder.rotate(Instant::now()));
    }
    Ok(outcome(bench, &runs, &looks, logs, watched, failures))
}

/// The streams of each work that gathers; none of the others.
pub(super) async fn gathered(
    bench: &Bench,
    route: &Arc<Route>,
    runs: &[Running],
) -> Result<Vec<Vec<Halves>>> {
    let early = Window::new(Duration::ZERO, Duration::ZERO);
    let mut opened = Vec::with_capacity(runs.len());
    for run in runs {
        opened.push(match run.work.gather {
            true => work::gather(&run.task(bench, route, early, 0)).await?,
            false => Vec::new(),
        });
    }
    Ok(opened)
}

/// Opens one stream, sees a byte pass each way, and ends it.
///
/// # Errors
/// If that is not possible.
pub(crate) async fn probe(bench: &Bench, route: &Arc<Route>) -> Result<()> {
    let window = Window::new(Duration::ZERO, Duration::ZERO);
    let task = Running::new(&Work::probe(), bench, window).task(bench, route, window, 0);
    work::once(&task, window.begins).await
}

/// Waits until all streams have ended, or patience has.
async fn finish(
    tasks: &mut JoinSet<(Result<()>, String)>,
    plan: &Plan,
    failures: &mut Vec<String>,
) {
    let deadline = tokio::time::Instant::now() + plan.patience;
    while !tasks.is_empty() {
        match tokio::time::timeout_at(deadline, tasks.join_next()).await {
            Ok(Some(ended)) => note(ended, failures),
            Ok(None) => return,
            Err(_) => {
                let names: Vec<_> = plan.works.iter().map(|work| work.name.as_str()).collect();
                let stuck = Error::Stuck {
                    streams: tasks.len(),
                    work: names.join(", "),
                    seconds: plan.patience.as_secs(),
                };
                failures.push(stuck.to_string());
                tasks.shutdown().await;
            }
        }
    }
}

fn note(
    ended: std::result::Result<(Result<()>, String), tokio::task::JoinError>,
    failures: &mut Vec<String>,
) {
    match ended {
        Ok((Ok(()), _)) => {}
        Ok((Err(error), name)) => failures.push(format!("{name}: {}", chain(&error))),
        Err(error) => failures.push(error.to_string()),
    }
}

impl Running {
    pub(super) fn new(work: &Work, bench: &Bench, window: Window) -> Self {
        Self {
            work: Arc::new(work.clone()),
            side: Side::new("client", Arc::clone(&bench.content)),
            recorder: Arc::new(Recorder::new(window.counts)),
            tally: Arc::default(),
        }
    }

    fn task(&self, bench: &Bench, route: &Arc<Route>, window: Window, index: usize) -> Task {
        Task {
            work: Arc::clone(&self.work),
            route: Arc::clone(route),
            side: self.side.clone(),
            recorder: Arc::clone(&self.recorder),
            tally: Arc::clone(&self.tally),
            seeds: Arc::clone(&bench.seeds),
            window,
            index,
        }
    }

    pub(super) fn moved(&self) -> [u64; 2] {
        let bytes = self.side.moved.load(Ordering::Relaxed);
        [bytes, self.recorder.operations()]
    }

    fn part(&self, [bytes, operations]: [u64; 2]) -> Part {
        let [latency, service] = self.recorder.totals();
        let [full, resumed] = self.tally.handshakes();
        Part {
            work: Work::clone(&self.work),
            operations,
            never_sent: self.recorder.never_sent(),
            bytes,
            streams: self.tally.streams(),
            full_handshakes: full,
            resumed_handshakes: resumed,
            latency: Percentiles::of(&latency),
            service: Percentiles::of(&service),
            log: Vec::new(),
            histogram: Some(latency),
        }
    }
}

impl Look {
    fn now(runs: &[Running], watched: &Watched) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            moved: runs.iter().map(Running::moved).collect(),
            proxy: watched.usage(),
            own: CpuClock::of(0)?.used()?,
        })
    }

    /// What happened since `before`.
    fn row(&self, before: &Self, first: &Self, p99: Vec<f64>) -> Row {
        let seconds = (self.at - before.at).as_secs_f64().max(f64::EPSILON);
        let moved = |which: usize| {
            let sum = |look: &Self| look.moved.iter().map(|moved| moved[which]).sum::<u64>();
            (sum(self) - sum(before)) as f64 / seconds
        };
        Row {
            at: (self.at - first.at).as_secs_f64(),
            gib_per_second: moved(0) / (1_u64 << 30) as f64,
            operations_per_second: moved(1),
            proxy_cores: self.proxy.since(before.proxy).cpu_seconds / seconds,
            generator_cores: (self.own - before.own).as_secs_f64() / seconds,
            rss: self.proxy.rss,
            fds: self.proxy.fds,
            p99,
        }
    }
}

fn outcome(
    bench: &Bench,
    runs: &[Running],
    looks: &[Look],
    logs: Vec<Vec<crate::meter::Interval>>,
    watched: &Watched,
    failures: Vec<String>,
) -> Outcome {
    let (Some(first), Some(last)) = (looks.first(), looks.last()) else {
        return Outcome::default();
    };
    let rows = looks
        .windows(2)
        .enumerate()
        .map(|(index, pair)| {
            let p99 = logs
                .iter()
                .filter_map(|log| Some(Percentiles::of(&log.get(index)?.latency).p99));
            pair[1].row(&pair[0], first, p99.collect())
        })
        .collect();
    let parts = runs
        .iter()
        .zip(logs)
        .enumerate()
        .map(|(index, (run, log))| {
            let of = |which: usize| last.moved[index][which] - first.moved[index][which];
            Part {
                log,
                ..run.part([of(0), of(1)])
            }
        })
        .collect();
    Outcome {
        seconds: (last.at - first.at).as_secs_f64(),
        parts,
        proxy: (!watched.is_empty()).then(|| last.proxy.since(first.proxy)),
        peak_rss: looks.iter().map(|look| look.proxy.rss).max().unwrap_or(0),
        generator_seconds: (last.own - first.own).as_secs_f64(),
        generator_cores: bench.cores,
        rows,
        memory: Vec::new(),
        failures,
    }
}

/// The idle workload alone: its time is what opening takes, and then the duration.
async fn park(
    bench: &Bench,
    route: &Arc<Route>,
    watched: &Watched,
    plan: &Plan,
    work: &Work,
    tell: impl Fn(f64),
) -> Result<Outcome> {
    let window = Window::new(Duration::ZERO, Duration::ZERO);
    let run = Running::new(work, bench, window);
    let runs = [run];
    let before = Look::now(&runs, watched)?;
    let task = runs[0].task(bench, route, window, 0);
    let streams = work.connections.max(1) as f64;
    let step = |opened: usize| tell(opened as f64 / streams);
    let parked = work::park(&task, watched, plan.duration, step).await;
    let after = Look::now(&runs, watched)?;
    let mut failures = bench.faults.take();
    let memory = match parked {
        Ok(points) => points,
        Err(error) => {
            failures.insert(0, format!("{}: {}", work.name, chain(&error)));
            Vec::new()
        }
    };
    let peak = memory.iter().map(|point| point.proxy.rss).max();
    let logs = vec![vec![runs[0].recorder.rotate(Instant::now())]];
    Ok(Outcome {
        peak_rss: peak.unwrap_or(0),
        memory,
        ..outcome(bench, &runs, &[before, after], logs, watched, failures)
    })
}
