//! Waits for an op with a deadline.

use std::io;
use std::time::Instant;

use tokio::time::timeout_at;

use super::op::{Op, is_cancelled};

/// Awaits `op`; at the deadline cancels exactly this op and awaits its completion.
///
/// `None` waits without end. A completion that arrives while the cancellation is on its way is the
/// outcome: nothing that happened is thrown away.
///
/// # Errors
///
/// `TimedOut` at the deadline, otherwise the op's error.
pub async fn until<T>(mut op: Op<io::Result<T>>, deadline: Option<Instant>) -> io::Result<T> {
    let Some(deadline) = deadline else {
        return op.await;
    };
    if let Ok(outcome) = timeout_at(deadline.into(), &mut op).await {
        return outcome;
    }
    op.cancel();
    match op.await {
        Err(error) if is_cancelled(&error) => Err(io::ErrorKind::TimedOut.into()),
        outcome => outcome,
    }
}
