//! Keeps a leg that was ended until its peer has been sent all that is its own.

use crate::context::StreamContext;
use crate::failure::Failure;
use crate::leg::Leg;
use crate::limits::{PARTING_LOOK_MAX, PARTING_LOOK_MIN};
use crate::seam::{Phase, Reason};
use crate::stream::until_aborted;
use std::pin::pin;
use tokio::time::sleep;

/// Waits for a reader that stalls: closed on now, what the kernel still has for it would be lost to
/// its impatience with sockets that nobody owns. Returns how the stream ended after all.
pub(crate) async fn part(cx: &StreamContext, failure: Failure, leg: &Leg) -> Failure {
    // A leg that was cut waits for nothing.
    if !leg.is_shut() || !leg.has_unsent() {
        return failure;
    }
    let sent = pin!(async {
        let mut pause = PARTING_LOOK_MIN;
        while leg.has_unsent() {
            sleep(pause).await;
            pause = (pause * 2).min(PARTING_LOOK_MAX);
        }
        Ok(())
    });
    match until_aborted(cx, Phase::Relay, sent).await {
        Err(late) if failure.reason == Reason::Completed => late,
        _ => failure,
    }
}
