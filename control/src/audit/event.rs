//! One log event per stream that ended; its level says whether somebody has to act.

use super::is_refused_stranger;
use eyesplice_dataplane::seam::{ApiPath, Reason, RecordKind, Side, StreamRecord};
use std::time::{Duration, Instant};
use tracing::Level;

/// Logs at a level that is known only now; `tracing` wants it constant.
macro_rules! at_level {
    ($level:expr, $($fields:tt)+) => {
        match $level {
            Level::ERROR => tracing::error!($($fields)+),
            Level::WARN => tracing::warn!($($fields)+),
            Level::INFO => tracing::info!($($fields)+),
            _ => tracing::debug!($($fields)+),
        }
    };
}

/// Between two lines about clients of a front whose requests were refused: a stranger can make as
/// many as he likes.
const REFUSAL: Duration = Duration::from_secs(1);

/// When the last of them was told.
#[derive(Debug, Default)]
pub(super) struct Refusals(Option<Instant>);

impl Refusals {
    /// Gives the level of one more.
    fn level(&mut self) -> Level {
        if self.0.is_some_and(|last| last.elapsed() < REFUSAL) {
            return Level::DEBUG;
        }
        self.0 = Some(Instant::now());
        Level::INFO
    }
}

/// Logs the end of a stream, and a certificate that `verification: observe` let pass.
pub(super) fn log(record: &StreamRecord, refusals: &mut Refusals) {
    if record.kind == RecordKind::Start {
        return;
    }
    let labels = record.exchange_labels.as_ref();
    let level = if is_refused_stranger(record) {
        refusals.level()
    } else {
        level(record.reason, record.side)
    };
    at_level!(
        level,
        stream = %record.id,
        listener = &*record.listener,
        peer = %record.peer,
        client = record.client.as_deref(),
        target = record.target.as_ref().map(tracing::field::display),
        address = record.address.as_ref().map(tracing::field::display),
        via = record.via.as_deref(),
        node = record.node.as_deref(),
        rule = record.rule.as_deref(),
        mode = record.mode.as_str(),
        tunnel_inner = record.tunnel_tls.as_str(),
        warm = record.warm.then_some(true),
        action = labels.map(|labels| labels.action.as_str()),
        user = labels.and_then(|labels| labels.user.as_deref()),
        path = labels.and_then(|labels| labels.path).map(ApiPath::as_str),
        why = labels.and_then(|labels| labels.path).and_then(ApiPath::why),
        namespace = labels.and_then(|labels| labels.namespace.as_deref()),
        pod = labels.and_then(|labels| labels.pod.as_deref()),
        container = labels.and_then(|labels| labels.container.as_deref()),
        status = record.status,
        bytes_up = record.bytes.up,
        bytes_down = record.bytes.down,
        duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
        reason = record.reason.as_str(),
        side = record.side.as_str(),
        phase = record.phase.as_str(),
        detail = record.detail.as_deref(),
        "stream ended"
    );
}

/// Error: ours to repair. Warn: a decision or a fault somebody should see. Debug: peers come and go.
fn level(reason: Reason, side: Side) -> Level {
    match (reason, side) {
        (Reason::Internal | Reason::Exhausted, _) => Level::ERROR,
        (Reason::Denied | Reason::Unverified | Reason::Revoked | Reason::Limit, _) => Level::WARN,
        (Reason::DialFailed | Reason::BadUpgrade, _) => Level::WARN,
        // A scanner at the listener is not news; a kubelet that breaks its protocol is.
        (
            Reason::HandshakeFailed | Reason::Timeout | Reason::PeerLost | Reason::Protocol,
            Side::Upstream | Side::Local,
        ) => Level::WARN,
        (
            Reason::HandshakeFailed | Reason::Timeout | Reason::PeerLost | Reason::Protocol,
            Side::Downstream,
        ) => Level::INFO,
        // Its client goes on with what may be a part.
        (Reason::CutUnseen, _) => Level::INFO,
        (Reason::Truncated, Side::Upstream) => Level::INFO,
        (Reason::Idle | Reason::HalfClosed | Reason::Drained | Reason::Expired, _) => Level::INFO,
        (Reason::Truncated, _) => Level::DEBUG,
        // The audit log's own trouble is told once, not for each stream that it keeps out.
        (Reason::Unaudited, _) => Level::DEBUG,
        (Reason::Completed | Reason::Reset | Reason::Cancelled, _) => Level::DEBUG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn level_by_reason_and_side() {
        let cases = [
            (Reason::Completed, Side::Downstream, Level::DEBUG),
            (Reason::Cancelled, Side::Downstream, Level::DEBUG),
            (Reason::Reset, Side::Upstream, Level::DEBUG),
            (Reason::CutUnseen, Side::Upstream, Level::INFO),
            (Reason::Truncated, Side::Downstream, Level::DEBUG),
            (Reason::Truncated, Side::Upstream, Level::INFO),
            (Reason::Denied, Side::Local, Level::WARN),
            (Reason::Unverified, Side::Upstream, Level::WARN),
            (Reason::Revoked, Side::Local, Level::WARN),
            (Reason::Unverified, Side::Downstream, Level::WARN),
            (Reason::Protocol, Side::Downstream, Level::INFO),
            (Reason::Protocol, Side::Upstream, Level::WARN),
            (Reason::Unaudited, Side::Local, Level::DEBUG),
            (Reason::Drained, Side::Local, Level::INFO),
            (Reason::HalfClosed, Side::Local, Level::INFO),
            (Reason::PeerLost, Side::Downstream, Level::INFO),
            (Reason::PeerLost, Side::Upstream, Level::WARN),
            (Reason::Exhausted, Side::Local, Level::ERROR),
            (Reason::Internal, Side::Local, Level::ERROR),
        ];
        for (reason, side, expected) in cases {
            assert_eq!(level(reason, side), expected, "{reason} {side}");
        }
    }
}
