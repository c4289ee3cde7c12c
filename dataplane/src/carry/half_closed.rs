//! Watches a stream of which one direction has ended: for a peer that closed for good, and for an
//! open direction that brings nothing.
//!
//! A TCP peer that closed for good answers what is sent to it with a reset, so a target that is silent
//! hides it for ever; a UNIX peer shows it (POLLHUP), but not to who waits for bytes of the other leg.
//! One timer for each stream in this state finds both; no other stream pays for it.

use crate::carry::ending::Met;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::limits::{HALF_CLOSED_LOOK_MAX, HALF_CLOSED_LOOK_MIN, HALF_CLOSED_LOOKS};
use crate::seam::{Phase, Reason, Side};
use eyesplice_proto::stream::{self as legs, Event};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Waits until a stream is over whose leg `ended` has sent its last byte, while `open` may still send.
///
/// The time without a byte counts only while nothing is on its way: not while a reader that stalls
/// has yet to take what was sent to it, on either leg.
pub(crate) async fn over(cx: &StreamContext, ended: &Leg, open: &Leg) -> Met {
    let limit = cx.half_closed_timeout();
    let pause = pause(limit);
    let mut quiet_since = Instant::now();
    let mut delivered = cx.delivered(open.side());
    loop {
        if ended.is_abandoned() {
            return (Event::Abandoned(ended.side()), None);
        }
        let now = cx.delivered(open.side());
        if now != delivered || ended.owes() || open.owes() {
            delivered = now;
            quiet_since = Instant::now();
        }
        if let Some(limit) = limit
            && quiet_since.elapsed() >= limit
        {
            return (Event::Silent, Some(silent(ended.side(), limit)));
        }
        sleep(pause).await;
    }
}

fn pause(limit: Option<Duration>) -> Duration {
    limit.map_or(HALF_CLOSED_LOOK_MAX, |limit| {
        (limit / HALF_CLOSED_LOOKS).clamp(HALF_CLOSED_LOOK_MIN, HALF_CLOSED_LOOK_MAX)
    })
}

fn silent(ended: legs::Side, limit: Duration) -> End {
    let (ended, open) = match ended {
        legs::Side::Downstream => ("client", "target"),
        legs::Side::Upstream => ("target", "client"),
    };
    End::new(Reason::HalfClosed, Side::Local, Phase::Relay).detail(format!(
        "{ended} had ended its side, and {open} sent nothing for {:.1} s (timeouts.halfClosed)",
        limit.as_secs_f64()
    ))
}
