//! Messages and answers on a stream that stays: requests and responses, keystrokes and bursts.

use super::Task;
use super::task::Halves;
use crate::wire::{Job, Turn};
use crate::{Error, Result};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Streams that are opened at once before work begins: proxies have queues of some length for those
/// that wait.
const OPENING: usize = 16;

/// How long one of them may take for its handshakes and its first turn.
const FIRST: Duration = Duration::from_secs(30);

/// One message and its answer after the other.
pub(super) async fn run(task: &Task) -> Result<()> {
    let halves = task.open().await?;
    turns(task, halves, 0).await
}

/// The same on a stream that [`gather`] opened.
pub(crate) async fn go_on(task: &Task, halves: Halves) -> Result<()> {
    turns(task, halves, 1).await
}

/// Opens all streams of a work; each has had its first turn, so that both legs are there.
pub(crate) async fn gather(task: &Task) -> Result<Vec<Halves>> {
    let mut opened = Vec::with_capacity(task.work.connections);
    let mut opening = JoinSet::new();
    for index in 0..task.work.connections {
        if opening.len() == OPENING {
            opened.extend(joined(&mut opening).await?);
        }
        let task = Task {
            index,
            ..task.clone()
        };
        opening.spawn(async move {
            let first = tokio::time::timeout(FIRST, first(&task)).await;
            first.unwrap_or_else(|_| Err(stuck(&task)))
        });
    }
    while let Some(halves) = joined(&mut opening).await? {
        opened.push(halves);
    }
    Ok(opened)
}

async fn joined(opening: &mut JoinSet<Result<Halves>>) -> Result<Option<Halves>> {
    match opening.join_next().await {
        None => Ok(None),
        Some(one) => one.map_err(|_| Error::Ended("client"))?.map(Some),
    }
}

fn stuck(task: &Task) -> Error {
    Error::Stuck {
        streams: 1,
        work: task.work.name.clone(),
        seconds: FIRST.as_secs(),
    }
}

async fn first(task: &Task) -> Result<Halves> {
    let mut halves = task.open().await?;
    if let Some(turn) = cycle(task).first() {
        take(&mut halves, *turn).await?;
    }
    Ok(halves)
}

/// Turns until the window ends, from that one of the cycle on.
async fn turns(task: &Task, mut halves: Halves, from: usize) -> Result<()> {
    let cycle = cycle(task);
    let mut pace = task.pace()?;
    for turn in cycle.iter().cycle().skip(from) {
        let Some(due) = task.next(&mut pace).await? else {
            break;
        };
        let began = Instant::now();
        take(&mut halves, *turn).await?;
        task.done(due, began);
    }
    let (mut incoming, mut out) = halves;
    out.close().await?;
    incoming.end().await
}

fn cycle(task: &Task) -> Vec<Turn> {
    match task.work.job() {
        Job::Turns { cycle } => cycle,
        _ => Vec::new(),
    }
}

async fn take((incoming, out): &mut Halves, turn: Turn) -> Result<()> {
    tokio::try_join!(out.payload(turn.ask), incoming.payload(turn.answer))?;
    Ok(())
}
