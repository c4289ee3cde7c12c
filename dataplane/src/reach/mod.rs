//! How a stream gets its upstream leg: control is asked, the target is dialled and verified.
//!
//! Second of three rooms: `accept` uses `carry` and `reach`, `carry` uses `reach`, which knows neither.

mod dial;
pub(crate) mod handshake;
pub(crate) mod named;
mod secure;
mod verdict;

pub(crate) use secure::handshake_failure;
pub(crate) use verdict::{ask, watched};

use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{Connect, Inside, Mode, StreamMode, StreamRecord, Terminate};
use dial::{Dialled, dial};
use eyesplice_proto::stream as legs;
use secure::secure;
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
    let Dialled { fd, address } = dial(cx, &plan.addresses, plan.limits.dial_timeout).await?;
    record.address = Some(address);
    let upstream = Leg::new(fd, legs::Side::Upstream);
    let tls = match &plan.mode {
        // The name that the downstream asks for comes after the answer.
        Mode::Splice | Mode::TerminateNamed(_) => None,
        Mode::Originate(tls) => Some(tls),
        Mode::Terminate(ends) => Some(&ends.upstream),
        Mode::TerminateVerified(ends) => Some(&ends.upstream),
    };
    if let Some(tls) = tls {
        secure(cx, record, &upstream, tls, plan.limits.handshake_timeout).await?;
    }
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
    Ok((upstream, plan))
}
