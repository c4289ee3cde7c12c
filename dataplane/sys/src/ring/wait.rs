//! Waits for an op with a deadline, or for the first of two.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use tokio::time::timeout_at;

use super::cancel::is_cancelled;
use super::op::Op;

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

/// Which of two ops completed.
#[derive(Debug)]
pub enum Raced<A, B> {
    /// Only the first.
    First(io::Result<A>),
    /// Only the second.
    Second(io::Result<B>),
    /// Both: the loser was faster than its cancellation.
    Both(io::Result<A>, io::Result<B>),
}

/// Awaits two ops until one completes, then cancels exactly the other and awaits it too.
pub async fn race<A, B>(mut a: Op<io::Result<A>>, mut b: Op<io::Result<B>>) -> Raced<A, B> {
    enum Winner<A, B> {
        A(io::Result<A>),
        B(io::Result<B>),
    }
    let winner = poll_fn(|cx| {
        if let Poll::Ready(outcome) = Pin::new(&mut a).poll(cx) {
            return Poll::Ready(Winner::A(outcome));
        }
        Pin::new(&mut b).poll(cx).map(Winner::B)
    })
    .await;
    match winner {
        Winner::A(first) => {
            b.cancel();
            match b.await {
                Err(error) if is_cancelled(&error) => Raced::First(first),
                second => Raced::Both(first, second),
            }
        }
        Winner::B(second) => {
            a.cancel();
            match a.await {
                Err(error) if is_cancelled(&error) => Raced::Second(second),
                first => Raced::Both(first, second),
            }
        }
    }
}
