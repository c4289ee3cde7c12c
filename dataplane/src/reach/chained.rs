//! Reaches a target through another gateway, which has an agent for it: this one has none.
//!
//! The stream is passed on once. The other gateway judges it as well, splices it, and never passes
//! it on again.

use super::hop::Unreached;
use super::proxy::passed_on;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Phase, Reason, Side, StreamLimits, StreamRecord, Through};
use std::time::Instant;

/// What a gateway answers that has no agent for a target, or none that could be asked.
const NO_AGENT: u16 = 503;

/// Asks one gateway after the other. The next one is asked if one does not answer, or has no agent;
/// any other answer is the target's, or the policy's. Each has an even share of the time that is
/// left.
pub(super) async fn through(
    cx: &StreamContext,
    record: &mut StreamRecord,
    through: &Through,
    limits: StreamLimits,
) -> Result<Leg, End> {
    let until = Instant::now() + limits.dial_timeout;
    let gateways = &through.elsewhere;
    let mut last = None;
    for (gateway, others) in gateways.iter().zip((1..=gateways.len()).rev()) {
        let left = until.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(others).unwrap_or(u32::MAX);
        let limits = StreamLimits {
            dial_timeout: share,
            handshake_timeout: limits.handshake_timeout.min(share),
            ..limits
        };
        match passed_on(cx, record, gateway, limits).await {
            Ok(leg) => {
                cx.counters().tunnel_opens_chained.inc();
                return Ok(leg);
            }
            Err(Unreached::Refused(status, failure)) if status != NO_AGENT => {
                cx.counters().tunnel_opens_failed.inc();
                return Err(failure);
            }
            Err(why) => {
                let failure = End::from(why);
                tracing::debug!(
                    stream = %cx.id(),
                    "next gateway is asked: {}", failure.detail.as_deref().unwrap_or_default()
                );
                last = Some(failure);
            }
        }
    }
    cx.counters().tunnel_opens_failed.inc();
    let nobody = || End::new(Reason::DialFailed, Side::Local, Phase::Tunnel).status(503);
    let last = last.unwrap_or_else(nobody);
    let words = last
        .detail
        .as_deref()
        .unwrap_or("there was no time to ask another gateway");
    let words = format!("no agent for {} is connected here; {words}", through.target);
    Err(last.detail(words))
}
