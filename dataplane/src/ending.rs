//! Ends both legs of a stream so that each peer sees what happened: an end as an end, a cut as a cut,
//! behind all that came before it.

use crate::context::StreamContext;
use crate::failure::Failure;
use crate::leg::Leg;
use crate::limits::UNSEEN;
use crate::relay::cut;
use crate::seam::{Phase, Reason, Side};
use crate::stream::until_aborted;
use eyesplice_sys::ring;
use std::pin::pin;
use std::time::Instant;

/// Tells each peer; returns the failure as the downstream could see it.
pub(crate) async fn end(
    cx: &StreamContext,
    failure: Failure,
    downstream: &Leg,
    upstream: &Leg,
) -> Failure {
    let (culprit, victim) = match failure.side {
        Side::Downstream => (downstream, upstream),
        Side::Upstream => (upstream, downstream),
        Side::Local if failure.reason == Reason::Completed => return failure,
        Side::Local => {
            let unseen = !downstream.is_shut() && !downstream.shows_a_cut();
            cx.counters().cuts_unseen.add(u64::from(unseen));
            if failure.reason == Reason::HalfClosed {
                // Both have all that was sent, so a reset destroys nothing and tells who waits.
                upstream.abandon();
                downstream.abandon();
            } else {
                upstream.cut();
                downstream.cut();
            }
            return failure;
        }
    };
    match failure.reason {
        Reason::Completed => return failure,
        // Who broke the protocol was told by an alert or an answer, which a reset would destroy.
        Reason::Protocol | Reason::BadUpgrade | Reason::HandshakeFailed => {
            culprit.discard(cx.pools());
        }
        _ => culprit.cut(),
    }
    // FIN waits behind all that was sent, and a reset would destroy that. A bare leg has no other way
    // to tell of a cut.
    if failure.reason == Reason::Truncated && !victim.is_bare() {
        victim.truncate();
        return failure;
    }
    settled(cx, victim).await;
    let failure = match failure.side {
        Side::Upstream => shown(cx, failure, downstream).await,
        _ => failure,
    };
    victim.cut();
    failure
}

/// Waits until the peer of a leg that is about to be closed has what was sent to it, if input that nobody
/// read will make that close a reset.
pub(crate) async fn kept(cx: &StreamContext, leg: &Leg) {
    if leg.has_input() {
        settled(cx, leg).await;
    }
}

/// [`cut::settled`], unless the stream is aborted.
async fn settled(cx: &StreamContext, leg: &Leg) {
    let settled = pin!(async {
        cut::settled(leg).await;
        Ok(())
    });
    // What comes next is the same either way.
    let _ = until_aborted(cx, Phase::Relay, settled).await;
}

/// Gives a cut its own reason that the client will take for an end: of a UNIX socket without TLS that
/// has nothing for us to read.
async fn shown(cx: &StreamContext, failure: Failure, downstream: &Leg) -> Failure {
    if downstream.is_shut() || downstream.shows_a_cut() {
        return failure;
    }
    // One that is still sending will be told.
    match ring::until(downstream.readable(), Some(Instant::now() + UNSEEN)).await {
        // It has left: nobody takes this for anything.
        Ok(readiness) if readiness.gone() => return failure,
        _ if downstream.shows_a_cut() => return failure,
        _ => {}
    }
    cx.counters().cuts_unseen.inc();
    let Failure { reason, detail, .. } = &failure;
    let why = detail.as_deref().unwrap_or("without close_notify");
    let words = format!(
        "{reason} ({why}), and the client takes it for an end: a UNIX socket without TLS knows no \
         cut; use a TCP listener with mutual TLS for such targets"
    );
    Failure {
        reason: Reason::CutUnseen,
        ..failure
    }
    .detail(words)
}

#[cfg(test)]
mod tests;
