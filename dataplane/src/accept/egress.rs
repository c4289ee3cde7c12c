//! The egress listener: one CONNECT, one verdict, one dial, and what carries the stream from there.
//!
//! The upstream is dialled and verified *before* the CONNECT is answered, because the status line
//! of that answer is the only thing that reaches the kubectl user.

use crate::accept::established::Established;
use crate::agents::Chain;
use crate::carry::ending::Ending;
use crate::carry::exchange::Terms;
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::heads::{NoHead, Patience, Why, first_byte, read_head};
use crate::leg::Leg;
use crate::reach::handshake::{self, TlsParty};
use crate::reach::named::{self, Ends};
use crate::reach::{self, ask, watched};
use crate::seam::{Inside, Mode, Phase, Reason, Side, Snapshot, StreamRecord};
use eyesplice_proto::causes::chain;
use eyesplice_proto::connect::{self, Asked, ConnectError, Unreached};
use eyesplice_proto::parse::{HeadLimits, Progress};
use std::time::Instant;

/// Takes an accepted leg to an established stream, or to the answer that says why not.
pub(crate) async fn establish(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
) -> Result<Established, End> {
    let limits = &snapshot.admission;
    let deadline = Instant::now() + limits.head_timeout;
    let Asked { target, hop } = read_connect(cx, downstream, deadline).await?;
    record.target = Some(target.clone());
    let hop: Option<Chain> = hop.then(|| downstream.outer_chain().unwrap_or_default().into());
    let passed_on = hop.is_some();
    let (upstream, plan) = watched(cx, downstream, async {
        let _pending = cx.desk().pending(limits, Phase::Verdict)?;
        let verdict = ask(cx, record, (target, hop), limits.admit_timeout).await?;
        if passed_on && !matches!(verdict.mode, Mode::Splice) {
            // What its own gateway does with it is done inside.
            return Err(End::new(Reason::Internal, Side::Local, Phase::Verdict).status(500));
        }
        reach::connect(cx, record, verdict, limits.admit_timeout).await
    })
    .await?;
    downstream
        .write(cx.pools(), connect::ESTABLISHED)
        .await
        .map_err(|error| error.at(Side::Downstream, Phase::Request))?;
    record.status = Some(200);
    let policy = match plan.mode {
        Mode::Splice | Mode::Originate(_) => None,
        Mode::TerminateNamed(by_name) => {
            let ends = Ends {
                downstream,
                upstream: &upstream,
            };
            let limits = named::Limits {
                handshake: plan.limits.handshake_timeout,
                decision: limits.admit_timeout,
            };
            named::secure(cx, record, ends, &*by_name, limits)
                .await
                // It has had its answer.
                .map_err(|failure| End {
                    status: None,
                    ..failure
                })?;
            None
        }
        // `reach` has made the one above of it.
        Mode::TerminateVerified(_) => {
            return Err(End::new(Reason::Internal, Side::Local, Phase::Relay));
        }
        Mode::Terminate(terminate) => {
            let party = TlsParty::Server(terminate.downstream.clone());
            handshake::run(cx, downstream, party, plan.limits.handshake_timeout)
                .await
                .map_err(|error| reach::handshake_failure(error, Side::Downstream))?;
            record.key_exchange.downstream = downstream.group();
            record.client = handshake::identity(cx, downstream);
            match terminate.inside {
                Inside::Opaque => None,
                Inside::Kubelet(policy) => Some(policy),
            }
        }
    };
    cx.set_limits(&plan.limits);
    let upstream = Box::new(upstream);
    Ok(match policy {
        None => Established::Relay(upstream),
        Some(policy) => {
            let head_timeout = plan.limits.head_timeout;
            let terms = Terms {
                policy,
                head_timeout,
            };
            Established::Kubelet(upstream, terms)
        }
    })
}

/// Lets a peer that is refused read why: takes its CONNECT, and answers.
pub(crate) async fn refuse(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
    refusal: End,
) -> Result<Ending, End> {
    let deadline = Instant::now() + snapshot.admission.handshake_timeout;
    record.target = Some(read_connect(cx, downstream, deadline).await?.target);
    Ok(answer(cx, downstream, record, refusal).await)
}

async fn read_connect(
    cx: &StreamContext,
    downstream: &Leg,
    deadline: Instant,
) -> Result<Asked, End> {
    let at = |error: LegError| error.at(Side::Downstream, Phase::Request);
    let ended = |reason| End::new(reason, Side::Downstream, Phase::Request);
    let patience = Patience {
        until: Some(deadline),
        once_begun: None,
    };
    let parse = |head: &[u8], progress: &mut Progress| {
        connect::parse_asked(head, progress, &HeadLimits::CONNECT)
    };
    let idle = async || first_byte(downstream, patience.until).await;
    read_head(cx, downstream, patience, parse, idle)
        .await
        .map_err(|NoHead { begun, why }| match why {
            Why::Read(error) => at(error),
            Why::Wait(error) | Why::Stopped(error) => at(error).status(408),
            Why::Ended if begun => ended(Reason::Truncated),
            Why::Ended => ended(Reason::Cancelled),
            Why::Malformed(error) => bad_connect(&error),
        })
}

fn bad_connect(error: &ConnectError) -> End {
    End::new(Reason::Protocol, Side::Downstream, Phase::Request)
        .status(error.status())
        .detail(chain(error))
}

/// Whether the target is what failed, and not this gateway: who asks whether a target is there at
/// all must not take a gateway that is full for an answer.
fn unreached(failure: &End) -> Option<Unreached> {
    if failure.side != Side::Upstream || failure.phase != Phase::Dial {
        return None;
    }
    match (failure.reason, failure.status) {
        (Reason::Timeout, _) => Some(Unreached::Timeout),
        (Reason::DialFailed, Some(502)) => Some(Unreached::Refused),
        (Reason::DialFailed, _) => Some(Unreached::Unavailable),
        _ => None,
    }
}

/// Tells the downstream why its CONNECT failed, if it can still be told.
pub(crate) async fn answer(
    cx: &StreamContext,
    downstream: &Leg,
    record: &mut StreamRecord,
    failure: End,
) -> Ending {
    let Some(status) = failure.status else {
        return Ending::failed(cx, failure);
    };
    let mut head = Vec::new();
    let reason = failure
        .detail
        .as_deref()
        .unwrap_or("gateway error; see its log");
    // What a proxy or an agent on the way says is not the target's word either.
    let unreached = record.via.is_none().then(|| unreached(&failure)).flatten();
    connect::write_refusal(status, reason, unreached, &mut head);
    record.status = Some(status);
    match downstream.write(cx.pools(), &head).await {
        Ok(()) => Ending::told(cx, failure),
        // It did not get through, and the failure stands as it is.
        Err(_) => Ending::failed(cx, failure),
    }
}
