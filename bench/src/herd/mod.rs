//! A herd of agents and their gateways, simulated: the state machines of the tunnel that run in
//! production, with a world around them whose events have times and no sockets.
//!
//! A world is a function of its options: the same seed gives the same result on any machine. What
//! an agent, a gateway and the network do is modelled as the engine does it; what they *decide* is
//! proto's: [`Opening`](eyesplice_proto::tunnel::open::Opening), `PoolPolicy`, `Backoff`,
//! `SeenIds`, `rank`, `hold` and `Patience`, and at the door the engine's
//! [`Turns`](eyesplice_dataplane::strangers::Turns).

mod agent;
mod arena;
mod checks;
mod clients;
mod doors;
mod entities;
mod faults;
mod gateway;
mod network;
mod opens;
mod queue;
mod report;
mod scenario;
mod tally;
#[cfg(test)]
mod tests;
mod world;

pub use report::{Outcome, Report};
pub use scenario::Scenario;

use crate::{Error, Result, results};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use world::World;

/// What is simulated.
#[derive(Args, Clone, Debug)]
pub struct Options {
    #[command(flatten)]
    herd: Herd,
    /// One scenario, which may be repeated [default: all]
    #[arg(long)]
    scenario: Vec<Scenario>,
    /// Writes `DATE-herd.json` and `DATE-herd.md` into this directory
    #[arg(long)]
    output: Option<PathBuf>,
}

/// How many there are.
#[derive(Args, Clone, Copy, Debug, Serialize)]
pub struct Herd {
    /// Agent processes
    #[arg(long, default_value_t = 100_000, value_parser = at_least_one)]
    pub agents: usize,
    /// Gateways
    #[arg(long, default_value_t = 20, value_parser = at_least_one)]
    pub gateways: usize,
    /// Opens an hour, of all agents together
    #[arg(long, default_value_t = 1_000_000)]
    pub opens: u64,
    /// Handshakes a second that a gateway begins
    #[arg(long, default_value_t = 1_000)]
    pub handshakes: u32,
    /// Decides all that is random
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

fn at_least_one(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(error) => Err(format!("{error}")),
    }
}

/// Simulates each scenario, and prints what came of it.
///
/// # Errors
/// If what must hold does not, or results cannot be written.
pub fn run(options: &Options) -> Result<()> {
    let all = Scenario::value_variants();
    let chosen = if options.scenario.is_empty() {
        all
    } else {
        &options.scenario
    };
    let mut outcomes = Vec::new();
    for scenario in chosen {
        let began = std::time::Instant::now();
        let outcome = simulate(options.herd, *scenario);
        eprintln!(
            "{scenario:?}: {} events in {:.1} s",
            outcome.events,
            began.elapsed().as_secs_f64()
        );
        outcomes.push(outcome);
    }
    let report = Report {
        herd: options.herd,
        outcomes,
    };
    results::show(&report, "herd", options.output.as_deref())?;
    let broken: Vec<_> = report
        .outcomes
        .iter()
        .flat_map(|each| &each.described)
        .collect();
    match broken.first() {
        None => Ok(()),
        Some(first) => Err(Error::Void {
            failures: broken.len(),
            first: (*first).clone(),
        }),
    }
}

/// Simulates one scenario.
#[must_use]
pub fn simulate(herd: Herd, scenario: Scenario) -> Outcome {
    let mut world = World::new(herd, scenario.plan(herd.gateways));
    world.run();
    Outcome::of(scenario, world)
}
