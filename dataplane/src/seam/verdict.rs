//! Control's answer to a [`StreamRequest`](super::StreamRequest): plain data that says all the
//! engine needs to carry the stream.

use super::{DownstreamTls, Reason, Tallies, Through};
use eyesplice_proto::route::Action;
use eyesplice_proto::target::Target;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;

/// What becomes of a stream.
#[derive(Debug)]
pub enum Verdict {
    /// Dial and relay.
    Connect(Box<Connect>),
    /// Answer with an error and close.
    Refuse(Refusal),
}

/// An answer to a CONNECT that is not 200.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// 403 policy, 502 refused or unverified, 503 no route or no capacity, 504 deadline.
    pub status: u16,
    /// Why: policy, or a deadline.
    pub reason: Reason,
    /// One line for the kubectl user: what failed, on what, what to do. Sent as reason phrase.
    pub words: String,
    /// The rule that refused, if one did.
    pub rule: Option<Arc<str>>,
}

/// How to carry a stream.
#[derive(Debug)]
pub struct Connect {
    /// The configuration generation that decided.
    pub generation: u64,
    /// Name of the target rule that matched.
    pub rule: Arc<str>,
    /// The node that owns the address, by inventory.
    pub node: Option<Arc<str>>,
    /// How the target is reached.
    pub way: Way,
    /// What is sent to the target before the first byte of the stream.
    pub preamble: Option<Preamble>,
    /// What happens to the bytes.
    pub mode: Mode,
    /// Deadlines of this stream.
    pub limits: StreamLimits,
    /// Whether a spare connection may serve the stream, and another is made for the next one. For
    /// modes whose TLS with the target is known with the verdict; ignored for others.
    pub warm: Option<Warm>,
    /// Count the connection by the address that is dialled; empty: nobody asks for the number.
    pub tallies: Tallies,
}

/// What a target is sent first, which says where a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preamble {
    /// The header of the PROXY protocol, version 2: address and port of the client, and those that
    /// it connected to.
    ProxyV2,
}

/// How a target is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// By dialling one of these: resolved once, each checked against policy, in the order of
    /// preference (RFC 8305). Never empty.
    Dial(Vec<SocketAddr>),
    /// Through an agent of a tunnel.
    Tunnel(Through),
    /// Through another HTTP CONNECT proxy.
    Proxy(Proxy),
}

/// Another HTTP CONNECT proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its name in errors and audit.
    pub name: Arc<str>,
    /// Where it listens.
    pub at: ProxyAddress,
    /// How to speak TLS to it; `None`: it is spoken to in plain text.
    pub tls: Option<ProxyTls>,
    /// What it is asked for.
    pub target: Target,
}

/// Where a proxy listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyAddress {
    /// At one of these, in the order of preference. Never empty.
    Tcp(Vec<SocketAddr>),
    /// At a UNIX socket.
    Unix(PathBuf),
}

/// A verified TLS client towards a proxy.
#[derive(Clone, Debug)]
pub struct ProxyTls {
    /// Validates the proxy's certificate, and presents ours if it has one.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must have.
    pub server_name: ServerName<'static>,
}

/// With what a spare connection to a target is made. It is used only for a stream of the same
/// generation to the same address, server name and node.
#[derive(Debug)]
pub struct Warm {
    /// Verifies the target just as the stream's own does; its verifier belongs to the spare alone.
    pub tls: UpstreamTls,
    /// How long it may wait for its stream.
    pub lifetime: Duration,
    /// The end of the certificate that we present.
    pub until: SystemTime,
}

/// What happens to a stream's bytes.
#[derive(Debug)]
pub enum Mode {
    /// Pass them untouched.
    Splice,
    /// Downstream speaks plain text; speak verified TLS to the target.
    Originate(UpstreamTls),
    /// End the downstream's TLS, verify the target, encrypt again.
    Terminate(Terminate),
    /// The same, with a leaf that depends on whom the target is verified to be.
    TerminateVerified(TerminateVerified),
    /// The same, with both TLS ends for the name that the downstream's ClientHello asks for. What is
    /// inside is opaque.
    TerminateNamed(Arc<dyn ByName>),
}

