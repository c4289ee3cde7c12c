//! Short connections inside of one session: each opens, sends, receives and closes, and several do at
//! once.

use super::Task;
use crate::wire::{Frame, Kind};
use crate::{Error, Result};
use std::collections::HashMap;
use std::time::Instant;

/// Runs short connections until the window ends: so many at once in a closed loop, as they are due in
/// an open one.
pub(super) async fn run(task: &Task) -> Result<()> {
    let (mut incoming, mut out) = task.open().await?;
    let mut pace = task.pace()?;
    let closed = task.work.rate.is_none();
    let mut next_id = 0;
    let mut running: HashMap<u64, (Instant, Instant)> = HashMap::new();
    let mut over = false;
    loop {
        let more = !over && (!closed || running.len() < task.work.slots);
        if over && running.is_empty() {
            break;
        }
        let frame = tokio::select! {
            biased;
            frame = incoming.frame(), if !running.is_empty() => {
                frame?.ok_or(Error::Ended("far end"))?
            }
            due = task.next(&mut pace), if more => {
                match due? {
                    None => over = true,
                    Some(due) => {
                        running.insert(next_id, (due, Instant::now()));
                        let frame = Frame { id: next_id, ..Frame::new(Kind::Open, 0) };
                        out.frame(frame).await?;
                        next_id += 1;
                    }
                }
                continue;
            }
        };
        let answer = match frame.kind {
            Kind::Open => Frame {
                id: frame.id,
                ..Frame::new(Kind::Data, task.work.ask)
            },
            Kind::Data => Frame {
                id: frame.id,
                ..Frame::new(Kind::Close, 0)
            },
            _ => {
                let (due, began) = running.remove(&frame.id).ok_or(Error::Answer {
                    who: "far end",
                    answer: format!("an end of connection {}", frame.id),
                    expected: "that of one that runs",
                })?;
                task.done(due, began);
                continue;
            }
        };
        out.frame(answer).await?;
    }
    let end = Frame {
        id: out.sent(),
        ..Frame::new(Kind::End, 0)
    };
    out.frame(end).await?;
    let end = incoming.frame().await?.ok_or(Error::Ended("far end"))?;
    incoming.check(end)?;
    out.close().await?;
    incoming.end().await
}
