//! A configuration that was validated: typed, complete, with every default filled in.

use super::kube_api::{ApiServerTransport, ApiServers, FrontSettings, FrontTransport};
use super::leases::Leases;
use super::peers::Peers;
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_dataplane::cipher::CryptoPolicy;
use eyesplice_dataplane::engine::{COALESCE, KtlsPolicy};
use eyesplice_dataplane::seam::{ActionPolicy, ListenerName, ProxyAddress};
use eyesplice_identity::document::FileRef;
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::pins::SpkiHash;
use eyesplice_process::admin::AdminSettings;
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::Groups;
use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole gateway configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Who the gateway is to an authority that gives it certificates.
    pub identity: Option<Identity>,
    /// The configuration of an authority that runs in the same process.
    pub authority: Option<FileRef>,
    /// Where API servers and their clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// Who may be an agent on the tunnel listeners, if there are any.
    pub tunnel: Option<Tunnel>,
    /// Where requests to the Kubernetes API go, if there are listeners for them.
    pub apiservers: Option<ApiServers>,
    /// What holds for all clients of the Kubernetes API.
    pub front: FrontSettings,
    /// What it may reach, and how; nothing where no listener asks.
    pub egress: Egress,
    /// Issuer of the leaves for terminated streams.
    pub egress_ca: Option<EgressCa>,
    /// Trust for kubelets; present if a rule terminates them.
    pub kubelet: Option<Kubelet>,
    /// Bounds.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The key exchange groups of listeners, leaves and upstreams.
    pub tls: TlsSettings,
    /// How the engine is built.
    pub engine: EngineSettings,
    /// Health and metrics.
    pub admin: AdminSettings,
    /// The audit log.
    pub audit: Audit,
}

/// Who the gateway is to an authority, and where it keeps what that gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name; the user is `eyesplice:gateway:NAME`.
    pub name: String,
    /// The authority or API server.
    pub server: Endpoint,
    /// Who issued that server's certificate.
    pub ca_file: FileRef,
    /// A bootstrap token, for the first certificate and after one that expired.
    pub token_file: Option<FileRef>,
    /// Where keys and certificates are kept.
    pub dir: PathBuf,
    /// Who signs the client and serving certificates; what comes is held against it.
    pub issuer_ca_file: Option<FileRef>,
    /// The lifetime to ask for.
    pub lifetime: Option<Duration>,
}

impl Identity {
    /// Key and certificate of the gateway as a client: of the authority, and of kubelets.
    pub fn client_file(&self) -> FileRef {
        FileRef::new("identity", self.dir.join("gateway-client.pem"))
    }

    /// Key and certificate of a listener.
    pub fn serving_file(&self, listener: &str) -> PathBuf {
        self.dir.join(format!("serving-{listener}.pem"))
    }
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Unique; label in logs, metrics and audit.
    pub name: ListenerName,
    /// Its transport.
    pub transport: Transport,
}

/// How a listener is reached, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A UNIX socket.
    Unix(UnixTransport),
    /// TCP with mutual TLS.
    Tcp(TcpTransport),
    /// The same for agents of tunnels, who dial in; `tunnel` says who they may be.
    Tunnel(TcpTransport),
    /// TLS for clients of the Kubernetes API.
    Front(FrontTransport),
    /// TCP for who speaks TLS to an API server.
    ApiServer(ApiServerTransport),
}

