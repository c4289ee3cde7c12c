//! How a stream ended: one reason, the side that caused it, and the phase it was in.

use eyesplice_proto::stream;

/// The side of a stream that caused its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Side {
    /// The leg that was accepted: the API server.
    Downstream,
    /// The leg that was dialled: the kubelet, pod or service.
    Upstream,
    /// Ourselves: policy, limits, deadlines, drain.
    Local,
}

impl Side {
    /// The label used in metrics and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Local => "local",
        }
    }
}

impl From<stream::Side> for Side {
    fn from(leg: stream::Side) -> Self {
        match leg {
            stream::Side::Downstream => Self::Downstream,
            stream::Side::Upstream => Self::Upstream,
        }
    }
}

/// The phase of a stream's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Phase {
    /// The listener's own TLS handshake.
    Accept,
    /// Reading the CONNECT.
    Request,
    /// Waiting for control's verdict.
    Verdict,
    /// Opening a connection through an agent of a tunnel.
    Tunnel,
    /// Connecting to the target.
    Dial,
    /// TLS handshake with the target.
    UpstreamHandshake,
    /// TLS handshake with the API server inside of the CONNECT tunnel.
    DownstreamHandshake,
    /// Relaying HTTP heads and bodies to a kubelet.
    Exchange,
    /// Relaying opaque bytes.
    Relay,
}

impl Phase {
    /// The label used in metrics and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Request => "request",
            Self::Verdict => "verdict",
            Self::Tunnel => "tunnel",
            Self::Dial => "dial",
            Self::UpstreamHandshake => "upstream_handshake",
            Self::DownstreamHandshake => "downstream_handshake",
            Self::Exchange => "exchange",
            Self::Relay => "relay",
        }
    }
}

/// Why a stream ended. Together with [`Side`] this picks log level and metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Reason {
    /// Both directions ended cleanly (FIN or close_notify).
    Completed,
    /// A leg was reset.
    Reset,
    /// A leg ended without close_notify, or in the middle of a message.
    Truncated,
    /// The upstream was cut, and the downstream takes it for an end: it has no TLS, and its UNIX socket
    /// knows no reset. The detail says what kind of cut it was.
    CutUnseen,
    /// The downstream left before the stream was established.
    Cancelled,
    /// Control refused it: policy.
    Denied,
    /// The target could not be reached or refused the connection.
    DialFailed,
    /// A TLS handshake failed for a reason that is not the peer's certificate.
    HandshakeFailed,
    /// The peer's certificate was refused.
    Unverified,
    /// A deadline passed: handshake, head, verdict or dial (see the phase).
    Timeout,
    /// An established stream moved no byte for its idle limit.
    Idle,
    /// One direction had ended, and the other brought nothing for the limit of half-closed streams.
    HalfClosed,
    /// The machine of a peer, or the way to it, is dead: it was asked and did not answer.
    PeerLost,
    /// The peer broke its protocol: malformed head, bad framing, bad record.
    Protocol,
    /// The upstream answered an upgrade with what must not be passed on.
    BadUpgrade,
    /// An admission limit was reached.
    Limit,
    /// The agent that carried it may not any more.
    Revoked,
    /// The credential of its user has ended, which it may not outlive.
    Expired,
    /// Control can keep no record of it (`audit.onFailure: block`).
    Unaudited,
    /// The process is draining and its deadline passed.
    Drained,
    /// The machine ran out of something (descriptors, memory, buffers).
    Exhausted,
    /// A fault of ours.
    Internal,
}

impl Reason {
    /// Every reason, for metrics that are exported from zero.
    pub const ALL: [Self; 22] = [
        Self::Completed,
        Self::Reset,
        Self::Truncated,
        Self::CutUnseen,
        Self::Cancelled,
        Self::Denied,
        Self::DialFailed,
        Self::HandshakeFailed,
        Self::Unverified,
        Self::Timeout,
        Self::Idle,
        Self::HalfClosed,
        Self::PeerLost,
        Self::Protocol,
        Self::BadUpgrade,
        Self::Limit,
        Self::Revoked,
        Self::Expired,
        Self::Unaudited,
        Self::Drained,
        Self::Exhausted,
        Self::Internal,
    ];

    /// The label used in metrics and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::CutUnseen => "cut_unseen",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
            Self::DialFailed => "dial_failed",
            Self::HandshakeFailed => "handshake_failed",
            Self::Unverified => "unverified",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::HalfClosed => "half_closed",
            Self::PeerLost => "peer_lost",
            Self::Protocol => "protocol",
            Self::BadUpgrade => "bad_upgrade",
            Self::Limit => "limit",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Unaudited => "unaudited",
            Self::Drained => "drained",
            Self::Exhausted => "exhausted",
            Self::Internal => "internal",
        }
    }
}
