//! The rounds of a contest: every cell with every proxy, in an order that changes.

use super::fleet::Running;
use super::places::Places;
use super::report::{CellReport, ContestReport};
use super::scenario::{Proxy, Scenario};
use crate::cpu::CpuClock;
use crate::machine::{Machine, Watch};
use crate::progress::Progress;
use crate::route::{Route, RouteOptions};
use crate::run::{Ends, FarEnd, Measured, Outcome, Part, Plan, ceiling, in_turn, measure};
use crate::work::{Work, WorkOptions, Workload};
use crate::{Attempt, Result};
use eyesplice_proto::causes::chain;
use eyesplice_sys::limits;
use std::collections::HashMap;
use std::time::Duration;

/// How long streams may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same, where thousands that were gathered end at once.
const PATIENCE_WITH_MANY: Duration = Duration::from_secs(60);

/// Descriptors of a process that are no streams: standard ones, listeners, rings, libraries, files.
const SPARE_FILES: u64 = 128;

/// What all turns share.
struct Field<'a> {
    scenario: &'a Scenario,
    places: &'a Places,
    ends: Ends,
}

/// A proxy and how it takes part.
struct Corner<'a> {
    spec: &'a Proxy,
    running: Option<Running>,
    /// Why it does not run though it should.
    absent: Option<String>,
    /// What it said of its version.
    version: Option<String>,
    /// CPU seconds of those of its processes that have ended.
    used: f64,
}

/// All rounds of a scenario.
pub(super) async fn contest(scenario: &Scenario, places: &Places) -> Result<ContestReport> {
    let cores = places.generators.len();
    let mut ends = Ends::start(None, scenario.suite, [None, None], &scenario.line, cores)?;
    for group in scenario.proxies.iter().filter_map(|one| one.route.group) {
        ends.offer(group, None)?;
    }
    let field = Field {
        scenario,
        places,
        ends,
    };
    let watch = Watch::start();
    let own = CpuClock::of(0)?;
    let mut corners: Vec<_> = scenario.proxies.iter().map(Corner::new).collect();
    if !scenario.fresh {
        for corner in &mut corners {
            corner.start(&field).await;
        }
    }
    let mut cells = cells(scenario)?;
    let progress = Progress::new(&scenario.title);
    let turns = scenario.rounds * cells.len() * corners.len();
    let mut turn = 0_usize;
    for round in 0..scenario.rounds {
        for cell in &mut cells {
            for at in 0..corners.len() {
                // Who is first changes with the round.
                let index = (at + round) % corners.len();
                turn += 1;
                let corner = &mut corners[index];
                progress.name(&format!("{}: {}", cell.name, corner.spec.name));
                progress.share(turn as f64 / turns as f64);
                if !corner.spec.skip.contains_key(&cell.name) {
                    match corner.turn(&field, &cell.works).await? {
                        Ok((measured, failures)) => cell.add(index, measured, failures),
                        Err(why) => cell.fail(index, why),
                    }
                }
            }
            if cell.wants_direct() {
                field.direct(cell).await?;
            }
        }
    }
    progress.done();
    let used: f64 = corners.iter().map(Corner::used).sum();
    let versions = corners.iter().filter_map(|corner| {
        let version = corner.version.clone()?;
        Some((corner.spec.name.clone(), version))
    });
    let report = ContestReport::new(
        scenario,
        places,
        Machine::here(),
        watch.end(own.used()?.as_secs_f64() + used),
        field.ends.used(&scenario.line)?,
        cells,
    );
    Ok(ContestReport {
        versions: versions.collect(),
        ..report
    })
}

/// The cells of a scenario, with what is measured in turn split up.
fn cells(scenario: &Scenario) -> Result<Vec<CellReport>> {
    let limit = limits::open_files().attempt("read the limit of open files")?;
    // Two descriptors for each stream, both in a proxy and in this process, which is both ends.
    let fits = usize::try_from(limit.soft.saturating_sub(SPARE_FILES) / 2).unwrap_or(usize::MAX);
    let mut cells = Vec::new();
    for cell in &scenario.works {
        let works = cell.works();
        let works: Vec<Work> = works
            .iter()
            .map(WorkOptions::resolve)
            .collect::<Result<_>>()?;
        let mut alone = None;
        for (name, mut works) in in_turn(works) {
            for work in &mut works {
                if work.workload == Workload::Idle {
                    work.connections = work.connections.min(fits);
                }
            }
            let report = CellReport::new(&name, &works, &scenario.proxies, alone.take());
            alone = Some(name);
            cells.push(report);
        }
    }
    Ok(cells)
}

