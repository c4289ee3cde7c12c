//! Runs each step a few times inside one function that callgrind looks for, and prints its name.
//!
//! `scripts/bench instructions` is what runs it; alone it shows nothing but the names.
#![forbid(unsafe_code)]

mod steps;

use std::io::Write;
use steps::{Step, control, engine};

/// What is lazy is there after these.
const WARM_UP: usize = 3;

/// Evens out what differs from call to call: hash seeds, lengths of signatures.
const ROUNDS: usize = 16;

/// The name is known to scripts/bench.d/instructions.py.
#[inline(never)]
fn counted_step(step: &mut Step) {
    for _ in 0..ROUNDS {
        (step.run)();
    }
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    let mut steps = engine::steps(WARM_UP + ROUNDS);
    steps.extend(control::steps());
    for step in &mut steps {
        for _ in 0..WARM_UP {
            (step.run)();
        }
        counted_step(step);
        writeln!(out, "{ROUNDS} {}", step.name)?;
    }
    Ok(())
}
