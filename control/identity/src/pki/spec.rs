//! What a PKI is to hold: the typed form of `PKIConfig`, whoever wrote it.

use super::key::KeyAlgorithm;
use super::names::without_repeats;
use crate::inventory::{HostAddress, NameError, check_node_name};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use time::Duration;

/// First address of kubeadm's default service range: the `kubernetes` service.
pub const DEFAULT_SERVICE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

const DEFAULT_SERVER_PORT: u16 = 6443;

/// kubeadm's name of a cluster in kubeconfigs.
pub(super) const DEFAULT_CLUSTER: &str = "kubernetes";
/// The cluster's DNS domain, kubelet's and kubeadm's default.
pub(super) const DEFAULT_DOMAIN: &str = "cluster.local";
/// The name of the only etcd member where none was named.
const DEFAULT_MEMBER: &str = "etcd";

/// Everything that decides which files there are, and what stands in them.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) scope: Scope,
    pub(crate) cluster: Cluster,
    /// More names and addresses of the API server.
    pub(crate) apiserver: Vec<HostAddress>,
    /// More names and addresses at which controller manager and scheduler serve.
    pub(crate) controllers: Vec<HostAddress>,
    /// More names and addresses of the gateway's TCP listener.
    pub(crate) gateway: Vec<HostAddress>,
    /// Members of etcd; never empty.
    pub(crate) etcd: Vec<NodeSpec>,
    pub(crate) nodes: Vec<NodeSpec>,
    pub(crate) users: Vec<UserSpec>,
    pub(crate) agents: Vec<AgentName>,
    /// Users who may break glass.
    pub(crate) break_glass: Vec<BreakGlassUser>,
    pub(crate) authorities: Authorities,
    pub(crate) keys: KeyAlgorithm,
    pub(crate) lifetimes: Lifetimes,
}

/// What a tree is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of a new cluster.
    #[default]
    Cluster,
    /// What gateways and agents hold in a cluster that has its PKI.
    Gateway,
}

impl Scope {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("cluster", Self::Cluster), ("gateway", Self::Gateway)];
}

/// What kubeconfigs and the API server's certificate say of the cluster.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) server: ServerUrl,
    /// First addresses of the service ranges.
    pub(crate) service_ips: Vec<IpAddr>,
}

/// Where the CAs come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authorities {
    pub(crate) layout: Layout,
    /// Signs the CAs that are made, which are roots without it.
    pub(crate) parent: Option<Pair>,
    /// CAs that exist already, by name.
    pub(crate) existing: Vec<(String, Existing)>,
}

/// How many CAs there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One for each kind of trust.
    #[default]
    Separate,
    /// `ca` alone.
    Single,
}

impl Layout {
    pub(super) const NAMES: [(&'static str, Self); 2] =
        [("separate", Self::Separate), ("single", Self::Single)];
}

/// A certificate file and its key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A CA that exists already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Its key can be read, and signs.
    Signs(Pair),
    /// Its key is elsewhere: of the CA there is only the certificate's file, and what it shall sign
    /// is written as requests.
    External(PathBuf),
}

impl Existing {
    pub(super) fn certificate(&self) -> &Path {
        match self {
            Self::Signs(pair) => &pair.certificate,
            Self::External(certificate) => certificate,
        }
    }

    /// Absent if the key is elsewhere.
    pub(super) fn key(&self) -> Option<&Path> {
        match self {
            Self::Signs(pair) => Some(&pair.key),
            Self::External(_) => None,
        }
    }
}

/// How long certificates are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetimes {
    pub(crate) authorities: Duration,
    pub(crate) certificates: Duration,
    pub(crate) break_glass: Duration,
}

impl Default for Lifetimes {
    /// kubeadm's `CACertificateValidityPeriod` and `CertificateValidityPeriod`.
    fn default() -> Self {
        Self {
            authorities: Duration::days(3650),
            certificates: Duration::days(365),
            // A shift.
            break_glass: Duration::hours(8),
        }
    }
}

/// The default member of etcd, which stands beside the API server.
pub(super) fn default_member(apiserver: &[HostAddress]) -> NodeSpec {
    let loopback = HostAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let own = apiserver.iter().filter(|name| !name.is_wildcard());
    let addresses = own.cloned().chain([loopback]).collect();
    NodeSpec {
        name: DEFAULT_MEMBER.to_owned(),
        addresses: without_repeats(addresses),
    }
}

/// A user with a client certificate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

/// RFC 5280, appendix A: ub-common-name and ub-organization-name.
pub(crate) const MAX_NAME: usize = 64;

