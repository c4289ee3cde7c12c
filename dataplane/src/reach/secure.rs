//! Speaks verified TLS to a target, and says in words why it could not.

use super::handshake::{self, TlsParty};
use crate::context::StreamContext;
use crate::end::{End, LegError};
use crate::leg::Leg;
use crate::seam::{
    PeerVerification, Phase, Reason, Side, StreamRecord, UpstreamTls, VerificationResult,
};
use std::sync::Arc;
use std::time::Duration;

/// Puts a TLS session on the upstream leg whose peer is verified.
pub(super) async fn secure(
    cx: &StreamContext,
    record: &mut StreamRecord,
    upstream: &Leg,
    tls: &UpstreamTls,
    limit: Duration,
) -> Result<(), End> {
    let party = TlsParty::Client(Arc::clone(&tls.config), tls.server_name.clone());
    let result = handshake::run(cx, upstream, party, limit).await;
    let refused = note(cx, record, tls);
    match (result, refused) {
        (_, Some(message)) => {
            Err(
                End::new(Reason::Unverified, Side::Upstream, Phase::UpstreamHandshake)
                    .status(502)
                    .detail(message),
            )
        }
        (Ok(()), None) => {
            record.key_exchange.upstream = upstream.group();
            Ok(())
        }
        (Err(LegError::TimedOut), None) => Err(End::new(
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

/// Records what the verifier found, and logs what is merely observed. Returns a refusal's words.
pub(super) fn note(
    cx: &StreamContext,
    record: &mut StreamRecord,
    tls: &UpstreamTls,
) -> Option<Arc<str>> {
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
                destination = %target(record),
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
            return Some(Arc::clone(message));
        }
        None => {}
    }
    None
}

fn target(record: &StreamRecord) -> String {
    let asked = match (&record.target, record.address) {
        (Some(target), _) => target.to_string(),
        (None, Some(address)) => address.to_string(),
        (None, None) => "its server".to_owned(),
    };
    match &record.node {
        Some(node) => format!("node {node} at {asked}"),
        None => asked,
    }
}

/// A TLS failure during a handshake: what the peer did to us, not what it is.
pub(crate) fn handshake_failure(error: LegError, side: Side) -> End {
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
