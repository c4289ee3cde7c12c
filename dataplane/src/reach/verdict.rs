//! Asks control about a stream: for its verdict, and for what the verdict left open.

use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{
    Connect, Phase, Reason, RecordKind, Refusal, Side, StreamRecord, StreamRequest, Verdict,
};
use eyesplice_proto::target::Target;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Asks what becomes of a stream to `target`.
pub(crate) async fn ask(
    cx: &StreamContext,
    record: &mut StreamRecord,
    target: Target,
    limit: Duration,
) -> Result<Box<Connect>, End> {
    cx.desk().recordable(RecordKind::End, Phase::Verdict)?;
    let request = StreamRequest {
        id: cx.id(),
        listener: Arc::clone(&record.listener),
        peer: record.peer.clone(),
        target,
        received: record.started,
    };
    match decided(cx.desk().control.admit(request), limit).await? {
        Verdict::Connect(plan) => {
            record.rule = Some(Arc::clone(&plan.rule));
            record.node.clone_from(&plan.node);
            record.generation = plan.generation;
            Ok(plan)
        }
        Verdict::Refuse(refusal) => {
            record.rule.clone_from(&refusal.rule);
            Err(refused(refusal))
        }
    }
}

/// Waits for what control decides after its verdict.
pub(super) async fn settled<T>(
    answer: oneshot::Receiver<Result<T, Refusal>>,
    limit: Duration,
) -> Result<T, End> {
    decided(answer, limit).await?.map_err(refused)
}

async fn decided<T>(answer: oneshot::Receiver<T>, limit: Duration) -> Result<T, End> {
    let (status, reason, words) = match timeout(limit, answer).await {
        Ok(Ok(decision)) => return Ok(decision),
        Ok(Err(_)) => (
            503,
            Reason::Internal,
            "gateway's control dropped the question; see its log",
        ),
        Err(_) => (
            504,
            Reason::Timeout,
            "gateway's control did not decide in time; see its log and timeouts.verdict",
        ),
    };
    Err(local(status, reason).detail(words))
}

fn refused(refusal: Refusal) -> End {
    local(refusal.status, refusal.reason).detail(refusal.words)
}

fn local(status: u16, reason: Reason) -> End {
    End::new(reason, Side::Local, Phase::Verdict).status(status)
}

/// Runs `work`, and stops it when the downstream leaves meanwhile.
pub(crate) async fn watched<T>(
    cx: &StreamContext,
    downstream: &Leg,
    work: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    let mut work = pin!(work);
    let gone = downstream.hangup();
    tokio::select! {
        biased;
        result = &mut work => result,
        _ = gone => {
            cx.counters().dial_cancels.inc();
            Err(End::new(Reason::Cancelled, Side::Downstream, Phase::Dial))
        }
    }
}