/// Why a `--user` value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserSpecError {
    /// The name cannot be a user's and a file's.
    #[error(
        "user name {0:?} must be 1 to 64 letters, digits, '.', '_', '@' and '-', not '.' first"
    )]
    Name(String),
    /// A group cannot stand in a certificate.
    #[error("group {1:?} of user {0} must be 1 to 64 visible characters without comma")]
    Group(String, String),
}

impl UserSpec {
    pub(crate) fn new(name: &str, groups: Vec<String>) -> Result<Self, UserSpecError> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'@' | b'-');
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.starts_with('.')
            || !name.bytes().all(allowed)
        {
            return Err(UserSpecError::Name(name.to_owned()));
        }
        for group in &groups {
            let visible = |byte: u8| byte.is_ascii_graphic() && byte != b',';
            if group.is_empty() || group.len() > MAX_NAME || !group.bytes().all(visible) {
                return Err(UserSpecError::Group(name.to_owned(), group.clone()));
            }
        }
        Ok(Self {
            name: name.to_owned(),
            groups,
        })
    }
}

/// `NAME[=GROUP[,GROUP...]]`.
impl FromStr for UserSpec {
    type Err = UserSpecError;

    fn from_str(text: &str) -> Result<Self, UserSpecError> {
        let (name, groups) = text.split_once('=').unwrap_or((text, ""));
        let groups = groups.split(',').filter(|group| !group.is_empty());
        Self::new(name, groups.map(str::to_owned).collect())
    }
}

/// The user of an agent of a tunnel is this with its name.
const AGENT_USER: &str = "eyesplice:agent:";

/// The name of an agent of a tunnel, with a client certificate of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentName(String);

/// Why a `--agent` value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "agent name {0:?} must be 1 to {max} letters, digits, '.', '_' and '-', not '.' first",
    max = MAX_NAME - AGENT_USER.len()
)]
pub struct AgentNameError(String);

impl AgentName {
    /// As in `tunnel.agents` of a gateway.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The common name of its certificate.
    pub(super) fn user(&self) -> String {
        format!("{AGENT_USER}{}", self.0)
    }
}

impl FromStr for AgentName {
    type Err = AgentNameError;

    fn from_str(text: &str) -> Result<Self, AgentNameError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let long = text.len() > MAX_NAME - AGENT_USER.len();
        if text.is_empty() || long || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(AgentNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What a certificate for break-glass says of itself: its organization.
pub const BREAK_GLASS_GROUP: &str = "eyesplice.dev/break-glass";

/// How long a certificate for break-glass may be valid: to be issued for an outage that has begun.
pub const BREAK_GLASS_LIFETIME: RangeInclusive<Duration> = Duration::HOUR..=Duration::DAY;

/// A user who may break glass, named as API servers name that user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakGlassUser(String);

/// Why a `--break-glass` value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "user name {0:?} must be 1 to 64 letters, digits, '.', '_', '@', ':' and '-', not '.' first"
)]
pub struct BreakGlassUserError(String);

impl BreakGlassUser {
    /// The common name of the certificate.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its files.
    pub(super) fn file_name(&self) -> String {
        format!("break-glass-{}", self.0)
    }
}

impl FromStr for BreakGlassUser {
    type Err = BreakGlassUserError;