impl Field<'_> {
    fn plan(&self, works: &[Work]) -> Plan {
        let gather = works.iter().any(|work| work.gather);
        Plan {
            works: works.to_vec(),
            warm_up: self.scenario.warm_up,
            duration: self.scenario.duration,
            interval: self.scenario.duration,
            patience: if gather { PATIENCE_WITH_MANY } else { PATIENCE },
        }
    }

    /// The cell without a proxy, where a direct connection does the same work at both ends.
    async fn direct(&self, cell: &mut CellReport) -> Result<()> {
        let Some(first) = self.scenario.proxies.first() else {
            return Ok(());
        };
        if (first.far_end == FarEnd::Tls) != first.route.tls {
            return Ok(());
        }
        let target = self.ends.target(first.far_end, first.route.group);
        let route = RouteOptions {
            via: "direct".into(),
            ..first.route.clone()
        };
        let route = Route::new(&route, &target, &self.ends.identity)?;
        let plan = self.plan(&cell.works);
        let outcome = ceiling(&self.ends.bench, &route.into(), &target, &plan).await?;
        cell.direct.push(outcome.measured());
        Ok(())
    }
}

impl<'a> Corner<'a> {
    fn new(spec: &'a Proxy) -> Self {
        Self {
            spec,
            running: None,
            absent: None,
            version: None,
            used: 0.0,
        }
    }

    async fn start(&mut self, field: &Field<'_>) {
        let Field {
            scenario,
            places,
            ends,
        } = field;
        match Running::start(self.spec, scenario, ends, places).await {
            Ok(running) => {
                self.version.clone_from(&running.version);
                self.running = Some(running);
            }
            Err(error) => {
                eprintln!("{}", chain(&error));
                self.absent = Some(chain(&error));
            }
        }
    }

    /// CPU seconds of its processes so far.
    fn used(&self) -> f64 {
        let running = self.running.as_ref();
        self.used + running.map_or(0.0, |running| running.watched.usage().cpu_seconds)
    }

    /// Its figures and failures in one cell of one round, or why it does not run.
    async fn turn(
        &mut self,
        field: &Field<'_>,
        works: &[Work],
    ) -> Result<std::result::Result<(Measured, Vec<String>), String>> {
        if field.scenario.fresh {
            self.absent = None;
            self.start(field).await;
        }
        let Some(running) = &self.running else {
            return Ok(Err(self.absent.clone().unwrap_or_default()));
        };
        let before = running.watched.threads();
        let plan = field.plan(works);
        let Field { ends, .. } = field;
        let outcome = measure(&ends.bench, &running.route, &running.watched, &plan, |_| {}).await?;
        let measured = Measured {
            busiest_worker: busiest(&before, &running.watched.threads(), self.spec.workers()),
            ..outcome.measured()
        };
        let failures = self.judge(&measured, outcome);
        if field.scenario.fresh {
            self.used = self.used();
            self.running = None;
        }
        Ok(Ok((measured, failures)))
    }

    /// What went wrong, and what was not the work that it should have been.
    fn judge(&self, measured: &Measured, outcome: Outcome) -> Vec<String> {
        let mut failures = outcome.failures;
        let connects = |part: &Part| part.work.workload == Workload::Setup;
        let resumes = self.spec.route.resume && outcome.parts.iter().all(connects);
        if resumes && measured.resumed_share < RESUMED {
            failures.push(format!(
                "only {:.0} % of the handshakes resumed a session: it gives no tickets, or none that last",
                100.0 * measured.resumed_share
            ));
        }
        failures
    }
}

/// Handshakes that resume, of all, where that is what is measured: each client's first has no ticket.
const RESUMED: f64 = 0.9;

/// The share of the busiest thread in what the busiest `workers` threads used; 0 for one worker.
fn busiest(before: &HashMap<u32, f64>, after: &HashMap<u32, f64>, workers: usize) -> f64 {
    if workers < 2 {
        return 0.0;
    }
    let used = |(thread, now): (&u32, &f64)| now - before.get(thread).copied().unwrap_or(0.0);
    let mut used: Vec<_> = after.iter().map(used).collect();
    used.sort_by(|one, other| other.total_cmp(one));
    used.truncate(workers);
    let all: f64 = used.iter().sum();
    let most = used.first().copied().unwrap_or(0.0);
    if all > 0.0 { most / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busiest_worker_has_its_share_of_what_workers_used_in_the_turn() {
        let before = HashMap::from([(1, 10.0), (2, 0.0)]);
        let after = HashMap::from([(1, 13.0), (2, 0.0), (3, 1.0)]);
        assert!((busiest(&before, &after, 2) - 0.75).abs() < 1e-9);
        assert_eq!(busiest(&before, &after, 1), 0.0);
        assert_eq!(busiest(&before, &before, 2), 0.0);
    }
}
