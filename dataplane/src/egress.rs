//! The egress listener: one CONNECT, one verdict, one dial, and what carries the stream from there.
//!
//! The upstream is dialled and verified *before* the CONNECT is answered, because the status line of
//! that answer is the only thing that reaches the kubectl user.

mod named;

use crate::context::StreamContext;
use crate::dial::{Dialled, dial};
use crate::ending::{Ending, Legs};
use crate::failure::{Failure, LegError};
use crate::handshake::{self, TlsParty};
use crate::leg::{Leg, Next};
use crate::liveness::Liveness;
use crate::seam::{
    ActionPolicy, Connect, Inside, Mode, PeerVerification, Phase, Reason, RecordKind, Refusal,
    Side, Snapshot, StreamMode, StreamRecord, StreamRequest, Terminate, UpstreamTls, Verdict,
    VerificationResult,
};
use crate::stream::Established;
use eyesplice_proto::authority::Authority;
use eyesplice_proto::connect::{self, ConnectError};
use eyesplice_proto::parse::{HeadLimits, Parsed, Progress};
use eyesplice_proto::stream as legs;
use eyesplice_sys::ring;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// What runs on an established stream.
pub(crate) enum Carry {
    /// Opaque bytes.
    Relay,
    /// The kubelet's HTTP API.
    Kubelet(Arc<ActionPolicy>),
}

/// Takes an accepted leg to an established stream, or to the answer that says why not.
pub(crate) async fn establish(
    cx: &StreamContext,
    snapshot: &Snapshot,
    downstream: &Leg,
    record: &mut StreamRecord,
) -> Result<Established, Failure> {
    let limits = &snapshot.admission;
    let deadline = Instant::now() + limits.head_timeout;
    let target = read_connect(cx, downstream, deadline).await?;
    record.target = Some(target.clone());
    let (upstream, plan) = watched(cx, downstream, async {
        let _pending = cx.desk().pending(limits, Phase::Verdict)?;
        let verdict = ask(cx, record, target, limits.admit_timeout).await?;
        reach(cx, record, verdict, limits.admit_timeout).await
    })
    .await?;
    downstream
        .write(cx.pools(), connect::ESTABLISHED)
        .await
        .map_err(|error| error.at(Side::Downstream, Phase::Request))?;
    record.status = Some(200);
    let carry = match plan.mode {
        Mode::Splice | Mode::Originate(_) => Carry::Relay,
        Mode::TerminateNamed(by_name) => {
            let handshake = plan.limits.handshake_timeout;
            let limits = (handshake, limits.admit_timeout);
            named::secure(cx, record, (downstream, &upstream), &*by_name, limits)
                .await
                // It has had its answer.
                .map_err(|failure| Failure {
                    status: None,
                    ..failure
                })?;
            Carry::Relay
        }
        // `reach` has made the one above of it.
        Mode::TerminateVerified(_) => {
            return Err(Failure::new(Reason::Internal, Side::Local, Phase::Relay));
        }
        Mode::Terminate(terminate) => {
            let party = TlsParty::Server(terminate.downstream.clone());
            handshake::run(cx, downstream, party, plan.limits.handshake_timeout)
                .await
                .map_err(|error| handshake_failure(error, Side::Downstream))?;
            record.client = handshake::identity(cx, downstream);
            match terminate.inside {
                Inside::Opaque => Carry::Relay,
                Inside::Kubelet(policy) => Carry::Kubelet(policy),
            }
        }
    };
    cx.set_limits(&plan.limits);
    Ok(Established {
        upstream: Box::new(upstream),
        carry,
        head_timeout: plan.limits.head_timeout,
    })
}

/// Lets a peer that is refused read why: takes its CONNECT, answers, closes. Returns the record of it.
pub(crate) async fn refuse_politely(
    cx: Rc<StreamContext>,
    snapshot: Arc<Snapshot>,
    downstream: Box<Leg>,
    mut record: Box<StreamRecord>,
    refusal: Failure,
) -> StreamRecord {
    let deadline = Instant::now() + snapshot.admission.handshake_timeout;
    cx.refuse();
    let asked = async {
        record.target = Some(read_connect(&cx, &downstream, deadline).await?);
        Ok(answer(&cx, &downstream, &mut record, refusal).await)
    };
    let ending = cx
        .until_aborted(Phase::Request, pin!(asked))
        .await
        .unwrap_or_else(|failure| Ending::failed(&cx, failure));
    let legs = Legs {
        downstream: Some(downstream),
        upstream: None,
    };
    let failure = ending.run(&cx, legs, Phase::Request).await;
    record.ended(&cx, &failure)
}