    fn from_str(text: &str) -> Result<Self, BreakGlassUserError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@:-".contains(&byte);
        let long = text.len() > MAX_NAME;
        if text.is_empty() || long || text.starts_with('.') || !text.bytes().all(allowed) {
            return Err(BreakGlassUserError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A node: `NAME=ADDRESS[,ADDRESS...]`, addresses being IPs or DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// The node's name in Kubernetes.
    pub(crate) name: String,
    /// What its kubelet is dialled at; at least one.
    pub(crate) addresses: Vec<HostAddress>,
}

impl NodeSpec {
    pub(crate) fn new(name: &str, addresses: Vec<HostAddress>) -> Result<Self, NodeSpecError> {
        check_node_name(name).map_err(|problem| NodeSpecError::Name(name.to_owned(), problem))?;
        if addresses.is_empty() {
            return Err(NodeSpecError::NoAddress(name.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            addresses: without_repeats(addresses),
        })
    }

    /// What its serving certificate must cover: every address, and the node's name.
    pub(super) fn certificate_names(&self) -> Vec<HostAddress> {
        let own = self.name.parse::<HostAddress>().ok();
        without_repeats(self.addresses.iter().cloned().chain(own).collect())
    }
}

/// Why a `--node` value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeSpecError {
    /// There is no `=`.
    #[error("node {0:?} has no address; write NAME=IP[,IP_OR_DNS...], such as worker-3=10.0.0.7")]
    NoAddress(String),
    /// The name is not one that Kubernetes gives to a node.
    #[error("node name {0:?} {1}")]
    Name(String, NameError),
    /// An address is neither an IP nor a DNS name.
    #[error("address {address:?} of node {node} {problem}")]
    Address {
        /// The node.
        node: String,
        /// The address.
        address: String,
        /// What is wrong with it.
        problem: NameError,
    },
}

impl FromStr for NodeSpec {
    type Err = NodeSpecError;

    fn from_str(text: &str) -> Result<Self, NodeSpecError> {
        let (name, addresses) = match text.split_once('=') {
            Some((name, addresses)) if !addresses.is_empty() => (name, addresses),
            _ => return Err(NodeSpecError::NoAddress(text.to_owned())),
        };
        let address = |address: &str| {
            address
                .parse::<HostAddress>()
                .map_err(|problem| NodeSpecError::Address {
                    node: name.to_owned(),
                    address: address.to_owned(),
                    problem,
                })
        };
        // The name's mistakes come first, as they stand first.
        check_node_name(name).map_err(|problem| NodeSpecError::Name(name.to_owned(), problem))?;
        let addresses = addresses
            .split(',')
            .map(address)
            .collect::<Result<Vec<_>, _>>()?;
        Self::new(name, addresses)
    }
}

/// A service range, of which the API server's own service has the first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceCidr(pub IpAddr);

/// Why a `--service-cidr` value was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no service range; write a network such as 10.96.0.0/12 or fd00:96::/112")]
pub struct ServiceCidrError(String);

impl FromStr for ServiceCidr {
    type Err = ServiceCidrError;

    fn from_str(text: &str) -> Result<Self, ServiceCidrError> {
        let wrong = || ServiceCidrError(text.to_owned());
        let net: IpNet = text.parse().map_err(|_| wrong())?;
        // Below, there is no address but the network's own.
        if net.trunc() != net || net.max_prefix_len() - net.prefix_len() < 2 {
            return Err(wrong());
        }
        let first = match net.network() {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() + 1).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() + 1).into(),
        };
        Ok(Self(first))
    }
}

/// The URL of an API server, as a kubeconfig of ours has it: `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{text}")]
pub(crate) struct ServerUrl {
    text: String,
    pub(crate) host: HostAddress,
    pub(crate) port: u16,
}

/// A text that is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no URL of an API server; write https://HOST[:PORT]")]
pub(crate) struct NoServerUrl;

impl ServerUrl {
    /// Port 6443 of a host.
    pub(crate) fn of_host(host: &HostAddress) -> Self {
        let text = match host {
            HostAddress::Ip(IpAddr::V6(ip)) => format!("https://[{ip}]:{DEFAULT_SERVER_PORT}"),
            other => format!("https://{other}:{DEFAULT_SERVER_PORT}"),
        };
        Self {
            text,
            host: host.clone(),
            port: DEFAULT_SERVER_PORT,
        }
    }

    /// The first of these names, or this machine.
    pub(crate) fn first_of(names: &[HostAddress]) -> Self {
        match names.iter().find(|name| !name.is_wildcard()) {
            Some(host) => Self::of_host(host),
            None => Self::of_host(&HostAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))),
        }
    }
}

impl FromStr for ServerUrl {
    type Err = NoServerUrl;

    /// Takes `https://HOST[:PORT][/]`; nothing else fits into a kubeconfig's `server` here, which
    /// also keeps quotes and control characters out of the file.
    fn from_str(url: &str) -> Result<Self, NoServerUrl> {
        let authority = url.strip_prefix("https://").ok_or(NoServerUrl)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = split_authority(authority).ok_or(NoServerUrl)?;
        let port = match port {
            None => 443,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or(NoServerUrl)?,
            Some(_) => return Err(NoServerUrl),
        };
        Ok(Self {
            text: format!("https://{authority}"),
            host: host.parse().map_err(|_| NoServerUrl)?,
            port,
        })
    }
}

/// Splits `HOST[:PORT]`, where an IPv6 address stands in brackets.
fn split_authority(authority: &str) -> Option<(&str, Option<&str>)> {
    match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            match rest.strip_prefix(':') {
                None if rest.is_empty() => Some((host, None)),
                None => None,
                port => Some((host, port)),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => Some((host, Some(port))),
            None => Some((authority, None)),
        },
    }
}