/// A terminated stream whose leaf has to wait for the verified target.
#[derive(Debug)]
pub struct TerminateVerified {
    /// Gives the leaf.
    pub leaf: Arc<dyn LeafByPeer>,
    /// How to speak to the target.
    pub upstream: UpstreamTls,
    /// What the decrypted bytes are.
    pub inside: Inside,
}

/// Control's leaf for a stream whose target was verified.
pub trait LeafByPeer: fmt::Debug + Send + Sync {
    /// Gives it; asked once, after the handshake with the target. Returns at once, as
    /// [`Control::admit`](super::Control::admit) does.
    fn leaf(&self) -> oneshot::Receiver<Result<DownstreamTls, Refusal>>;
}

/// Control's TLS ends for the name that a downstream asks for.
pub trait ByName: fmt::Debug + Send + Sync {
    /// Gives them; `None`: the ClientHello has no name. Returns at once. A refusal of status 403 is of the
    /// name itself.
    fn choose(&self, name: Option<&str>) -> oneshot::Receiver<Result<Terminate, Refusal>>;
}

/// Both TLS ends of a terminated stream.
#[derive(Debug)]
pub struct Terminate {
    /// Presents the leaf for the dialled name; demands a client certificate for kubelets.
    pub downstream: DownstreamTls,
    /// How to speak to the target.
    pub upstream: UpstreamTls,
    /// What the decrypted bytes are.
    pub inside: Inside,
}

/// What a terminated stream carries.
#[derive(Clone, Debug)]
pub enum Inside {
    /// The kubelet's HTTP API: parsed, authorised by action, audited per request.
    Kubelet(Arc<ActionPolicy>),
    /// Anything; relayed unread.
    Opaque,
}

/// A verified TLS client for one stream.
#[derive(Debug)]
pub struct UpstreamTls {
    /// Its verifier belongs to this stream alone and reports into `verification`.
    pub config: Arc<ClientConfig>,
    /// SNI and the name that is verified: what was dialled.
    pub server_name: ServerName<'static>,
    /// Where the verifier leaves what it found.
    pub verification: VerificationSlot,
}

/// Written once by a stream's certificate verifier, or by the engine with what the verifier of a
/// spare connection found; read by the engine after the handshake.
pub type VerificationSlot = Arc<OnceLock<PeerVerification>>;

/// What a certificate verifier found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerVerification {
    /// Chain, name, node and usage are as expected.
    Verified {
        /// Subject of the leaf, for audit (`CN=system:node:worker-3,O=system:nodes`).
        identity: Arc<str>,
    },
    /// `verification: observe`: it would have been refused, and was let pass.
    Observed {
        /// Subject of the leaf.
        identity: Arc<str>,
        /// Stable label of the cause, for metrics (`self_signed`).
        cause: &'static str,
        /// The full message with the remedy.
        message: Arc<str>,
    },
    /// It was refused.
    Refused {
        /// Stable label of the cause, for metrics.
        cause: &'static str,
        /// The full message: node, address, expected and presented names, serial, validity, remedy.
        message: Arc<str>,
    },
}

/// Which actions a kubelet stream may perform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionPolicy {
    denied: Vec<(Action, Arc<str>)>,
}

impl ActionPolicy {
    /// Builds the policy from the denied actions, each with the name of the rule that denies it.
    pub fn new(denied: Vec<(Action, Arc<str>)>) -> Self {
        Self { denied }
    }

    /// Returns the name of the rule that denies `action`, if one does.
    pub fn denies(&self, action: Action) -> Option<&Arc<str>> {
        self.denied
            .iter()
            .find(|(denied, _)| *denied == action)
            .map(|(_, rule)| rule)
    }
}

/// Deadlines of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// TCP connect to all addresses together.
    pub dial_timeout: Duration,
    /// One TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a head to its last, of a request or a reply; and from a forwarded upgrade
    /// request to the reply's head.
    pub head_timeout: Duration,
    /// How long an established stream may move no byte; `None`: for ever.
    pub idle_timeout: Option<Duration>,
    /// How long the open direction of a half-closed stream may bring nothing, once all that was sent
    /// before has arrived; `None`: for ever.
    pub half_closed_timeout: Option<Duration>,
}
