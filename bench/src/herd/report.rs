//! The result: JSON for tools, Markdown for people.

use super::scenario::{Fault, WARM_UP};
use super::tally::Latency;
use super::world::World;
use super::{Herd, Scenario};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A whole run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub(super) herd: Herd,
    pub(super) outcomes: Vec<Outcome>,
}

/// What came of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    scenario: Scenario,
    seconds: u64,
    faults: Vec<String>,
    opens: u64,
    warm: Times,
    cold: Times,
    retried: u64,
    forwarded: u64,
    failed: BTreeMap<String, u64>,
    streams_cut: u64,
    outages: Vec<Outage>,
    handshakes_of_data_in_outages: u64,
    handshakes_of_controls_in_outages: u64,
    dials_without_port: u64,
    cut_by_carrier: u64,
    forgotten_by_nat: u64,
    moved: u64,
    gateways: Vec<Row>,
    pub(super) events: u64,
    /// How often each rule was broken.
    pub broken: BTreeMap<&'static str, u64>,
    /// The first breaks in words.
    pub described: Vec<String>,
}

/// When controls were missing.
#[derive(Clone, Debug, Serialize)]
struct Outage {
    /// After the warm-up.
    from_s: f64,
    seconds: f64,
    most: i64,
}

/// How long opens took.
#[derive(Clone, Debug, Serialize)]
struct Times {
    count: u64,
    ms: [f64; 3],
    round_trips: [f64; 3],
}

/// A gateway.
#[derive(Clone, Debug, Serialize)]
struct Row {
    controls: usize,
    controls_peak: usize,
    parked: usize,
    parked_peak: usize,
    mib_peak: f64,
    handshakes: u64,
    handshakes_peak: u64,
    refused: u64,
    opens: Times,
    failed: u64,
}

/// The quantiles that are shown: p50, p99 and the maximum.
const QUANTILES: [f64; 3] = [0.5, 0.99, 1.0];

impl Times {
    fn of(latency: &Latency) -> Self {
        let quantiles = |histogram: &Histogram<u64>, unit: f64| {
            QUANTILES.map(|each| histogram.value_at_quantile(each) as f64 / unit)
        };
        Self {
            count: latency.micros.len(),
            ms: quantiles(&latency.micros, 1000.0),
            round_trips: quantiles(&latency.trips, 100.0),
        }
    }
}

impl Outcome {
    pub(super) fn of(scenario: Scenario, world: World) -> Self {
        let tally = &world.tally;
        let since = |time: Duration| time.saturating_sub(WARM_UP).as_secs_f64();
        let open = tally
            .missing_since
            .map(|at| (at, world.now(), tally.missing_peak));
        let outages = tally.outages.iter().copied().chain(open);
        let outages = outages.map(|(from, until, most)| Outage {
            from_s: since(from),
            seconds: (until.saturating_sub(from)).as_secs_f64(),
            most,
        });
        let outages = outages.collect();
        let rows = world.gateways.iter().map(|gateway| Row {
            controls: gateway.members.len(),
            controls_peak: gateway.tally.controls_peak,
            parked: gateway.parked,
            parked_peak: gateway.tally.parked_peak,
            mib_peak: gateway.tally.memory_peak as f64 / f64::from(1 << 20),
            handshakes: gateway.tally.handshakes,
            handshakes_peak: gateway.tally.handshakes_peak,
            refused: gateway.tally.refused,
            opens: Times::of(&gateway.tally.opens),
            failed: gateway.tally.failed,
        });
        let gateways = rows.collect();
        let faults = world.plan.faults.iter();
        let faults = faults.map(|(at, fault)| format!("{} s: {}", at.as_secs(), words(*fault)));
        Self {
            scenario,
            seconds: world.plan.length.as_secs(),
            faults: faults.collect(),
            opens: tally.opens,
            warm: Times::of(&tally.warm),
            cold: Times::of(&tally.cold),
            retried: tally.retried,
            forwarded: tally.forwarded,
            failed: tally.failed.clone(),
            streams_cut: tally.streams_cut,
            outages,
            handshakes_of_data_in_outages: tally.data_meanwhile,
            handshakes_of_controls_in_outages: tally.controls_meanwhile,
            dials_without_port: tally.no_port,
            cut_by_carrier: tally.cut,
            forgotten_by_nat: tally.forgotten,
            moved: tally.moved,
            gateways,
            events: tally.events,
            broken: BTreeMap::new(),
            described: Vec::new(),
        }
        .judged(world)
    }

