//! 5,000 cuts, of either side, in every mode, over either transport, in every phase and of every kind:
//! what was sent before a cut arrives, and the cut is seen. Where a UNIX socket cannot show it, the
//! stream has its own reason.
//!
//! A failure prints its number; `EYESPLICE_CUTS_NUMBER=n` repeats that cut alone, `EYESPLICE_CUTS_RUNS=n`
//! changes how many there are.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod http;
mod plan;
mod play;

use eyesplice_dataplane::seam::Reason;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::variant::{TCP_TLS13, UNIX_TLS13, can_run};
use plan::{Cell, Chance, Cut, Kind, MODES, Phase, cells};
use play::{Lane, Outcome, Seen, Way};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Cuts in all.
const RUNS: usize = 5_000;

/// Cuts of streams through a tunnel.
const TUNNEL_RUNS: usize = 1_000;

/// Every mode over either transport.
const LANES: usize = 2 * MODES.len();

/// Cuts at the same time in each lane, of which some wait for the gateway to be sure.
const CROWD: usize = 3;

/// What the cuts of one row came to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    cuts: usize,
    shown: usize,
    unseen: usize,
    bytes: usize,
}

/// A row of the table: lane, side and kind.
type Row = (String, Cut, Kind);

/// Cuts by phase.
type Phases = BTreeMap<Phase, usize>;

#[derive(Default)]
struct Table(Mutex<BTreeMap<Row, (Tally, Phases)>>);

impl Table {
    fn add(&self, cell: Cell, outcome: &Outcome) {
        let lane = format!("{:?} {:?}", cell.mode, cell.transport);
        let mut rows = self.0.lock().unwrap();
        let (tally, phases) = rows.entry((lane, cell.cut, cell.kind)).or_default();
        tally.cuts += 1;
        *phases.entry(cell.phase).or_default() += 1;
        match outcome.seen {
            Seen::Cut => tally.shown += 1,
            Seen::End => tally.unseen += 1,
        }
        tally.bytes += outcome.bytes;
    }

    fn print(&self) {
        println!(
            "{:16} {:10} {:11} {:>5} {:>5} {:>6} {:>9}  phases",
            "lane", "cut", "kind", "cuts", "shown", "unseen", "KiB whole"
        );
        for ((lane, cut, kind), (tally, phases)) in self.0.lock().unwrap().iter() {
            println!(
                "{lane:16} {:10} {:11} {:5} {:5} {:6} {:9}  {phases:?}",
                format!("{cut:?}"),
                format!("{kind:?}"),
                tally.cuts,
                tally.shown,
                tally.unseen,
                tally.bytes / 1024,
            );
        }
    }
}

/// Says which cut it was, should it fail.
struct Telling(usize, Cell, Chance);

impl Drop for Telling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self(number, cell, chance) = self;
            let Chance {
                last,
                upload,
                late,
                stays,
            } = chance;
            eprintln!(
                "EYESPLICE_CUTS_NUMBER={number}: {cell} {} bytes, upload {upload}, late {late}, stays {stays}",
                last.len()
            );
        }
    }
}

fn number(name: &str) -> Option<usize> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

#[test]
fn every_cut_is_seen_and_what_came_before_it_arrives() {
    if can_run("every_cut_is_seen_and_what_came_before_it_arrives") {
        play(Way::Direct, RUNS);
    }
}

#[test]
fn every_cut_is_seen_through_a_tunnel() {
    if can_run("every_cut_is_seen_through_a_tunnel") {
        play(Way::Tunnel, TUNNEL_RUNS);
    }
}

fn play(way: Way, runs: usize) {
    let lanes: Vec<Lane> = MODES
        .into_iter()
        .flat_map(|mode| [UNIX_TLS13, TCP_TLS13].map(|variant| Lane::new(variant, mode, way)))
        .collect();
    let alone = number("EYESPLICE_CUTS_NUMBER");
    let runs = number("EYESPLICE_CUTS_RUNS").unwrap_or(runs);
    let numbers = alone.map_or(0..runs, |alone| alone..alone + 1);
    let table = Table::default();
    std::thread::scope(|scope| {
        for (at, lane) in lanes.iter().enumerate() {
            let own: Vec<usize> = numbers
                .clone()
                .filter(|number| number % LANES == at)
                .collect();
            let own = Arc::new(Mutex::new(own.into_iter()));
            for _ in 0..CROWD {
                let (own, table) = (Arc::clone(&own), &table);
                scope.spawn(move || {
                    loop {
                        let next = own.lock().unwrap().next();
                        let Some(number) = next else { return };
                        one(number, lane, table);
                    }
                });
            }
        }
    });
    table.print();
    for lane in lanes {
        lane.finish();
    }
}

fn one(number: usize, lane: &Lane, table: &Table) {
    let cells = cells(lane.mode, lane.variant.transport);
    let mut rng = Rng::new(number as u64);
    let cell = cells[number / LANES % cells.len()];
    let telling = Telling(number, cell, Chance::draw(cell, &mut rng));
    let outcome = lane.play(cell, &telling.2);
    if outcome.seen == Seen::End {
        assert_eq!(outcome.reason, Reason::CutUnseen);
    }
    table.add(cell, &outcome);
}
