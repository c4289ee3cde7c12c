//! The report of one run: a table, JSON, HdrHistogram logs, SVG plots.

mod log;
mod plot;

use super::{Measured, Outcome, Part, Row};
use crate::machine::{Machine, Quiet};
use crate::meter::{Limit, Percentiles};
use crate::relay::Used;
use crate::route::RouteOptions;
use crate::{Attempt, Error, Result};
use plot::{Axis, Chart, Series};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunReport {
    pub(crate) machine: Machine,
    pub(crate) quiet: Quiet,
    pub(crate) route: RouteOptions,
    pub(crate) far_end: Used,
    pub(crate) runs: Vec<Entry>,
    #[serde(skip)]
    written: SystemTime,
}

/// One measurement of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) limit: Limit,
    pub(crate) measured: Measured,
    /// The same over the direct connection; none where it says nothing.
    pub(crate) direct: Option<Measured>,
    pub(crate) outcome: Outcome,
}

impl RunReport {
    /// Of measurements, each with its name, ceiling and limit.
    pub(crate) fn new(
        machine: Machine,
        quiet: Quiet,
        route: &RouteOptions,
        far_end: Used,
        runs: Vec<(String, Outcome, Option<Outcome>, Limit)>,
    ) -> Self {
        let runs = runs
            .into_iter()
            .map(|(name, outcome, direct, limit)| Entry {
                name,
                limit,
                measured: outcome.measured(),
                direct: direct.map(|direct| direct.measured()),
                outcome,
            })
            .collect();
        Self {
            machine: Machine {
                strategy: "the proxy's own".into(),
                ..machine
            },
            quiet,
            route: route.clone(),
            far_end,
            runs,
            written: SystemTime::now(),
        }
    }

    /// As JSON.
    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(std::io::Error::from)
            .attempt("write the report as JSON")
    }

    /// An error if anything failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        let failures: Vec<_> = self
            .runs
            .iter()
            .flat_map(|run| &run.outcome.failures)
            .collect();
        match failures.first() {
            None => Ok(()),
            Some(first) => Err(Error::Void {
                failures: failures.len(),
                first: (*first).clone(),
            }),
        }
    }

    /// Writes all files; returns their paths.
    pub(crate) fn write(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(directory).attempt(format!("make {}", directory.display()))?;
        let mut files = vec![
            (
                "report.json".to_string(),
                (self.json()? + "\n").into_bytes(),
            ),
            ("report.md".to_string(), self.to_string().into_bytes()),
        ];
        for (index, run) in self.runs.iter().enumerate() {
            for part in &run.outcome.parts {
                if part.latency.count == 0 {
                    continue;
                }
                let length = Duration::from_secs_f64(run.outcome.seconds);
                let began = self.written.checked_sub(length).unwrap_or(self.written);
                let name = format!("latency-{}-{}.hlog", index + 1, file_name(&part.work.name));
                files.push((name, log::encode(&part.log, began)?));
            }
        }
        let mut paths = Vec::new();
        for (name, bytes) in files {
            let path = directory.join(name);
            std::fs::write(&path, bytes).attempt(format!("write {}", path.display()))?;
            paths.push(path);
        }
        for (name, chart) in self.charts() {
            if !chart.is_empty() {
                let path = directory.join(name);
                chart.write(&path)?;
                paths.push(path);
            }
        }
        Ok(paths)
    }

    fn charts(&self) -> [(&'static str, Chart<'_>); 4] {
        let over_time = |value: fn(&Row) -> f64| {
            let of = |run: &Entry| Series {
                name: run.name.clone(),
                points: run
                    .outcome
                    .rows
                    .iter()
                    .map(|row| (row.at, value(row)))
                    .collect(),
            };
            self.runs.iter().map(of).collect()
        };
        let mut percentiles = Vec::new();
        for run in &self.runs {
            for part in run
                .outcome
                .parts
                .iter()
                .filter(|part| part.latency.count > 0)
            {
                percentiles.push(Series {
                    name: format!("{} of {}", part.work.name, run.name),
                    points: curve(part),
                });
            }
        }
        let memory = |run: &Entry| Series {
            name: run.name.clone(),
            points: run
                .outcome
                .memory
                .iter()
                .map(|point| {
                    (
                        point.streams as f64,
                        point.proxy.rss as f64 / f64::from(1 << 20),
                    )
                })
                .collect(),
        };
        let chart = |title, x, y, axis, series| Chart {
            title,
            x,
            y,
            axis,
            series,
        };
        [
            (
                "throughput.svg",
                chart(
                    "Payload",
                    "seconds",
                    "GiB/s",
                    Axis::Linear,
                    over_time(|row| row.gib_per_second),
                ),
            ),
            (
                "operations.svg",
                chart(
                    "Operations",
                    "seconds",
                    "1/s",
                    Axis::Linear,
                    over_time(|row| row.operations_per_second),
                ),
            ),
            (
                "latency.svg",
                chart("Latency", "percentile", "µs", Axis::Nines, percentiles),
            ),
            (
                "memory.svg",
                chart(
                    "Memory of the proxy",
                    "idle streams",
                    "MiB resident",
                    Axis::Linear,
                    self.runs.iter().map(memory).collect(),
                ),
            ),
        ]
    }
}

