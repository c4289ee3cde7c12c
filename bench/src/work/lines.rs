//! A follower of a log: each record counts from when it was due at the far end.

use super::Task;
use crate::meter::{boot, monotonic};
use crate::wire::{Frame, Kind};
use crate::{Error, Result};
use std::time::{Duration, Instant};

/// Follows until the window ends. Where the far end runs on another machine its clock says nothing
/// here, and a record counts from when the one before it was here.
pub(super) async fn run(task: &Task) -> Result<()> {
    let (mut incoming, mut out) = task.open().await?;
    out.payload(0).await?;
    let mut one_clock = false;
    let mut last = Instant::now();
    let mut asked = false;
    let deadline = tokio::time::sleep_until(task.window.ends.into());
    tokio::pin!(deadline);
    loop {
        let frame = tokio::select! {
            biased;
            () = &mut deadline, if !asked => {
                asked = true;
                let end = Frame { id: out.sent(), ..Frame::new(Kind::End, 0) };
                out.frame(end).await?;
                continue;
            }
            frame = incoming.frame() => frame?.ok_or(Error::Ended("far end"))?,
        };
        match frame.kind {
            Kind::Greeting => one_clock = frame.id == boot(),
            Kind::End => {
                incoming.check(frame)?;
                out.close().await?;
                return incoming.end().await;
            }
            _ => {
                let now = Instant::now();
                let due = if one_clock {
                    let age = monotonic().saturating_sub(Duration::from_nanos(frame.at));
                    now.checked_sub(age).unwrap_or(now)
                } else {
                    last
                };
                task.recorder.record(due, due, now);
                last = now;
            }
        }
    }
}