impl Transport {
    /// The word used in configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unix(_) => "unix",
            Self::Tcp(_) => "tcp",
            Self::Tunnel(_) => "tunnel",
            Self::Front(_) => "front",
            Self::ApiServer(_) => "apiserver",
        }
    }

    /// Address and TLS of those with mutual TLS.
    pub fn tcp(&self) -> Option<&TcpTransport> {
        match self {
            Self::Unix(_) | Self::Front(_) | Self::ApiServer(_) => None,
            Self::Tcp(tcp) | Self::Tunnel(tcp) => Some(tcp),
        }
    }

    /// The address of those over TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp(tcp) | Self::Tunnel(tcp) => Some(tcp.address),
            Self::Front(front) => Some(front.address),
            Self::ApiServer(apiserver) => Some(apiserver.address),
        }
    }

    /// The files that those with TLS of ours present: certificate and key.
    pub fn presented(&self) -> Option<[&FileRef; 2]> {
        match self {
            Self::Unix(_) | Self::ApiServer(_) => None,
            Self::Tcp(tcp) | Self::Tunnel(tcp) => {
                Some([&tcp.tls_cert_file, &tcp.tls_private_key_file])
            }
            Self::Front(front) => Some([&front.tls_cert_file, &front.tls_private_key_file]),
        }
    }

    /// The file of CAs by which clients are validated.
    pub fn client_ca_file(&self) -> Option<&FileRef> {
        match self {
            Self::Unix(_) | Self::ApiServer(_) => None,
            Self::Tcp(tcp) | Self::Tunnel(tcp) => Some(&tcp.client_ca_file),
            Self::Front(front) => front.client_ca_file.as_ref(),
        }
    }

    /// The names to ask the authority for, if the certificate comes from there.
    pub fn tls_from_authority(&self) -> Option<&[HostAddress]> {
        match self {
            Self::Unix(_) | Self::ApiServer(_) => None,
            Self::Tcp(tcp) | Self::Tunnel(tcp) => tcp.tls_from_authority.as_deref(),
            Self::Front(front) => front.tls_from_authority.as_deref(),
        }
    }
}

/// A UNIX socket: whoever the permission bits and the list of uids let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixTransport {
    /// Where.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Owner, if not the process's own.
    pub uid: Option<u32>,
    /// Group, if not the process's own.
    pub gid: Option<u32>,
    /// Peers by SO_PEERCRED; empty: any that may connect.
    pub allowed_uids: Arc<[u32]>,
}

/// TCP with a required client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTransport {
    /// Where.
    pub address: SocketAddr,
    /// Serving certificate with its intermediates.
    pub tls_cert_file: FileRef,
    /// Its key.
    pub tls_private_key_file: FileRef,
    /// The names to ask the authority for; both files are then one, kept in the identity's directory.
    pub tls_from_authority: Option<Vec<HostAddress>>,
    /// Who may have issued the client's certificate.
    pub client_ca_file: FileRef,
    /// Common names that a client may have; empty: any of that CA.
    pub allowed_names: Vec<String>,
}

/// Who may be an agent, and how many of their connections are held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Agents by name, each with what it may carry.
    pub agents: Vec<AgentSpec>,
    /// A node's own certificate may be the agent of that node alone.
    pub node_agents: bool,
    /// Where agents connect for this gateway alone, if not where they reached it first.
    pub advertise: Option<SocketAddr>,
    /// Names and serial numbers that are refused.
    pub deny_file: Option<FileRef>,
    /// Control connections in all.
    pub max_agents: usize,
    /// Connections of one agent that wait for a stream, at least and at most.
    pub pool: RangeInclusive<usize>,
    /// Those of all agents; `None`: a part of the streams.
    pub max_parked: Option<usize>,
    /// Those from one address.
    pub max_parked_per_address: usize,
    /// Between two pings of a control connection.
    pub ping: Duration,
    /// Which TLS kubelets that are terminated have between here and their agent.
    pub inner: InnerTls,
    /// How it is one of the gateways that Leases list, if it is.
    pub leases: Option<Leases>,
    /// Other gateways, to and from which streams are passed on.
    pub peers: Option<Peers>,
}

/// Which TLS is between agent and gateway where that of a kubelet is inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InnerTls {
    /// Theirs, around the kubelet's.
    #[default]
    Both,
    /// The kubelet's alone.
    Only,
}

impl InnerTls {
    /// Its words in a configuration.
    pub(crate) const WORDS: [(&str, Self); 2] = [("both", Self::Both), ("only", Self::Only)];
}

/// What one agent may carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSpec {
    /// Unique; the common name of its certificate is `eyesplice:agent:NAME`.
    pub name: Arc<str>,
    /// Nodes that it stands for.
    pub nodes: Vec<Arc<str>>,
    /// Networks behind it.
    pub cidrs: Vec<IpNet>,
    /// Suffixes, lower case, of names that it resolves itself.
    pub dns_suffixes: Vec<String>,
}

/// Target rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// In order; the first that matches decides, and no match denies.
    pub rules: Vec<Rule>,
    /// Networks that are exempt from the built-in denials that can be lifted.
    pub insecure_allow_targets: Vec<IpNet>,
}

