//! What the engine tells control about a stream: once at its start where that is audited, once at
//! its end.

use super::{ApiPath, ListenerName, Peer, Phase, Reason, Side, StreamId};
use eyesplice_proto::route::Action;
use eyesplice_proto::target::Target;
use eyesplice_proto::tls::Group;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Start or end of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// An exec, attach or port-forward was let through.
    Start,
    /// The stream is over; emitted exactly once per stream.
    End,
}

/// How a stream was carried; label `mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamMode {
    /// No verdict yet, or refused.
    None,
    /// Bytes passed untouched.
    Splice,
    /// TLS originated towards the target.
    Originate,
    /// Ended, verified and re-encrypted; the bytes inside are opaque.
    TerminateOpaque,
    /// Ended, verified and re-encrypted; the kubelet's HTTP API inside.
    TerminateKubelet,
    /// Requests to the Kubernetes API, each judged by itself and sent over our own connection.
    Front,
}

impl StreamMode {
    /// The label used in metrics and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Splice => "splice",
            Self::Originate => "originate",
            Self::TerminateOpaque => "terminate_opaque",
            Self::TerminateKubelet => "terminate",
            Self::Front => "front",
        }
    }
}

/// Bytes of payload that were delivered, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamBytes {
    /// Downstream to upstream (stdin).
    pub up: u64,
    /// Upstream to downstream (stdout, logs).
    pub down: u64,
}

/// What is known of a request to a kubelet or to an API server. Never the query: it holds the
/// command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeLabels {
    /// What it does to a pod.
    pub action: Action,
    /// Namespace of the pod, where the action has one.
    pub namespace: Option<Arc<str>>,
    /// Pod name.
    pub pod: Option<Arc<str>>,
    /// Container name.
    pub container: Option<Arc<str>>,
    /// `SPDY/3.1`, `websocket` or none.
    pub protocol: Option<&'static str>,
    /// Whose it is, of a request to a front listener where that is known.
    pub user: Option<Arc<str>>,
    /// How a request to a front listener went; none for all others.
    pub path: Option<ApiPath>,
}

/// How the upstream's certificate was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerificationResult {
    /// There was none to judge (splice), or the stream ended before.
    NotApplicable,
    /// Verified; the identity it proved.
    Verified(Arc<str>),
    /// Let pass by `verification: observe`.
    Observed {
        /// Subject of the leaf.
        identity: Arc<str>,
        /// Stable label of the cause.
        cause: &'static str,
    },
    /// Refused.
    Refused {
        /// Stable label of the cause.
        cause: &'static str,
    },
}

/// The key exchange groups of a stream's TLS sessions; none where there is no session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyExchange {
    /// Of the connection to a TCP listener.
    pub listener: Option<Group>,
    /// Of the downstream's own session, which a leaf terminates.
    pub downstream: Option<Group>,
    /// Of the session with the target.
    pub upstream: Option<Group>,
}

/// Which TLS a stream through a tunnel has between agent and gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelTls {
    /// Their own, or there is no tunnel.
    #[default]
    Both,
    /// What is inside alone: their own session ended before the first byte.
    InnerOnly,
    /// Their own, although the gateway would have ended it: the agent does not.
    Declined,
}

impl TunnelTls {
    /// How it is told, where it is not the default.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Both => None,
            Self::InnerOnly => Some("only"),
            Self::Declined => Some("declined"),
        }
    }
}

/// One stream, told once it is known.
#[derive(Clone, Debug)]
pub struct StreamRecord {
    /// Start or end.
    pub kind: RecordKind,
    /// The stream.
    pub id: StreamId,
    /// Numbers the requests on one terminated connection, or on one to a front listener, from 1; 0
    /// for all else.
    pub exchange: u32,
    /// Where it came in.
    pub listener: ListenerName,
    /// Who opened the connection.
    pub peer: Peer,
    /// Identity inside of the tunnel: the API server's kubelet client certificate.
    pub client: Option<Arc<str>>,
    /// What the CONNECT named, or [`API_SERVER`](super::API_SERVER); absent if none was read.
    pub target: Option<Target>,
    /// What was dialled successfully.
    pub address: Option<SocketAddr>,
    /// The agent through whose tunnel it was reached, whose address `address` is then as the agent
    /// dialled it; or the proxy that was asked for it, and `address` is absent.
    pub via: Option<Arc<str>>,
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// The node by inventory.
    pub node: Option<Arc<str>>,
    /// The configuration generation that the stream began with.
    pub generation: u64,
    /// How it was carried.
    pub mode: StreamMode,
    /// How the upstream's certificate was judged.
    pub verification: VerificationResult,
    /// How the keys of its TLS sessions were agreed on.
    pub key_exchange: KeyExchange,
    /// Which TLS is between agent and gateway.
    pub tunnel_tls: TunnelTls,
    /// A spare connection served it, whose verification that was.
    pub warm: bool,
    /// The request, for kubelets that are terminated and for front listeners.
    pub exchange_labels: Option<ExchangeLabels>,
    /// HTTP status that the downstream saw: of the CONNECT if refused, of the kubelet otherwise.
    pub status: Option<u16>,
    /// When the stream began.
    pub started: SystemTime,
    /// Its length; zero at the start.
    pub duration: Duration,
    /// Payload delivered.
    pub bytes: StreamBytes,
    /// Why it ended; meaningless at the start.
    pub reason: Reason,
    /// Who caused the end.
    pub side: Side,
    /// In which phase.
    pub phase: Phase,
    /// The error in words, with its remedy; without secrets.
    pub detail: Option<Arc<str>>,
}