async fn read_connect(
    cx: &StreamContext,
    downstream: &Leg,
    deadline: Instant,
) -> Result<Authority, Failure> {
    let at = |error: LegError| error.at(Side::Downstream, Phase::Request);
    let mut head = Vec::new();
    let mut progress = Progress::default();
    loop {
        let step = {
            let mut buffer = cx.pools().buffer();
            let step = downstream.read(cx.pools(), &mut buffer).map_err(at)?;
            head.extend_from_slice(buffer.get(..step.payload).unwrap_or_default());
            step
        };
        if step.payload > 0 {
            match connect::parse_connect(&head, &mut progress, &HeadLimits::CONNECT) {
                Ok(Parsed::Complete {
                    head: target,
                    consumed,
                }) => {
                    downstream.unread(head.get(consumed..).unwrap_or_default());
                    return Ok(target);
                }
                Ok(Parsed::Incomplete) => {}
                Err(error) => return Err(bad_connect(&error)),
            }
        }
        match step.next {
            Next::End if head.is_empty() => {
                return Err(Failure::new(
                    Reason::Cancelled,
                    Side::Downstream,
                    Phase::Request,
                ));
            }
            Next::End => {
                return Err(Failure::new(
                    Reason::Truncated,
                    Side::Downstream,
                    Phase::Request,
                ));
            }
            Next::Read => {}
            Next::Wait => {
                ring::until(downstream.readable(), Some(deadline))
                    .await
                    .map_err(|error| at(error.into()).status(408))?;
            }
        }
    }
}

fn bad_connect(error: &ConnectError) -> Failure {
    Failure::new(Reason::Protocol, Side::Downstream, Phase::Request)
        .status(error.status())
        .detail(words(error))
}

/// An error and all its causes in one line.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

/// Runs `work`, and stops it when the downstream leaves meanwhile.
pub(crate) async fn watched<T>(
    cx: &StreamContext,
    downstream: &Leg,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = pin!(work);
    let gone = downstream.hangup();
    tokio::select! {
        biased;
        result = &mut work => result,
        _ = gone => {
            cx.counters().dial_cancels.inc();
            Err(Failure::new(Reason::Cancelled, Side::Downstream, Phase::Dial))
        }
    }
}

pub(crate) async fn ask(
    cx: &StreamContext,
    record: &mut StreamRecord,
    target: Authority,
    limit: Duration,
) -> Result<Box<Connect>, Failure> {
    cx.desk().recordable(RecordKind::End, Phase::Verdict)?;
    let request = StreamRequest {
        id: cx.id(),
        listener: Arc::clone(&record.listener),
        peer: record.peer.clone(),
        target,
        received: record.started,
    };
    let local = |status: u16, reason: Reason, detail: &str| {
        Failure::new(reason, Side::Local, Phase::Verdict)
            .status(status)
            .detail(detail)
    };
    match timeout(limit, cx.desk().control.admit(request)).await {
        Ok(Ok(Verdict::Connect(plan))) => {
            record.rule = Some(Arc::clone(&plan.rule));
            record.node.clone_from(&plan.node);
            record.generation = plan.generation;
            Ok(plan)
        }
        Ok(Ok(Verdict::Refuse(Refusal {
            status,
            reason,
            rule,
        }))) => {
            record.rule = rule;
            let why = if status == 504 {
                Reason::Timeout
            } else {
                Reason::Denied
            };
            Err(local(status, why, &reason))
        }
        Ok(Err(_)) => Err(local(
            503,
            Reason::Internal,
            "gateway's control dropped the question; see its log",
        )),
        Err(_) => Err(local(
            504,
            Reason::Timeout,
            "gateway's control did not decide in time; see its log and timeouts.verdict",
        )),
    }
}

