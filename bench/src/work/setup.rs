//! A new connection for each operation, with all its handshakes, one byte each way, and its end.

use super::Task;
use crate::Result;
use std::time::Instant;

/// One connection after the other.
pub(super) async fn run(task: &Task) -> Result<()> {
    let mut pace = task.pace()?;
    while let Some(due) = task.next(&mut pace).await? {
        once(task, due).await?;
    }
    Ok(())
}

/// One connection, whose operation was due at an instant.
pub(crate) async fn once(task: &Task, due: Instant) -> Result<()> {
    let began = Instant::now();
    let (mut incoming, mut out) = task.open().await?;
    out.payload(task.work.ask).await?;
    // Reading also takes the tickets that a later handshake resumes with.
    incoming.payload(task.work.answer).await?;
    task.done(due, began);
    out.close().await?;
    incoming.end().await
}
