//! What the end of a stream waits for, so that nothing that was sent is destroyed by it. Why it waits is
//! for `eyesplice_proto::stream` to say; how long is said here.
//!
//! A server that answers early and closes with unread input sends RST behind its answer. Linux keeps an
//! answer that came before the RST, on both hosts: it is read first, and then the error. What a reset
//! does destroy is what the sender's kernel still holds. So an answer is safe once the peer's kernel
//! has acknowledged it, and then the reset may follow.

use crate::context::StreamContext;
use crate::leg::{Leg, Next};
use crate::limits::{
    LINGER, PARTING_LOOK_MAX, PARTING_LOOK_MIN, SETTLE_FIRST, SETTLE_MOST, UNSEEN,
};
use eyesplice_proto::stream::Side;
use eyesplice_sys::uring;
use std::pin::Pin;
use std::time::Instant;
use tokio::time::{sleep, timeout};

/// Runs what delivers the rest of what `from` sent, for as long as it moves; `None` when nothing moved
/// for the linger time.
pub(crate) async fn delivered<T>(
    cx: &StreamContext,
    from: Side,
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

/// Reads and drops what a peer still sends, until it ends or the linger time is over, so that
/// closing the socket does not destroy what the peer has yet to receive.
pub(crate) async fn linger(cx: &StreamContext, leg: &Leg) {
    let deadline = Instant::now() + LINGER;
    loop {
        let step = {
            let mut buffer = cx.pools().buffer();
            leg.read(cx.pools(), &mut buffer)
        };
        match step {
            Ok(step) if step.next == Next::End => return,
            Ok(step) if step.next == Next::Read && Instant::now() < deadline => {}
            Ok(_) => {
                if uring::until(leg.readable(), Some(deadline)).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
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

/// Waits until the peer of a leg that is about to be closed has what was sent to it, if input that nobody
/// read will make that close a reset.
pub(crate) async fn kept(leg: &Leg) {
    if leg.has_input() {
        settled(leg).await;
    }
}

/// Waits for a reader that stalls, until the kernel has sent all that it has for it.
pub(crate) async fn sent(leg: &Leg) {
    let mut pause = PARTING_LOOK_MIN;
    while leg.has_unsent() {
        sleep(pause).await;
        pause = (pause * 2).min(PARTING_LOOK_MAX);
    }
}

/// Whether a client will see the coming cut: not the one of a UNIX socket without TLS that has nothing
/// for us to read.
pub(crate) async fn seen(downstream: &Leg) -> bool {
    if downstream.shows_a_cut() {
        return true;
    }
    // One that is still sending will be told.
    match uring::until(downstream.readable(), Some(Instant::now() + UNSEEN)).await {
        // It has left: nobody takes this for anything.
        Ok(readiness) if readiness.gone() => true,
        _ => downstream.shows_a_cut(),
    }
}

#[cfg(test)]
mod tests;
