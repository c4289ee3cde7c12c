//! The seam between the engine and control: plain data both ways.
//!
//! * A listener turns what arrives into one [`StreamRequest`] and asks [`Control::admit`] once; the
//!   answer is a [`Verdict`].
//! * Certificates, keys and limits reach the workers as one immutable [`Snapshot`] behind an
//!   atomic swap; a stream keeps the generation that it began with.
//! * What happened to a stream leaves as a [`StreamRecord`].

mod front;
mod outcome;
mod record;
mod request;
mod snapshot;
mod tally;
mod tunnel;
mod verdict;
mod way_out;

pub use front::{
    API_SERVER, ApiAnswer, ApiLabels, ApiPath, ApiRequest, ApiVerdict, ConnectionKey, Follower,
    Forward, Fresh, Held, Over,
};
pub use outcome::{Phase, Reason, Side};
pub use record::{
    ExchangeLabels, KeyExchange, RecordKind, StreamBytes, StreamMode, StreamRecord, TunnelTls,
    VerificationResult,
};
pub use request::{ListenerName, Peer, StreamId, StreamRequest};
pub use snapshot::{AdmissionLimits, DownstreamTls, Snapshot, SnapshotCell};
pub use tally::{Counted, Tallies, Tally};
pub use tunnel::{
    AgentDuties, AgentGrant, AgentStatus, AgentVerdict, GatewayPeer, GatewayStatus, Route, Through,
    TunnelLimits,
};
pub use verdict::{
    ActionPolicy, ByName, Connect, Inside, LeafByPeer, Mode, PeerVerification, Preamble, Proxy,
    ProxyAddress, ProxyTls, Refusal, StreamLimits, Terminate, TerminateVerified, UpstreamTls,
    Verdict, VerificationSlot, Warm, Way,
};
pub use way_out::{GatewayWay, ProxyProtocol, WayOut};

use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// What the engine asks of control.
///
/// All methods are called on a worker's thread and return at once: whatever may need a file, a
/// cache, a name server or a policy runs on control's own threads behind the receiver.
pub trait Control: Send + Sync + 'static {
    /// Decides what becomes of one stream.
    ///
    /// The engine waits for the answer at most [`AdmissionLimits::admit_timeout`]; a sender that is
    /// dropped counts as an internal error and the stream is refused.
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict>;

    /// Decides what becomes of one request to a front listener, within the time that
    /// [`Control::admit`] has too. `None`, the default: this process has no front.
    ///
    /// Asked once for each request, and once more without [`ApiRequest::held`] for one that may be
    /// repeated, because the connection that it went over had been closed.
    fn judge(&self, _request: ApiRequest) -> Option<oneshot::Receiver<ApiVerdict>> {
        None
    }

    /// Says in words why no stream or request may begin now that will leave a record of this kind:
    /// control could not keep it. Usually, and by default, nothing is in the way. Of the requests to
    /// a front listener it is asked only for those that begin with a record.
    fn unrecorded(&self, _kind: RecordKind) -> Option<String> {
        None
    }

    /// Says what the owner of a validated chain may carry as an agent of a tunnel (pure CPU, no
    /// I/O). Asked for each of its connections, and again when a snapshot is published. By default
    /// nobody is one.
    ///
    /// # Errors
    /// Why it is none, for the agent's log.
    fn agent(&self, _chain: &[CertificateDer<'_>]) -> AgentVerdict {
        Err(Refusal {
            status: 403,
            reason: Reason::Denied,
            words: "this process takes no agents".to_owned(),
            rule: None,
        })
    }

    /// Which gateways agents may choose from, by their tunnel listeners, as far as control follows
    /// that (a look-up). Asked with each ping. Empty, the default: agents know by themselves.
    fn gateways(&self) -> Arc<[SocketAddr]> {
        Arc::from([])
    }

    /// Names the owner of a verified certificate chain for audit and metrics (pure CPU, no I/O).
    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str>;

    /// Says when the first certificate of a chain ends (pure CPU, no I/O). `None`, the default: it
    /// is not known, and no spare connection to such a peer is kept.
    fn valid_until(&self, _chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
        None
    }
}
