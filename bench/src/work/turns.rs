//! Messages and answers on a stream that stays: requests and responses, keystrokes and bursts.

use super::Task;
use crate::Result;
use crate::wire::Job;
use std::time::Instant;

/// One message and its answer after the other.
pub(super) async fn run(task: &Task) -> Result<()> {
    let Job::Turns { cycle } = task.work.job() else {
        return Ok(());
    };
    let (mut incoming, mut out) = task.open().await?;
    let mut pace = task.pace()?;
    for turn in cycle.iter().cycle() {
        let Some(due) = task.next(&mut pace).await? else {
            break;
        };
        let began = Instant::now();
        tokio::try_join!(out.payload(turn.ask), incoming.payload(turn.answer))?;
        task.done(due, began);
    }
    out.close().await?;
    incoming.end().await
}