/// Dials the target and, where the plan says so, speaks verified TLS to it.
pub(crate) async fn reach(
    cx: &StreamContext,
    record: &mut StreamRecord,
    mut plan: Box<Connect>,
    admit_timeout: Duration,
) -> Result<(Leg, Box<Connect>), Failure> {
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
    let liveness: Liveness = cx.desk().liveness;
    let Dialled { fd, address } =
        dial(cx, &plan.addresses, plan.limits.dial_timeout, liveness).await?;
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

/// Waits for what control decides after its verdict.
async fn settled<T>(
    answer: oneshot::Receiver<Result<T, Refusal>>,
    limit: Duration,
) -> Result<T, Failure> {
    let local = |status, reason, detail: &str| {
        Failure::new(reason, Side::Local, Phase::Verdict)
            .status(status)
            .detail(detail)
    };
    match timeout(limit, answer).await {
        Ok(Ok(Ok(settled))) => Ok(settled),
        Ok(Ok(Err(refusal))) => Err(local(refusal.status, Reason::Denied, &refusal.reason)),
        Ok(Err(_)) => Err(local(
            503,
            Reason::Internal,
            "gateway's control dropped the question; see its log",
        )),
        Err(_) => Err(local(
            504,
            Reason::Timeout,
            "gateway's control did not decide in time; see its log and timeouts.verdict",
        )),
    }
}

async fn secure(
    cx: &StreamContext,
    record: &mut StreamRecord,
    upstream: &Leg,
    tls: &UpstreamTls,
    limit: Duration,
) -> Result<(), Failure> {
    let party = TlsParty::Client(Arc::clone(&tls.config), tls.server_name.clone());
    let result = handshake::run(cx, upstream, party, limit).await;
    let mut refused = None;
    match tls.verification.get() {
        Some(PeerVerification::Verified { identity }) => {
            record.verification = VerificationResult::Verified(Arc::clone(identity));
        }
        Some(PeerVerification::Observed {
            identity,
            cause,
            message,
        }) => {
            // At once, not at the end of a stream that may last for days.
            tracing::warn!(
                stream = %cx.id(),
                target = %target(record),
                cause,
                "passed because of verification: observe: {message}"
            );
            record.verification = VerificationResult::Observed {
                identity: Arc::clone(identity),
                cause,
            };
        }
        Some(PeerVerification::Refused { cause, message }) => {
            record.verification = VerificationResult::Refused { cause };
            refused = Some(Arc::clone(message));
        }
        None => {}
    }
    match (result, refused) {
        (_, Some(message)) => {
            Err(
                Failure::new(Reason::Unverified, Side::Upstream, Phase::UpstreamHandshake)
                    .status(502)
                    .detail(message),
            )
        }
        (Ok(()), None) => Ok(()),
        (Err(LegError::TimedOut), None) => Err(Failure::new(
            Reason::Timeout,
            Side::Upstream,
            Phase::UpstreamHandshake,
        )
        .status(504)
        .detail(format!(
            "{} accepted the connection but did not finish TLS within {} ms; is it a TLS port?",
            target(record),
            limit.as_millis()
        ))),
        (Err(error), None) => {
            let failure = handshake_failure(error, Side::Upstream);
            let cause = failure
                .detail
                .clone()
                .unwrap_or_else(|| "connection was cut".into());
            Err(failure
                .status(502)
                .detail(format!("TLS with {} failed: {cause}", target(record))))
        }
    }
}

fn target(record: &StreamRecord) -> String {
    let asked = record
        .target
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    match &record.node {
        Some(node) => format!("node {node} at {asked}"),
        None => asked,
    }
}

/// A TLS failure during a handshake: what the peer did to us, not what it is.
fn handshake_failure(error: LegError, side: Side) -> Failure {
    let phase = match side {
        Side::Upstream => Phase::UpstreamHandshake,
        _ => Phase::DownstreamHandshake,
    };
    let mut failure = error.at(side, phase);
    if failure.reason == Reason::Protocol {
        failure.reason = Reason::HandshakeFailed;
    }
    failure
}

/// Tells the downstream why its CONNECT failed, if it can still be told.
pub(crate) async fn answer(
    cx: &StreamContext,
    downstream: &Leg,
    record: &mut StreamRecord,
    failure: Failure,
) -> Ending {
    let Some(status) = failure.status else {
        return Ending::failed(cx, failure);
    };
    let mut head = Vec::new();
    let reason = failure
        .detail
        .as_deref()
        .unwrap_or("gateway error; see its log");
    connect::write_refusal(status, reason, &mut head);
    record.status = Some(status);
    match downstream.write(cx.pools(), &head).await {
        Ok(()) => Ending::told(cx, failure),
        // It did not get through, and the failure stands as it is.
        Err(_) => Ending::failed(cx, failure),
    }
}
