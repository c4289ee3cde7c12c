//! Asks control about a stream: for its verdict, and for what the verdict left open.

use crate::agents::Chain;
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::seam::{
    AdmissionLimits, ApiRequest, ApiVerdict, Connect, Phase, Reason, RecordKind, Refusal, Side,
    StreamRecord, StreamRequest, Verdict,
};
use eyesplice_proto::target::Target;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

/// Asks what becomes of a stream to `target`, which a gateway with this chain has passed on.
pub(crate) async fn ask(
    cx: &StreamContext,
    record: &mut StreamRecord,
    (target, hop): (Target, Option<Chain>),
    limit: Duration,
) -> Result<Box<Connect>, End> {
    cx.desk().recordable(RecordKind::End, Phase::Verdict)?;
    let request = StreamRequest {
        id: cx.id(),
        listener: Arc::clone(&record.listener),
        peer: record.peer.clone(),
        target,
        received: record.started,
        hop,
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

/// Asks what becomes of a request to a front listener. Mostly the answer is there at once; where it
/// is not, the request takes a place among the pending dials.
pub(crate) async fn judge(
    cx: &StreamContext,
    request: ApiRequest,
    limits: &AdmissionLimits,
) -> Result<ApiVerdict, End> {
    let Some(mut answer) = cx.desk().control.judge(request) else {
        let failure = local(503, Reason::Internal);
        return Err(failure.detail("this process has no front"));
    };
    match answer.try_recv() {
        Ok(verdict) => Ok(verdict),
        Err(TryRecvError::Closed) => Err(dropped()),
        Err(TryRecvError::Empty) => {
            let _pending = cx.desk().pending(limits, Phase::Verdict)?;
            decided(answer, limits.admit_timeout).await
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
    match timeout(limit, answer).await {
        Ok(Ok(decision)) => Ok(decision),
        Ok(Err(_)) => Err(dropped()),
        Err(_) => Err(local(504, Reason::Timeout)
            .detail("gateway's control did not decide in time; see its log and timeouts.verdict")),
    }
}

fn dropped() -> End {
    local(503, Reason::Internal).detail("gateway's control dropped the question; see its log")
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
    // No operation is begun for work that has nothing to wait for.
    let gone = async { downstream.hangup().await };
    tokio::select! {
        biased;
        result = &mut work => result,
        _ = gone => {
            cx.counters().dial_cancels.inc();
            Err(End::new(Reason::Cancelled, Side::Downstream, Phase::Dial))
        }
    }
}