/// One target rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Unique; label in audit and in refusals.
    pub name: Arc<str>,
    /// Of the resolved address; empty: any.
    pub cidrs: Vec<IpNet>,
    /// Of the asked name, lower case; empty: any name, and addresses.
    pub dns_suffixes: Vec<String>,
    /// Empty: any.
    pub ports: Vec<PortRange>,
    /// What happens to a stream that matches.
    pub action: RuleAction,
    /// How its targets are reached.
    pub via: Via,
}

/// How the targets of a rule are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Via {
    /// The gateway dials them.
    #[default]
    Direct,
    /// Through an agent that was granted them.
    Tunnel,
    /// Another HTTP CONNECT proxy is asked for them.
    Proxy(Arc<ProxySpec>),
}

/// Another HTTP CONNECT proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxySpec {
    /// Its name in errors and audit.
    pub name: Arc<str>,
    /// Where it listens.
    pub at: ProxyAddress,
    /// TLS with it; always over TCP, never over a UNIX socket.
    pub tls: Option<ProxyTlsFiles>,
}

/// The files of TLS with a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyTlsFiles {
    /// Who may have issued its certificate.
    pub ca_file: FileRef,
    /// Our certificate and its key, if it wants one.
    pub client: Option<(FileRef, FileRef)>,
    /// The name in its certificate, if not its address.
    pub server_name: Option<Host>,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// At least 1.
    pub first: u16,
    /// At least `first`.
    pub last: u16,
}

impl PortRange {
    /// Tells whether a port is in the range.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// Refuse.
    Deny,
    /// Pass the bytes untouched.
    Splice,
    /// Speak verified TLS towards a target that the API server addresses in plain text.
    Originate(Upstream),
    /// End the API server's TLS and verify the kubelet.
    TerminateKubelet,
    /// End the API server's TLS and verify the target; the bytes inside are opaque.
    TerminateOpaque(Upstream),
}

impl RuleAction {
    /// The word used in configuration and summary.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Splice => "splice",
            Self::Originate(_) => "originate",
            Self::TerminateKubelet => "terminate (kubelet)",
            Self::TerminateOpaque(_) => "terminate (opaque)",
        }
    }
}

/// Whom to trust at the far end of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// CA bundle.
    pub ca_file: Option<FileRef>,
    /// Names of which the certificate must carry one; empty: what was asked for.
    pub names: Arc<[Host]>,
    /// SHA-256 of the public keys that are accepted.
    pub spki_sha256: Arc<[SpkiHash]>,
    /// SNI, if not the name that was asked for.
    pub server_name: Option<Host>,
    /// Names that the downstream may ask for in its ClientHello, and by which the target is verified then;
    /// of `terminate` with `protocol: opaque` alone.
    pub server_names: Arc<[ServerNames]>,
}

/// Names that a ClientHello may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerNames {
    /// This one.
    Exactly(String),
    /// Any that ends in this, a dot before it.
    Below(String),
}

impl ServerNames {
    /// Says whether `name`, in lower case, is among them.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Exactly(one) => name == one,
            Self::Below(suffix) => name
                .strip_suffix(suffix.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

/// Issuer of the leaves that the API server sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressCa {
    /// Who signs.
    pub signer: LeafSigner,
    /// Lifetime of a leaf; renewed before.
    pub leaf_lifetime: Duration,
}

/// Who signs leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafSigner {
    /// The gateway itself.
    Files {
        /// The CA's certificate.
        cert_file: FileRef,
        /// Its key.
        key_file: FileRef,
    },
    /// The authority, which alone has the CA's key.
    Authority {
        /// The CA's certificate, which the API server trusts; leaves are held against it.
        ca_file: FileRef,
    },
}

/// Both identities of a terminated kubelet stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubelet {
    /// Issuers of the kubelets' serving certificates.
    pub ca_file: FileRef,
    /// Our client certificate towards kubelets; the identity's own, if it comes from the authority.
    pub client_cert_file: FileRef,
    /// Its key.
    pub client_key_file: FileRef,
    /// Issuers of the API server's kubelet client certificate.
    pub apiserver_client_ca_file: FileRef,
    /// Common names that it may have; empty: any of that CA.
    pub apiserver_client_names: Vec<String>,
    /// What happens to a kubelet that fails verification.
    pub verification: Verification,
    /// Keeps a spare connection to kubelets that streams went to lately.
    pub warm: bool,
    /// Which node owns which address.
    pub inventory_file: Option<FileRef>,
    /// Public keys by node.
    pub pins_file: Option<FileRef>,
    /// What may be asked of a kubelet.
    pub actions: Arc<ActionPolicy>,
}

