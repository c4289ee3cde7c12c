//! Answers a worker within its call if nothing has to be waited for.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Polls a decision once, and gives it to control's runtime if it waits for something. There it is
/// dropped when the worker stops waiting.
pub(crate) fn answer<T: Send + 'static>(
    runtime: &Handle,
    decision: impl Future<Output = T> + Send + 'static,
) -> oneshot::Receiver<T> {
    let (mut answer, receiver) = oneshot::channel();
    let mut decision = Box::pin(decision);
    // What it waits for is control's: its timers, its blocking threads.
    let _entered = runtime.enter();
    match decision
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        // A worker that is gone needs no answer; so below.
        Poll::Ready(verdict) => drop(answer.send(verdict)),
        // Whoever polls it next is who will be woken.
        Poll::Pending => drop(runtime.spawn(async move {
            tokio::select! {
                verdict = decision => drop(answer.send(verdict)),
                () = answer.closed() => {}
            }
        })),
    }
    receiver
}
