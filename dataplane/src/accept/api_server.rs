//! The listener for those who speak to an API server themselves: one verdict, one dial, and their
//! bytes pass as they are.

use crate::accept::established::Established;
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::Leg;
use crate::reach::{self, ask, watched};
use crate::seam::{API_SERVER, Mode, Peer, Phase, Preamble, Reason, Side, Snapshot, StreamRecord};
use eyesplice_proto::proxy_protocol;
use eyesplice_proto::target::Target;
use eyesplice_sys::socket::{self, Address};
use eyesplice_sys::uring;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Instant;

/// Takes a connection to an established stream.
///
/// Who comes to an API server speaks first, so one that says nothing costs no dial.
pub(crate) async fn establish(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
) -> Result<Established, End> {
    let limits = &snapshot.admission;
    spoken(downstream, Instant::now() + limits.head_timeout).await?;
    let target: Target = API_SERVER
        .parse()
        .map_err(|_| End::new(Reason::Internal, Side::Local, Phase::Request))?;
    record.target = Some(target.clone());
    let (upstream, plan) = watched(cx, downstream, async {
        let _pending = cx.desk().pending(limits, Phase::Verdict)?;
        let verdict = ask(cx, record, (target, None), limits.admit_timeout).await?;
        reach::connect(cx, record, verdict, limits.admit_timeout).await
    })
    .await?;
    if !matches!(plan.mode, Mode::Splice) {
        return Err(End::new(Reason::Internal, Side::Local, Phase::Verdict)
            .detail("a listener for API servers passes bytes as they are"));
    }
    if let Some(Preamble::ProxyV2) = plan.preamble {
        let mut header = Vec::new();
        proxy_protocol::write_v2(addresses(downstream, record), &mut header);
        upstream
            .write(cx.pools(), &header)
            .await
            .map_err(|error| error.at(Side::Upstream, Phase::Relay))?;
    }
    cx.set_limits(&plan.limits);
    Ok(Established::Relay(Box::new(upstream)))
}

/// Waits for the first byte, and leaves it where it is.
async fn spoken(downstream: &Leg, deadline: Instant) -> Result<(), End> {
    let at = |error: LegError| error.at(Side::Downstream, Phase::Request);
    uring::until(downstream.readable(), Some(deadline))
        .await
        .map_err(|error| at(error.into()))?;
    match socket::peek(downstream.fd().as_fd(), &mut [0]) {
        Ok(0) => Err(End::new(
            Reason::Cancelled,
            Side::Downstream,
            Phase::Request,
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(at(LegError::Gone(error))),
    }
}

/// Where a connection comes from and what it came to, if both are addresses.
fn addresses(downstream: &Leg, record: &StreamRecord) -> Option<(SocketAddr, SocketAddr)> {
    let Peer::Tcp { address, .. } = record.peer else {
        return None;
    };
    match socket::local_address(downstream.fd().as_fd()) {
        Ok(Address::Ip(local)) => Some((address, local)),
        _ => None,
    }
}
