//! Transfers as fast as they go, each with a count of all bytes at its end.

use super::{Direction, Task};
use crate::wire::{Frame, Kind};
use crate::{Error, Result};

/// Moves payload until the window ends, then compares counts.
pub(super) async fn run(task: &Task) -> Result<()> {
    let (mut incoming, mut out) = task.open().await?;
    let sends = task.work.direction != Direction::Download;
    let send = async {
        // The first write tells the far end what to do.
        out.payload(0).await?;
        while sends && !task.window.over() {
            out.frame(Frame::new(Kind::Data, task.work.ask)).await?;
        }
        if !sends {
            tokio::time::sleep_until(task.window.ends.into()).await;
        }
        let sent = out.sent();
        let end = Frame {
            id: sent,
            ..Frame::new(Kind::End, 0)
        };
        out.frame(end).await?;
        Ok(sent)
    };
    let receive = async {
        while let Some(frame) = incoming.frame().await? {
            if frame.kind == Kind::End {
                incoming.check(frame)?;
                return Ok(frame.at);
            }
        }
        Err(Error::Ended("far end"))
    };
    let (sent, arrived) = tokio::try_join!(send, receive)?;
    if sent != arrived {
        return Err(Error::Count {
            side: "far end",
            received: arrived,
            sent,
        });
    }
    out.close().await?;
    incoming.end().await
}
