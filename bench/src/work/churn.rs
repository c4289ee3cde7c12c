//! Connections of random life: a few messages of random sizes, then an end, in order or not.

use super::Task;
use crate::Result;
use crate::wire::{Job, Turn};
use std::time::Instant;

/// Most messages of one connection.
const TURNS: usize = 8;

/// Largest message or answer.
const LARGEST: u32 = 64 * 1024;

/// One in so many connections is dropped with an answer on its way.
const DROPPED: u32 = 4;

/// One connection after the other; the index decides what is random.
pub(super) async fn run(task: &Task) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(task.index as u64);
    let mut pace = task.pace()?;
    while let Some(due) = task.next(&mut pace).await? {
        let began = Instant::now();
        let cycle: Vec<_> = (0..random.usize(1..=TURNS))
            .map(|_| Turn {
                ask: random.u32(1..=LARGEST),
                answer: random.u32(1..=LARGEST),
            })
            .collect();
        let job = Job::Turns {
            cycle: cycle.clone(),
        };
        let (mut incoming, mut out) = task.open_for(job).await?;
        for turn in &cycle {
            tokio::try_join!(out.payload(turn.ask), incoming.payload(turn.answer))?;
        }
        if random.u32(0..DROPPED) == 0 {
            out.payload(cycle[0].ask).await?;
        } else {
            out.close().await?;
            incoming.end().await?;
        }
        task.done(due, began);
    }
    Ok(())
}
