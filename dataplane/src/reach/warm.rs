//! Spare connections to targets in use: taken in place of dial and handshake, and made for the next
//! stream.
//!
//! A spare serves one stream. It is verified as a stream of the same configuration would be, and
//! its stream has its own verdict: nothing but the connection is there before.

use super::dial::dial;
use super::handshake::{self, TlsParty};
use crate::context::StreamContext;
use crate::leg::Leg;
use crate::seam::{Connect, PeerVerification, StreamLimits, UpstreamTls, Warm, Way};
use crate::spares::{Gone, Key, Spare};
use eyesplice_proto::stream::Side;
use eyesplice_sys::uring::{self, Interest};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::sleep_until;

/// Of which spare a stream to this address is.
pub(super) fn key(plan: &Connect, tls: &UpstreamTls, address: SocketAddr) -> Key {
    Key {
        address,
        server_name: tls.server_name.clone(),
        node: plan.node.clone(),
        generation: plan.generation,
    }
}

/// Takes a good spare to one of the plan's addresses, in their order. What its verifier found then
/// stands in `tls`.
pub(super) fn take(cx: &StreamContext, plan: &Connect, tls: &UpstreamTls) -> Option<(Leg, Key)> {
    plan.warm.as_ref()?;
    let spares = &cx.desk().spares;
    let Way::Dial(addresses) = &plan.way else {
        return None;
    };
    let (spare, key) = addresses.iter().find_map(|address| {
        let key = key(plan, tls, *address);
        spares.take(&key).map(|spare| (spare, key))
    })?;
    let Spare { leg, found, .. } = *spare;
    // The stream has had no handshake that could have written it.
    let _ = tls.verification.set(found);
    Some((leg, key))
}

/// Begins to make a spare, if there is none and no stream could want its place.
pub(super) fn begin(cx: &StreamContext, key: Key, warm: Warm, limits: StreamLimits) {
    let desk = cx.desk();
    if !desk.spares.wants(&key) || !desk.has_room_for_a_spare() {
        return;
    }
    let work = keep(cx.aside(), key.clone(), warm, limits);
    desk.spares.begin(key, uring::spawn(work));
}

/// Makes a spare and watches it until it is thrown away; stopped when it is taken.
async fn keep(cx: Rc<StreamContext>, key: Key, warm: Warm, limits: StreamLimits) {
    let spares = &cx.desk().spares;
    let why = match made(&cx, &key, warm, limits).await {
        // The next stream dials, and hears why.
        None => Gone::Closed,
        Some(_) if key.generation < cx.desk().generation() => Gone::Reload,
        Some(spare) => {
            let fd = spare.leg.fd().clone();
            let lasts = spare.valid_until.duration_since(SystemTime::now());
            let end = spare.until.min(Instant::now() + lasts.unwrap_or_default());
            spares.made(&key, spare);
            loop {
                tokio::select! {
                    biased;
                    () = sleep_until(end.into()) => break Gone::Expired,
                    _ = uring::poll(&fd, Interest::READ) => {
                        if !spares.is_good(&key) {
                            break Gone::Closed;
                        }
                    }
                }
            }
        }
    };
    spares.end(&key, why);
}

async fn made(cx: &StreamContext, key: &Key, warm: Warm, limits: StreamLimits) -> Option<Spare> {
    let Warm {
        tls,
        lifetime,
        until,
    } = warm;
    let dialled = dial(cx, &[key.address], limits.dial_timeout).await.ok()?;
    let leg = Leg::new(dialled.fd, Side::Upstream);
    let party = TlsParty::Client(Arc::clone(&tls.config), tls.server_name.clone());
    let shaken = handshake::run(cx, &leg, party, limits.handshake_timeout).await;
    let found = match (shaken, tls.verification.get()) {
        (Ok(()), Some(found)) => found.clone(),
        _ => return None,
    };
    if matches!(found, PeerVerification::Refused { .. }) {
        return None;
    }
    let chain = leg.peer_chain()?;
    let valid_until = cx.desk().control.valid_until(&chain)?.min(until);
    let lasts = valid_until.duration_since(SystemTime::now()).ok()?;
    (lasts > Duration::ZERO).then(|| Spare {
        leg,
        found,
        until: Instant::now() + lifetime,
        valid_until,
    })
}
