//! A reader that stops reading while the far end has more to send.

use super::Task;
use crate::Result;

/// Takes one frame of a download, and then nothing until the window is over.
pub(super) async fn run(task: &Task) -> Result<()> {
    let (mut incoming, mut out) = task.open().await?;
    out.payload(0).await?;
    incoming.frame().await?;
    tokio::time::sleep_until(task.window.ends.into()).await;
    Ok(())
}
