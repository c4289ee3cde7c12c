//! What comes before a cut still arrives: a connection that was lost is read to its end, and nothing is
//! reset before its peer has what was sent to it.
//!
//! A server that answers early and closes with unread input sends RST behind its answer. Linux keeps an
//! answer that came before the RST, on both hosts: it is read first, and then the error. What a reset
//! does destroy is what the sender's kernel still holds. So an answer is safe once the peer's kernel
//! has acknowledged it, and then the reset may follow.

use super::linger;
use crate::context::StreamContext;
use crate::failure::Failure;
use crate::leg::Leg;
use crate::limits::{LINGER, SETTLE_FIRST, SETTLE_MOST};
use crate::seam::{Phase, Reason};
use std::pin::Pin;
use std::time::Instant;
use tokio::time::{sleep, timeout};

/// Says how a stream ended of which one direction, read from `reader`, failed; `rest` is the other one,
/// if it was still open.
///
/// A write may tell of a cut before a read has come to it. What was sent before is still to be read;
/// how that ends tells whether it was a cut. A peer that closed for good after it had ended cleanly has
/// not cut anything: it does not want the rest.
pub(super) async fn judged(
    cx: &StreamContext,
    failure: Failure,
    reader: &Leg,
    rest: Option<Pin<&mut impl Future<Output = Result<(), Failure>>>>,
) -> Failure {
    let lost = reader.side().other();
    if failure.reason != Reason::Reset || failure.side != super::side(lost) {
        return failure;
    }
    if let Some(rest) = rest {
        match drained(cx, lost, rest).await {
            Some(Ok(())) => {}
            // A broken pipe is what a write met. What the reads met is what happened.
            Some(Err(later)) if failure.closed && later.side == failure.side => return later,
            _ => return failure,
        }
    }
    linger(cx, reader).await;
    reader.abandon();
    Failure::new(Reason::Completed, failure.side, Phase::Relay)
        .detail("closed without reading what was still on its way")
}

/// Runs what delivers the rest of what `from` sent, for as long as it moves; `None` when nothing moved
/// for the linger time.
pub(crate) async fn drained<T>(
    cx: &StreamContext,
    from: eyesplice_proto::stream::Side,
    mut rest: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    loop {
        let before = cx.delivered(from);
        match timeout(LINGER, rest.as_mut()).await {
            Ok(result) => return Some(result),
            Err(_) if cx.delivered(from) > before => {}
            Err(_) => return None,
        }
    }
}

/// Waits until the peer's kernel has all that was sent, so that a reset destroys nothing of it, or until
/// it has taken nothing more for the linger time: one that stalls would hold what a cut must give back.
pub(crate) async fn settled(leg: &Leg) {
    let mut left = leg.unacknowledged();
    let mut deadline = Instant::now() + LINGER;
    let mut pause = SETTLE_FIRST;
    while left > 0 {
        sleep(pause).await;
        pause = SETTLE_MOST.min(2 * pause);
        let now = leg.unacknowledged();
        if now < left {
            deadline = Instant::now() + LINGER;
        } else if Instant::now() >= deadline {
            return;
        }
        left = now;
    }
}
