//! Streams that are opened and then do nothing, and what a proxy's memory grows by with them.

use super::Task;
use super::task::Halves;
use crate::meter::{Usage, Watched};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// Streams that are opened at once.
const OPENING: usize = 16;

/// Steps in which all are opened, with a look at the proxy's memory after each.
const STEPS: usize = 8;

/// What a proxy used with so many idle streams.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) streams: usize,
    pub(crate) proxy: Usage,
}

/// Parks one stream from the begin to the end of a window (idle as a part of a mix).
pub(super) async fn run(task: &Task) -> Result<()> {
    let mut halves = opened(task).await?;
    tokio::time::sleep_until(task.window.ends.into()).await;
    farewell(task, &mut halves).await
}

/// Opens all streams in steps, lets them lie until `hold` has passed, and closes them; each carries a
/// byte at its begin and one at its end, so none is counted that was lost meanwhile.
pub(crate) async fn park(
    task: &Task,
    watched: &Watched,
    hold: std::time::Duration,
    step: impl Fn(usize),
) -> Result<Vec<Point>> {
    let streams = task.work.connections;
    let mut parked = Vec::with_capacity(streams);
    let mut points = vec![Point {
        streams: 0,
        proxy: watched.usage(),
    }];
    for at in 1..=STEPS {
        let wanted = streams * at / STEPS;
        let mut opening = JoinSet::new();
        let mut left = wanted - parked.len();
        while left > 0 || !opening.is_empty() {
            while left > 0 && opening.len() < OPENING {
                let task = task.clone();
                opening.spawn(async move { opened(&task).await });
                left -= 1;
            }
            if let Some(one) = opening.join_next().await {
                parked.push(one.map_err(|_| Error::Ended("client"))??);
            }
        }
        points.push(Point {
            streams: wanted,
            proxy: watched.usage(),
        });
        step(wanted);
    }
    tokio::time::sleep(hold).await;
    points.push(Point {
        streams,
        proxy: watched.usage(),
    });
    for halves in &mut parked {
        farewell(task, halves).await?;
    }
    Ok(points)
}

async fn opened(task: &Task) -> Result<Halves> {
    let due = std::time::Instant::now();
    let (mut incoming, mut out) = task.open().await?;
    out.payload(task.work.ask).await?;
    incoming.payload(task.work.answer).await?;
    task.done(due, due);
    Ok((incoming, out))
}

async fn farewell(task: &Task, (incoming, out): &mut Halves) -> Result<()> {
    out.payload(task.work.ask).await?;
    incoming.payload(task.work.answer).await?;
    out.close().await?;
    incoming.end().await
}
