//! Takes a data connection with its `open` to an established stream, or to the answer that says why
//! not.

use crate::accept::established::Established;
use crate::carry::ending::Ending;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::reach::{self, ask, watched};
use crate::seam::{Mode, Phase, Reason, Side, Snapshot, StreamRecord, TunnelTls};
use crate::tunnel::{Inbox, broken, say};
use eyesplice_proto::target::Target;
use eyesplice_proto::tunnel::{FailReason, NotNew, OpenId, ToAgent, ToGateway};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What a gateway asks for.
struct Open {
    id: OpenId,
    target: Target,
    within: Duration,
    inner_only: bool,
}

/// Takes an open to an established stream.
pub(crate) async fn establish(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
) -> Result<Established, End> {
    let limits = &snapshot.admission;
    let Open {
        id,
        target,
        within,
        inner_only,
    } = read(cx, snapshot, downstream).await?;
    record.target = Some(target.clone());
    if let Err(why) = cx.desk().agents.holding.note(id, within) {
        return Err(not_new(cx, why));
    }
    say(cx, downstream, |out| ToGateway::Accepted.write(out)).await?;
    let reached = watched(cx, downstream, async {
        let _pending = cx.desk().pending(limits, Phase::Verdict)?;
        let reaching = async {
            let verdict = ask(cx, record, (target, None), limits.admit_timeout).await?;
            reach::connect(cx, record, verdict, limits.admit_timeout).await
        };
        match timeout(within, reaching).await {
            Ok(result) => result,
            Err(_) => Err(late(within)),
        }
    });
    let (upstream, plan) = reached.await?;
    if !matches!(plan.mode, Mode::Splice | Mode::Originate(_)) {
        return Err(End::new(Reason::Internal, Side::Local, Phase::Verdict)
            .status(500)
            .detail("an agent terminates no TLS of streams"));
    }
    let Some(address) = record.address else {
        return Err(End::new(Reason::Internal, Side::Local, Phase::Dial).status(500));
    };
    let tls = match inner_only {
        false => TunnelTls::Both,
        true if permits(snapshot, &plan.mode, address) && downstream.goes_on() => {
            TunnelTls::InnerOnly
        }
        true => TunnelTls::Declined,
    };
    let inner_only = tls == TunnelTls::InnerOnly;
    say(cx, downstream, |out| {
        ToGateway::Connected {
            address,
            inner_only,
        }
        .write(out);
    })
    .await?;
    shed(cx, snapshot, downstream, tls).await?;
    record.tunnel_tls = tls;
    record.status = Some(200);
    cx.set_limits(&plan.limits);
    Ok(Established::Relay(Box::new(upstream)))
}

/// Whether the session with the gateway may end: what is dialled is the kubelet of the agent's own
/// node, and its TLS is passed untouched.
fn permits(snapshot: &Snapshot, mode: &Mode, dialled: SocketAddr) -> bool {
    let duties = snapshot.agent.as_ref();
    let kubelet = duties.and_then(|duties| duties.inner_only);
    matches!(mode, Mode::Splice) && kubelet == Some(dialled)
}

/// Ends the session with the gateway, where both want that.
async fn shed(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    tls: TunnelTls,
) -> Result<(), End> {
    match tls {
        TunnelTls::Both => Ok(()),
        TunnelTls::Declined => {
            cx.counters().tunnel_inner_declined.inc();
            tracing::debug!(
                stream = %cx.id(),
                "inner: only is not permitted for this target: TLS with the gateway stays"
            );
            Ok(())
        }
        TunnelTls::InnerOnly => {
            let until = Instant::now() + snapshot.admission.head_timeout;
            let ended = downstream.shed(cx.pools(), until).await;
            ended.map_err(|error| error.at(Side::Downstream, Phase::Tunnel))?;
            cx.counters().tunnel_inner_only.inc();
            tracing::debug!(stream = %cx.id(), "TLS with the gateway ended: inner only");
            Ok(())
        }
    }
}

/// Answers an open that is over a limit.
pub(crate) async fn refuse(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
    refusal: End,
) -> Result<Ending, End> {
    record.target = Some(read(cx, snapshot, downstream).await?.target);
    Ok(answer(cx, downstream, record, refusal).await)
}

/// Says why an open failed, if it can be said.
pub(crate) async fn answer(
    cx: &StreamContext,
    downstream: &Leg,
    record: &mut StreamRecord,
    failure: End,
) -> Ending {
    let Some(status) = failure.status else {
        return Ending::failed(cx, failure);
    };
    let words = failure
        .detail
        .as_deref()
        .unwrap_or("agent error; see its log");
    let message = ToGateway::Failed {
        reason: reason(&failure, status),
        words: words.into(),
    };
    record.status = Some(status);
    match say(cx, downstream, |out| message.write(out)).await {
        Ok(()) => Ending::told(cx, failure),
        // It did not get through, and the failure stands as it is.
        Err(_) => Ending::failed(cx, failure),
    }
}

async fn read(cx: &StreamContext, snapshot: &Snapshot, downstream: &Leg) -> Result<Open, End> {
    let until = Instant::now() + snapshot.admission.head_timeout;
    let mut inbox = Inbox::default();
    match inbox
        .next(cx, downstream, Some(until), ToAgent::parse)
        .await?
    {
        ToAgent::Open {
            id,
            target,
            deadline,
            inner_only,
        } => Ok(Open {
            id,
            target,
            within: deadline,
            inner_only,
        }),
        _ => Err(broken(
            downstream,
            "gateway said no `open` on a data connection".into(),
        )),
    }
}

fn not_new(cx: &StreamContext, why: NotNew) -> End {
    let (reason, side, status) = match why {
        NotNew::Seen => {
            cx.counters().tunnel_replayed.inc();
            (Reason::Protocol, Side::Downstream, SEEN)
        }
        NotNew::Full { .. } => (Reason::Limit, Side::Local, 503),
    };
    End::new(reason, side, Phase::Request)
        .status(status)
        .detail(why.to_string())
}

/// The status of an open that was seen before; no HTTP client gets it.
const SEEN: u16 = 409;

fn reason(failure: &End, status: u16) -> FailReason {
    match (failure.reason, status) {
        (_, SEEN) => FailReason::Seen,
        (Reason::DialFailed, 502) => FailReason::Refused,
        (Reason::DialFailed, _) => FailReason::Unreachable,
        (Reason::Timeout, _) => FailReason::Timeout,
        (Reason::Denied, _) => FailReason::Denied,
        (Reason::Exhausted | Reason::Limit | Reason::Unaudited, _) => FailReason::Exhausted,
        (Reason::Drained, _) => FailReason::Draining,
        _ => FailReason::Internal,
    }
}

fn late(within: Duration) -> End {
    End::new(Reason::Timeout, Side::Local, Phase::Dial)
        .status(504)
        .detail(format!(
            "target was not connected within {} ms",
            within.as_millis()
        ))
}