/// The percentile curve of a workload, up to where one operation in ten thousand counts.
fn curve(part: &Part) -> Vec<(f64, f64)> {
    let Some(histogram) = &part.histogram else {
        return Vec::new();
    };
    (0..=80)
        .map(|step| {
            let nines = f64::from(step) / 20.0;
            let quantile = 1.0 - 10_f64.powf(-nines);
            (nines, histogram.value_at_quantile(quantile) as f64 / 1000.0)
        })
        .collect()
}

/// A name as part of a file's.
fn file_name(name: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '-'
        }
    };
    name.chars().map(plain).collect()
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Load through {}\n", self.route.via)?;
        self.machine.fmt(f)?;
        self.quiet.fmt(f)?;
        self.far_end.fmt(f)?;
        self.runs.iter().try_for_each(|run| run.fmt(f))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outcome, measured) = (&self.outcome, &self.measured);
        writeln!(f, "\n## {}\n", self.name)?;
        writeln!(f, "- limited by {}", self.limit.words())?;
        write!(
            f,
            "- {:.2} s; {:.3} GiB/s, {:.0} operations/s",
            outcome.seconds, measured.gib_per_second, measured.operations_per_second
        )?;
        match &self.direct {
            Some(direct) => writeln!(
                f,
                "; directly {:.3} GiB/s, {:.0} operations/s",
                direct.gib_per_second, direct.operations_per_second
            )?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "- generator: {:.0} % of {} cores",
            100.0 * measured.generator_share,
            outcome.generator_cores
        )?;
        if let Some(proxy) = &outcome.proxy {
            writeln!(
                f,
                "- proxy: {:.3} CPU s ({:.2} of it kernel workers), {:.3} CPU s/GiB, \
                 {:.1} CPU µs/operation, {} switches; {} MiB resident at most, {} descriptors, {} threads of {} processes",
                proxy.cpu_seconds,
                proxy.kernel_worker_seconds,
                measured.cpu_per_gib,
                measured.cpu_us_per_operation,
                proxy.voluntary_switches + proxy.involuntary_switches,
                outcome.peak_rss >> 20,
                proxy.fds,
                proxy.threads,
                proxy.processes
            )?;
        }
        if !outcome.memory.is_empty() {
            writeln!(
                f,
                "- {:.0} bytes resident per idle stream",
                measured.rss_per_stream
            )?;
        }
        if outcome.parts.iter().any(|part| part.latency.count > 0) {
            self.latencies(f)?;
        }
        self.remarks(f)
    }
}

impl Entry {
    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| workload | connections | operations | µs \
             | p50 | p75 | p90 | p99 | p99.9 | p99.99 | max |"
        )?;
        writeln!(f, "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|--:|")?;
        for part in self
            .outcome
            .parts
            .iter()
            .filter(|part| part.latency.count > 0)
        {
            row(f, part, "latency", &part.latency)?;
            if part.work.rate.is_some() && part.service != part.latency {
                row(f, part, "service", &part.service)?;
            }
        }
        Ok(())
    }

    fn remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcome = &self.outcome;
        for part in &outcome.parts {
            if part.full_handshakes + part.resumed_handshakes > 0 {
                writeln!(
                    f,
                    "\n{}: {} full handshakes, {} resumed.",
                    part.work.name, part.full_handshakes, part.resumed_handshakes
                )?;
            }
            if part.never_sent > 0 {
                writeln!(
                    f,
                    "\n{}: {} operations were due and never began; they count with their wait.",
                    part.work.name, part.never_sent
                )?;
            }
        }
        if let Some(first) = outcome.failures.first() {
            writeln!(
                f,
                "\n**VOID: {} failures, the first: {first}**",
                outcome.failures.len()
            )?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, part: &Part, kind: &str, times: &Percentiles) -> fmt::Result {
    writeln!(
        f,
        "| {} | {} | {} | {kind} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
        part.work.name,
        part.work.connections,
        part.operations,
        times.p50,
        times.p75,
        times.p90,
        times.p99,
        times.p99_9,
        times.p99_99,
        times.max
    )
}
