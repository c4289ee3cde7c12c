//! Keeps a data connection at a gateway until an open takes it, on whichever worker that is.

use super::inbox::{broken, farewell};
use crate::agents::{AgentKey, Chain, Claim, Connection, Unregistered};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::{Leg, Unused};
use crate::seam::{Phase, Reason, Side, TunnelLimits};
use crate::source::Source;
use eyesplice_proto::stream as legs;
use eyesplice_proto::tunnel::OpenId;
use std::pin::pin;
use std::time::Instant;
use tokio::sync::oneshot;

/// A data connection, and whose it is.
pub(crate) struct Data {
    pub(crate) leg: Box<Leg>,
    pub(crate) key: AgentKey,
    /// Where it comes from.
    pub(crate) source: Source,
    pub(crate) chain: Chain,
}

/// Gives a connection that answers a `Dial` to its open.
pub(crate) fn deliver(cx: &StreamContext, data: Data, id: OpenId) -> Result<(), End> {
    let registry = &cx.desk().agents.registry;
    let key = data.key.clone();
    registry.awaits(&key, id).map_err(unregistered)?;
    registry
        .deliver(&key, id, connection(data)?)
        .map_err(unregistered)
}

/// Keeps a parked connection until it is taken, or ends.
pub(crate) async fn wait(cx: &StreamContext, data: Data, limits: &TunnelLimits) -> Result<(), End> {
    let (claims, claim) = oneshot::channel();
    let registry = &cx.desk().agents.registry;
    let since = Instant::now();
    let parked = registry
        .park(&data.key, data.source, claims, limits)
        .map_err(unregistered)?;
    let gauge = Gauge::of(cx);
    let claimed = {
        let waiting = pin!(claimed(cx, &data, claim));
        cx.until_aborted(Phase::Tunnel, waiting).await?
    };
    let taker = match claimed {
        Claimed::By(taker) => taker,
        Claimed::Drained => {
            farewell(cx, &data.leg).await;
            return Ok(());
        }
        Claimed::Over(unused) => {
            drop(parked);
            if unused == Unused::Cut {
                registry.died(&data.key, since.elapsed());
            }
            return Err(over(&data.leg, unused));
        }
    };
    match data.leg.unused(cx.pools()) {
        Unused::Quiet => {}
        unused => return Err(over(&data.leg, unused)),
    }
    let connection = connection(data)?;
    // When a stream runs on it, it is parked no more.
    drop(gauge);
    // An open that is gone does not want it, and nothing was said on it: it is closed.
    let _ = taker.send(connection);
    Ok(())
}

/// What became of a parked connection.
enum Claimed {
    /// This open wants it.
    By(Claim),
    /// The process stops.
    Drained,
    /// It is of no use any more.
    Over(Unused),
}

async fn claimed(
    cx: &StreamContext,
    data: &Data,
    mut claim: oneshot::Receiver<Claim>,
) -> Result<Claimed, End> {
    let leg = &data.leg;
    loop {
        let mut readable = leg.readable();
        tokio::select! {
            biased;
            claimed = &mut claim => {
                // Nothing may hold the socket when it leaves this worker.
                readable.cancel();
                let _ = readable.await;
                return claimed.map(Claimed::By).map_err(|_| unclaimed(cx, data));
            }
            () = cx.draining() => return Ok(Claimed::Drained),
            _ = &mut readable => match leg.unused(cx.pools()) {
                Unused::Quiet => {}
                unused => return Ok(Claimed::Over(unused)),
            },
        }
    }
}

/// Why nobody will claim a connection. Another worker may have revoked its agent, before this one
/// has heard of the configuration that says so.
fn unclaimed(cx: &StreamContext, data: &Data) -> End {
    let verdict = cx.desk().control.agent(&data.chain);
    let reason = if verdict.is_ok_and(|grant| grant.name == data.key.name) {
        Reason::Completed
    } else {
        Reason::Revoked
    };
    End::new(reason, Side::Local, Phase::Tunnel).detail("its control connection is gone")
}

fn over(leg: &Leg, unused: Unused) -> End {
    match unused {
        Unused::Spoke => broken(leg, "it spoke before it was asked for a stream".to_owned()),
        _ => End::new(Reason::Completed, Side::Downstream, Phase::Tunnel)
            .detail("the agent ended it"),
    }
}

fn connection(data: Data) -> Result<Connection, End> {
    let Data { leg, chain, .. } = data;
    match leg.into_parts() {
        Ok(leg) => Ok(Connection {
            leg: leg.turned(legs::Side::Upstream),
            chain,
        }),
        Err(bound) => {
            let words = format!("cannot hand over a data connection: {}; a bug", bound.by);
            Err(broken(&bound.leg, words))
        }
    }
}

fn unregistered(why: Unregistered) -> End {
    End::new(Reason::Denied, Side::Downstream, Phase::Tunnel).detail(why.to_string())
}

/// A parked connection in the gauge.
struct Gauge<'a>(&'a StreamContext);

impl<'a> Gauge<'a> {
    fn of(cx: &'a StreamContext) -> Self {
        cx.counters().tunnel_parked.inc();
        Self(cx)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.counters().tunnel_parked.dec();
    }
}