/// What happens to a kubelet that fails verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// The stream is refused.
    #[default]
    Enforce,
    /// The stream passes, counted and logged.
    Observe,
}

impl Verification {
    /// The word used in configuration and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// Bounds of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Streams in all.
    pub max_streams: usize,
    /// Streams of one peer.
    pub max_streams_per_peer: usize,
    /// Streams that wait for a verdict or a dial.
    pub max_pending_dials: usize,
    /// Connections over TCP on which nobody has authenticated yet.
    pub max_unauthenticated: usize,
    /// TLS handshakes of listeners that begin per second.
    pub max_handshakes_per_second: u32,
    /// Those of one address from which nobody has authenticated lately.
    pub max_handshakes_per_second_per_address: u32,
    /// Pipes of 1 MiB that one worker may hold.
    pub max_pipes_per_worker: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_streams: 20_000,
            // An API server on a UNIX socket is one peer: it may have them all.
            max_streams_per_peer: 20_000,
            max_pending_dials: 2_000,
            // A silent one has half a second at 2,000 new ones a second; a handshake takes milliseconds.
            max_unauthenticated: 1_024,
            // Strangers who do not authenticate have a quarter of it.
            max_handshakes_per_second: 2_000,
            max_handshakes_per_second_per_address: 100,
            max_pipes_per_worker: 32,
        }
    }
}

/// Deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// One TLS handshake.
    pub handshake: Duration,
    /// One request head.
    pub request_head: Duration,
    /// TCP connect to all addresses of a target together.
    pub dial: Duration,
    /// Name lookup, policy and leaf.
    pub verdict: Duration,
    /// No byte for so long ends an established stream; `None`: never.
    pub idle: Option<Duration>,
    /// No byte in the open direction of a half-closed stream for so long ends it; `None`: never.
    pub half_closed: Option<Duration>,
    /// How long live streams may run after SIGTERM.
    pub drain: Duration,
    /// Idle time before the first keepalive probe.
    pub tcp_keepalive: Duration,
    /// How long a TCP peer that owes an answer may say nothing.
    pub tcp_user_timeout: Duration,
    /// How long a session ticket is good; zero: none are given.
    pub session_ticket: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            request_head: Duration::from_secs(30),
            dial: Duration::from_secs(5),
            verdict: Duration::from_secs(5),
            idle: None,
            half_closed: Some(Duration::from_secs(60)),
            drain: Duration::from_secs(30),
            tcp_keepalive: Duration::from_secs(30),
            tcp_user_timeout: Duration::from_secs(60),
            session_ticket: crate::tickets::DEFAULT_LIFETIME,
        }
    }
}

/// What holds for TLS on both sides of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The key exchange groups that are allowed.
    pub groups: Groups,
}

/// How the engine is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Worker threads; 0: one per core.
    pub workers: usize,
    /// What waits for descriptors.
    pub io: IoPolicy,
    /// Kernel TLS.
    pub ktls: KtlsPolicy,
    /// What protects records in user space.
    pub crypto: CryptoPolicy,
    /// How long small reads of a steady one-way flow may be put off.
    pub coalesce: Duration,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            workers: 0,
            io: IoPolicy::default(),
            ktls: KtlsPolicy::default(),
            crypto: CryptoPolicy::default(),
            coalesce: COALESCE,
        }
    }
}

/// The audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Where it goes.
    pub sink: AuditSink,
    /// What becomes of streams while it takes no lines.
    pub on_failure: OnFailure,
    /// Each request to a front listener leaves a line, not the streams alone.
    pub front_requests: bool,
}

/// What becomes of streams while the audit log takes no lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Those that would leave no line are refused.
    Block,
    /// They go on; lines beyond a bound are lost and counted. The default: a gateway is the way to the node whose disk
    /// is full, and API servers audit the same requests.
    #[default]
    Drop,
}

impl OnFailure {
    /// The word used in configuration and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Drop => "drop",
        }
    }
}

/// Where audit lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditSink {
    /// Standard output.
    #[default]
    Stdout,
    /// Appended to a file.
    File(PathBuf),
}
