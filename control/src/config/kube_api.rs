//! What is configured for clients of the Kubernetes API, and for who leads them to it: typed,
//! complete, with every default filled in.

use super::model::{AuditSink, ProxyTlsFiles};
use eyesplice_identity::document::FileRef;
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::token::review::ReviewCredential;
use eyesplice_proto::api::Subresource;
use eyesplice_proto::target::Host;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// TLS for clients of the Kubernetes API: what a kubeconfig points at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontTransport {
    /// Where.
    pub address: SocketAddr,
    /// Serving certificate with its intermediates.
    pub tls_cert_file: FileRef,
    /// Its key.
    pub tls_private_key_file: FileRef,
    /// The names to ask the authority for; both files are then one, kept in the identity's
    /// directory.
    pub tls_from_authority: Option<Vec<HostAddress>>,
    /// Who may have issued the certificates of users; none: users have tokens.
    pub client_ca_file: Option<FileRef>,
}

/// What holds for all clients of the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontSettings {
    /// The certificate by which API servers believe whom we name as user, and its key.
    pub proxy_client: Option<(FileRef, FileRef)>,
    /// In which headers they read that.
    pub headers: UserHeaders,
    /// Streams of pods may go past the API servers.
    pub short_way: Option<ShortWay>,
    /// What API servers do not see of them is recorded as they would.
    pub audit: Option<FrontAudit>,
    /// How many streams of pods there may be.
    pub limits: FrontLimits,
    /// What may be done while no API server can be asked.
    pub break_glass: Option<BreakGlassSettings>,
}

/// Audit events in the format of API servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontAudit {
    /// The cluster's audit policy.
    pub policy_file: FileRef,
    /// Where events are written, a line each.
    pub sink: Option<AuditSink>,
    /// The kubeconfig of the webhook that they are sent to.
    pub webhook: Option<FileRef>,
}

/// What may be done while no API server can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassSettings {
    /// Who issues the certificates that are good for this, and for nothing else.
    pub client_ca_file: FileRef,
    /// The second path to API servers.
    pub vantage: VantageSettings,
    /// Looks in a row that must have failed, of each API server on each path.
    pub failures: u32,
    /// For how long.
    pub after: Duration,
    /// How old the last review of a user, and the last look at a pod, may be.
    pub reviewed_within: Duration,
    /// Between two rounds of questions about what is remembered.
    pub refresh: Duration,
    /// The kubelets' `cacheAuthorizedTTL`.
    pub kubelet_cache: Duration,
    /// How long a stream may be.
    pub max_stream: Duration,
    /// What may be done; never empty.
    pub allow: Vec<BreakGlassRule>,
}

/// An HTTP CONNECT proxy through which API servers are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VantageSettings {
    /// Where.
    pub address: SocketAddr,
    /// TLS with it.
    pub tls: ProxyTlsFiles,
}

/// What may be done, and by whom. Each part must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassRule {
    /// Unique; in audit and log.
    pub name: Arc<str>,
    /// The user is in one of these; never empty.
    pub groups: Vec<String>,
    /// The streams; never empty.
    pub streams: Vec<Subresource>,
    /// The namespaces; never empty.
    pub namespaces: Vec<String>,
    /// The pods; empty: any of the namespace.
    pub pods: Vec<String>,
    /// Labels that the pod must have.
    pub pod_labels: BTreeMap<String, String>,
}

/// How many streams of pods there may be; `None`: as many as may be at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontLimits {
    /// Of one user, if it is known.
    pub of_user: Option<usize>,
    /// Of one pod.
    pub of_pod: Option<usize>,
    /// Of one node, past the API servers.
    pub of_node: Option<usize>,
}

/// The short way of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortWay {
    /// What is known of admission plugins that are built into API servers.
    pub admission: Admission,
    /// Which addresses of nodes are dialled, in the order of preference:
    /// `--kubelet-preferred-address-types`.
    pub address_types: Vec<AddressType>,
    /// Our token for kubelets, instead of the certificate in `kubelet`.
    pub kubelet_token_file: Option<FileRef>,
    /// A stream ends when the certificate or token of its user does.
    pub end_with_credential: bool,
}

/// What is known of admission plugins that are built into API servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// Nothing: streams that are admitted pass through API servers. Logs are not.
    #[default]
    Pass,
    /// None of them concerns streams of pods.
    Trusted,
}

/// A kind of a node's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// `Hostname`
    Hostname,
    /// `InternalDNS`
    InternalDns,
    /// `InternalIP`
    InternalIp,
    /// `ExternalDNS`
    ExternalDns,
    /// `ExternalIP`
    ExternalIp,
}

impl AddressType {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hostname => "Hostname",
            Self::InternalDns => "InternalDNS",
            Self::InternalIp => "InternalIP",
            Self::ExternalDns => "ExternalDNS",
            Self::ExternalIp => "ExternalIP",
        }
    }
}

/// The headers in which API servers read a user from a front proxy, each in the order of their
/// flags; never empty but for `uid`. The first of each is written, and none of them passes from a
/// client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserHeaders {
    /// `--requestheader-username-headers`.
    pub username: Vec<String>,
    /// `--requestheader-group-headers`.
    pub group: Vec<String>,
    /// `--requestheader-uid-headers`.
    pub uid: Vec<String>,
    /// `--requestheader-extra-headers-prefix`.
    pub extra_prefix: Vec<String>,
}

impl Default for UserHeaders {
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            username: one("X-Remote-User"),
            group: one("X-Remote-Group"),
            uid: one("X-Remote-Uid"),
            extra_prefix: one("X-Remote-Extra-"),
        }
    }
}

/// Where kubelets and pods reach API servers; their TLS passes untouched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiServerTransport {
    /// Where.
    pub address: SocketAddr,
    /// The client's address is told to the server, by PROXY protocol version 2.
    pub proxy_protocol: bool,
}

/// Where requests to the Kubernetes API go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServers {
    /// At least one, none twice.
    pub servers: Vec<Endpoint>,
    /// Who issued their serving certificates.
    pub ca_file: FileRef,
    /// The name in the certificate of each; absent: its own host.
    pub server_name: Option<Host>,
    /// Who we are to them.
    pub credential: Option<ReviewCredential>,
    /// Between two looks at each of them.
    pub health_interval: Duration,
    /// Looks in a row that failed before one is left alone.
    pub health_failures: u32,
    /// Which one is next.
    pub balance: Balance,
}

/// How the next API server is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// The one with the fewest connections.
    #[default]
    LeastStreams,
}

impl Balance {
    /// The word used in configuration and summary.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundRobin",
            Self::LeastStreams => "leastStreams",
        }
    }
}
