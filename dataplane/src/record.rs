//! The record of a stream while it lives: what its begin is known by, and what its end adds.

use crate::context::StreamContext;
use crate::end::End;
use crate::seam::{
    KeyExchange, ListenerName, Peer, Phase, Reason, RecordKind, Side, StreamBytes, StreamMode,
    StreamRecord, TunnelTls, VerificationResult,
};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

impl StreamRecord {
    /// Of a stream that has just begun, or of a connection that may become one. Until it ends, `exchange`
    /// counts its requests.
    pub(crate) fn begun(
        cx: &StreamContext,
        listener: ListenerName,
        peer: Peer,
        generation: u64,
    ) -> Self {
        Self {
            kind: RecordKind::End,
            id: cx.id(),
            exchange: 0,
            listener,
            peer,
            client: None,
            target: None,
            address: None,
            via: None,
            rule: None,
            node: None,
            generation,
            mode: StreamMode::None,
            verification: VerificationResult::NotApplicable,
            key_exchange: KeyExchange::default(),
            tunnel_tls: TunnelTls::default(),
            warm: false,
            exchange_labels: None,
            status: None,
            started: SystemTime::now() - cx.started().elapsed(),
            duration: Duration::ZERO,
            bytes: StreamBytes::default(),
            reason: Reason::Completed,
            side: Side::Local,
            phase: Phase::Accept,
            detail: None,
        }
    }

    /// Of a TCP connection on which nobody has authenticated yet.
    pub(crate) fn of_tcp(
        cx: &StreamContext,
        listener: ListenerName,
        address: SocketAddr,
        generation: u64,
    ) -> Self {
        let peer = Peer::Tcp {
            address,
            identity: None,
        };
        Self::begun(cx, listener, peer, generation)
    }

    /// The record of the stream itself; an exchange fills in its own part.
    pub(crate) fn ended(&self, cx: &StreamContext, failure: &End) -> Self {
        Self {
            exchange: 0,
            duration: cx.started().elapsed(),
            bytes: cx.bytes(),
            reason: failure.reason,
            side: failure.side,
            phase: failure.phase,
            detail: failure.detail.clone(),
            ..self.clone()
        }
    }
}
