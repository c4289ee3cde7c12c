//! Reaches a target through another HTTP CONNECT proxy, or through another gateway.
//!
//! What it answers is for the user: its status and reason phrase go on in ours.

use super::hop::{Asks, Hop, Unreached};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Proxy, StreamLimits, StreamRecord};
use eyesplice_proto::stream as legs;
use std::sync::Arc;
use std::time::Instant;

/// Dials the proxy, and asks it for the target.
pub(super) async fn through(
    cx: &StreamContext,
    record: &mut StreamRecord,
    proxy: &Proxy,
    limits: StreamLimits,
) -> Result<Leg, End> {
    let hop = hop("proxy", proxy, Asks::Connect(None));
    ask(cx, record, &hop, limits).await.map_err(End::from)
}

/// Dials another gateway, and passes the stream on to it.
pub(super) async fn passed_on(
    cx: &StreamContext,
    record: &mut StreamRecord,
    gateway: &Proxy,
    limits: StreamLimits,
) -> Result<Leg, Unreached> {
    let hop = hop("gateway", gateway, Asks::PassedOn);
    ask(cx, record, &hop, limits).await
}

fn hop<'a>(noun: &'static str, proxy: &'a Proxy, asks: Asks<'a>) -> Hop<'a> {
    Hop {
        noun,
        name: &proxy.name,
        at: &proxy.at,
        tls: proxy.tls.as_ref(),
        target: &proxy.target,
        asks,
        side: legs::Side::Upstream,
    }
}

async fn ask(
    cx: &StreamContext,
    record: &mut StreamRecord,
    hop: &Hop<'_>,
    limits: StreamLimits,
) -> Result<Leg, Unreached> {
    let until = Instant::now() + limits.dial_timeout;
    record.via = Some(Arc::clone(hop.name));
    let dialled = hop.dial(cx, limits.dial_timeout).await;
    let (leg, _) = dialled.map_err(Unreached::Unanswered)?;
    hop.ask(cx, &leg, (until, limits.handshake_timeout)).await?;
    Ok(leg)
}
