//! How a stream gets its upstream leg: control is asked, the target is dialled and verified.
//!
//! Second of three rooms: `accept` uses `carry` and `reach`, `carry` uses `reach`, which knows neither.

mod chained;
pub(crate) mod dial;
pub(crate) mod handshake;
mod hop;
pub(crate) mod named;
mod out;
mod proxy;
mod secure;
mod verdict;
mod warm;

pub(crate) use out::out;
pub(crate) use secure::handshake_failure;
pub(crate) use verdict::{ask, judge, watched};

use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{
    Connect, Fresh, Inside, Mode, StreamLimits, StreamMode, StreamRecord, Tallies, Terminate,
    TunnelTls, UpstreamTls, Way,
};
use crate::tunnel::{Opened, open};
use dial::{Dialled, dial};
use eyesplice_proto::stream as legs;
use secure::{note, secure};
use std::time::Duration;
use verdict::settled;

/// Dials the target and, where the plan says so, speaks verified TLS to it.
pub(crate) async fn connect(
    cx: &StreamContext,
    record: &mut StreamRecord,
    mut plan: Box<Connect>,
    admit_timeout: Duration,
) -> Result<(Leg, Box<Connect>), End> {
    let terminate = |inside: &Inside| match inside {
        Inside::Kubelet(_) => StreamMode::TerminateKubelet,
        Inside::Opaque => StreamMode::TerminateOpaque,
    };
    record.mode = match &plan.mode {
        Mode::Splice => StreamMode::Splice,
        Mode::Originate(_) => StreamMode::Originate,
        Mode::Terminate(ends) => terminate(&ends.inside),
        Mode::TerminateVerified(ends) => terminate(&ends.inside),
        Mode::TerminateNamed(_) => StreamMode::TerminateOpaque,
    };
    let tls = match &plan.mode {
        // The name that the downstream asks for comes after the answer.
        Mode::Splice | Mode::TerminateNamed(_) => None,
        Mode::Originate(tls) => Some(tls),
        Mode::Terminate(ends) => Some(&ends.upstream),
        Mode::TerminateVerified(ends) => Some(&ends.upstream),
    };
    let upstream = reached(cx, record, &plan, tls).await?;
    let next = match (tls, record.address, &plan.way, plan.warm.is_some()) {
        (Some(tls), Some(address), Way::Dial(_), true) => Some(warm::key(&plan, tls, address)),
        _ => None,
    };
    plan.mode = match plan.mode {
        Mode::TerminateVerified(ends) => {
            let downstream = settled(ends.leaf.leaf(), admit_timeout).await?;
            Mode::Terminate(Terminate {
                downstream,
                upstream: ends.upstream,
                inside: ends.inside,
            })
        }
        mode => mode,
    };
    if let (Some(key), Some(warm)) = (next, plan.warm.take()) {
        warm::begin(cx, key, warm, plan.limits);
    }
    Ok((upstream, plan))
}

/// Reaches a server of the Kubernetes API, or a kubelet for one of its clients, and speaks verified
/// TLS to it.
pub(crate) async fn server(
    cx: &StreamContext,
    record: &mut StreamRecord,
    fresh: &Fresh,
    limits: StreamLimits,
) -> Result<Leg, End> {
    let upstream = led(cx, record, &fresh.way, limits).await?;
    count(&upstream, record, &fresh.tallies);
    secure(cx, record, &upstream, &fresh.tls, limits.handshake_timeout).await?;
    Ok(upstream)
}

/// Counts a connection for whoever asks how many its server has.
fn count(upstream: &Leg, record: &StreamRecord, tallies: &Tallies) {
    let counted = record.address.and_then(|address| tallies.count(address));
    if let Some(counted) = counted {
        upstream.set_counted(counted);
    }
}

/// Takes a spare connection, or dials and speaks TLS.
async fn reached(
    cx: &StreamContext,
    record: &mut StreamRecord,
    plan: &Connect,
    tls: Option<&UpstreamTls>,
) -> Result<Leg, End> {
    record.warm = false;
    if let Some(tls) = tls
        && let Some((upstream, key)) = warm::take(cx, plan, tls)
    {
        record.address = Some(key.address);
        record.warm = true;
        record.key_exchange.upstream = upstream.group();
        // One that was refused is no spare.
        let _ = note(cx, record, tls);
        return Ok(upstream);
    }
    let upstream = led(cx, record, &plan.way, plan.limits).await?;
    count(&upstream, record, &plan.tallies);
    if let Some(tls) = tls {
        secure(cx, record, &upstream, tls, plan.limits.handshake_timeout).await?;
    }
    Ok(upstream)
}

/// Connects to a target by its way.
async fn led(
    cx: &StreamContext,
    record: &mut StreamRecord,
    way: &Way,
    limits: StreamLimits,
) -> Result<Leg, End> {
    let limit = limits.dial_timeout;
    // The connection before may have been an agent's.
    cx.set_via(None);
    record.tunnel_tls = TunnelTls::Both;
    Ok(match way {
        Way::Dial(addresses) => {
            let Dialled { fd, address } = dial(cx, addresses, limit).await?;
            record.address = Some(address);
            Leg::new(fd, legs::Side::Upstream)
        }
        Way::Tunnel(through) => {
            let agents = cx.desk().agents.registry.candidates(through);
            if agents.is_empty() && !through.elsewhere.is_empty() {
                chained::through(cx, record, through, limits).await?
            } else {
                let opened = open(cx, record, (through, &agents), limit).await?;
                let Opened {
                    leg, address, warm, ..
                } = opened;
                record.address = Some(address);
                record.warm = warm;
                leg
            }
        }
        Way::Proxy(proxy) => proxy::through(cx, record, proxy, limits).await?,
    })
}