    fn judged(mut self, world: World) -> Self {
        (self.broken, self.described) = world.checks.into_broken();
        self
    }
}

fn words(fault: Fault) -> String {
    match fault {
        Fault::Down(gateway) => format!("gateway {gateway} ends"),
        Fault::Up(gateway) => format!("gateway {gateway} listens"),
        Fault::Cut => "agents are cut off".to_owned(),
        Fault::Heal => "they reach gateways again".to_owned(),
        Fault::Listed(gateway) => format!("gateway {gateway} is listed"),
        Fault::Unlisted(gateway) => format!("gateway {gateway} is not listed any more"),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Herd {
            agents,
            gateways,
            opens,
            handshakes,
            seed,
        } = self.herd;
        writeln!(
            f,
            "# A herd of agents, simulated\n\n\
             - {agents} agents, {gateways} gateways, {opens} opens an hour, {handshakes} \
             handshakes a second at a gateway, seed {seed}: `eyesplice-load herd`\n\
             - simulated, so the same on any machine; what is modelled is in docs/load.md, \
             \"Herd\"\n\
             - memory is by the bounds: 16 KiB for a connection that waits, 24 KiB for a control\n\
             - times of opens are p50 / p99 / maximum, from the client's request; round trips are \
             those of the agent"
        )?;
        for outcome in &self.outcomes {
            outcome.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = serde_json::to_value(self.scenario).unwrap_or_default();
        let name = name.as_str().unwrap_or_default().to_owned();
        writeln!(f, "\n## {name}: {}\n", self.scenario.words())?;
        let faults = if self.faults.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.faults.join("; "))
        };
        writeln!(f, "- {} s after the warm-up{faults}", self.seconds)?;
        let failed: u64 = self.failed.values().sum();
        writeln!(
            f,
            "- {} opens, {} on a waiting connection, {} on a fresh one, {} with a further \
             connection, {} passed on by another gateway; {failed} failed, {} streams cut",
            self.opens,
            self.warm.count,
            self.cold.count,
            self.retried,
            self.forwarded,
            self.streams_cut
        )?;
        for (kind, times) in [("waiting", &self.warm), ("fresh", &self.cold)] {
            writeln!(
                f,
                "- open on a {kind} connection: {} ms, {} round trips",
                Spread(&times.ms),
                Spread(&times.round_trips)
            )?;
        }
        for (why, count) in &self.failed {
            writeln!(f, "- failed: {count}: {why}")?;
        }
        for outage in &self.outages {
            writeln!(
                f,
                "- controls missing from {:.1} s on for {:.1} s, at most {}",
                outage.from_s, outage.seconds, outage.most
            )?;
        }
        writeln!(
            f,
            "- handshakes meanwhile: {} of controls, {} of data connections; {} places moved, {} \
             dials without a port, {} cut by the carrier, {} forgotten by the NAT",
            self.handshakes_of_controls_in_outages,
            self.handshakes_of_data_in_outages,
            self.moved,
            self.dials_without_port,
            self.cut_by_carrier,
            self.forgotten_by_nat
        )?;
        if self.broken.is_empty() {
            writeln!(f, "- all rules held")?;
        }
        for (rule, count) in &self.broken {
            writeln!(f, "- BROKEN {count} times: {rule}")?;
        }
        writeln!(
            f,
            "\n| Gateway | Controls, end / peak | Waiting, end / peak | Memory peak, MiB | \
             Handshakes | Peak a second | Refused | Opens | Failed | Open, ms | Round trips |\n\
             |---|---|---|---|---|---|---|---|---|---|---|"
        )?;
        for (index, row) in self.gateways.iter().enumerate() {
            writeln!(
                f,
                "| {index} | {} / {} | {} / {} | {:.1} | {} | {} | {} | {} | {} | {} | {} |",
                row.controls,
                row.controls_peak,
                row.parked,
                row.parked_peak,
                row.mib_peak,
                row.handshakes,
                row.handshakes_peak,
                row.refused,
                row.opens.count,
                row.failed,
                Spread(&row.opens.ms),
                Spread(&row.opens.round_trips)
            )?;
        }
        Ok(())
    }
}

/// Quantiles.
struct Spread<'a>(&'a [f64; 3]);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, high, most] = self.0;
        write!(f, "{median:.1} / {high:.1} / {most:.1}")
    }
}
