//! What `pki init` is told, and the plan that follows from it.

use super::kubeconfig::Kubeconfig;
use super::profile::{Profile, profiles, without_repeats};
use crate::inventory::{HostAddress, NameError, check_node_name};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

/// First address of kubeadm's default service range: the `kubernetes` service.
pub const DEFAULT_SERVICE_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

const DEFAULT_SERVER_PORT: u16 = 6443;

/// Options of `eyesplice pki init`.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// Where to write; created with mode 0700 if it does not exist.
    pub dir: PathBuf,
    /// More names and addresses of the API server (`--apiserver`).
    pub apiserver: Vec<String>,
    /// URL in the kubeconfigs (`--server`); default: the first `apiserver`, or 127.0.0.1, at 6443.
    /// Its host is added to the API server's names.
    pub server: Option<String>,
    /// Address of the `kubernetes` service (`--service-ip`); see [`DEFAULT_SERVICE_IP`].
    pub service_ip: IpAddr,
    /// Nodes to issue kubelet certificates for (`--node`).
    pub nodes: Vec<NodeSpec>,
    /// Names and addresses of the gateway's TCP listener (`--gateway`); `localhost` and 127.0.0.1
    /// are always there.
    pub gateway: Vec<String>,
    /// Overwrite files that exist.
    pub force: bool,
}

/// A node on the command line: `NAME=ADDRESS[,ADDRESS...]`, addresses being IPs or DNS names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// The node's name in Kubernetes.
    pub(crate) name: String,
    /// What its kubelet is dialled at; at least one.
    pub(crate) addresses: Vec<HostAddress>,
}

impl NodeSpec {
    /// What the kubelet's serving certificate must cover: every address, and the node's name.
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
    #[error("node name {name:?} {problem}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: NameError,
    },
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
        check_node_name(name).map_err(|problem| NodeSpecError::Name {
            name: name.to_owned(),
            problem,
        })?;
        let address = |address: &str| {
            address
                .parse::<HostAddress>()
                .map_err(|problem| NodeSpecError::Address {
                    node: name.to_owned(),
                    address: address.to_owned(),
                    problem,
                })
        };
        let addresses = addresses
            .split(',')
            .map(address)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            name: name.to_owned(),
            addresses: without_repeats(addresses),
        })
    }
}

/// One wrong option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionProblem {
    /// A name or address that is none.
    #[error("{option} {value:?} {problem}")]
    Name {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: NameError,
    },
    /// The server's URL is not one that a kubeconfig takes.
    #[error("--server {0:?} is no URL of an API server; write https://HOST[:PORT]")]
    Server(String),
    /// Two nodes of one name.
    #[error("--node {0} is given twice; list all its addresses in one")]
    RepeatedNode(String),
    /// Two nodes at one address.
    #[error("address {address} belongs to both node {first} and node {second}; remove it from one")]
    SharedAddress {
        /// The address.
        address: HostAddress,
        /// The node that was named first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A node's name makes a file name that another file has.
    #[error("node {node} needs the file {file}, which is taken; rename the node")]
    TakenFile {
        /// The node.
        node: String,
        /// The file.
        file: String,
    },
}

/// Validated options, with every certificate and kubeconfig to make.
pub(super) struct Plan {
    pub(super) apiserver: Vec<HostAddress>,
    pub(super) server: String,
    pub(super) server_host: HostAddress,
    pub(super) service_ip: IpAddr,
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) gateway: Vec<HostAddress>,
    pub(super) profiles: Vec<Profile>,
    pub(super) kubeconfigs: Vec<Kubeconfig>,
}

impl Plan {
    /// Every file that will be written.
    pub(super) fn file_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for profile in &self.profiles {
            names.push(format!("{}.crt", profile.name));
            names.push(format!("{}.key", profile.name));
        }
        names.extend(["sa.key", "sa.pub", "inventory.yaml"].map(str::to_owned));
        names.extend(self.kubeconfigs.iter().map(|config| config.file.clone()));
        names
    }
}

impl InitOptions {
    /// Validates everything and lists what to make; all problems at once.
    pub(super) fn plan(&self) -> Result<Plan, Vec<OptionProblem>> {
        let mut problems = Vec::new();
        let apiserver = hosts("--apiserver", &self.apiserver, &mut problems);
        let gateway = hosts("--gateway", &self.gateway, &mut problems);
        let (server, server_host) = match &self.server {
            None => default_server(&apiserver),
            Some(url) => match url_host(url) {
                Some(host) => (url.trim_end_matches('/').to_owned(), host),
                None => {
                    problems.push(OptionProblem::Server(url.clone()));
                    default_server(&apiserver)
                }
            },
        };
        check_nodes(&self.nodes, &mut problems);
        let mut plan = Plan {
            apiserver,
            server,
            server_host,
            service_ip: self.service_ip.to_canonical(),
            nodes: self.nodes.clone(),
            gateway,
            profiles: Vec::new(),
            kubeconfigs: kubeconfigs(&self.nodes),
        };
        plan.profiles = profiles(&plan);
        check_files(&plan, &mut problems);
        if problems.is_empty() {
            Ok(plan)
        } else {
            Err(problems)
        }
    }
}

fn kubeconfigs(nodes: &[NodeSpec]) -> Vec<Kubeconfig> {
    let fixed = [
        ("admin", "kubernetes-admin"),
        ("controller-manager", "system:kube-controller-manager"),
        ("scheduler", "system:kube-scheduler"),
    ]
    .map(|(name, user)| Kubeconfig {
        file: format!("{name}.kubeconfig"),
        user: user.to_owned(),
        certificate: name.to_owned(),
    });
    let of_node = |node: &NodeSpec| Kubeconfig {
        file: format!("kubelet-{}.kubeconfig", node.name),
        user: format!("system:node:{}", node.name),
        certificate: format!("kubelet-client-{}", node.name),
    };
    fixed.into_iter().chain(nodes.iter().map(of_node)).collect()
}

fn hosts(
    option: &'static str,
    values: &[String],
    problems: &mut Vec<OptionProblem>,
) -> Vec<HostAddress> {
    let mut hosts = Vec::with_capacity(values.len());
    for value in values {
        match value.parse() {
            Ok(host) => hosts.push(host),
            Err(problem) => {
                problems.push(OptionProblem::Name {
                    option,
                    value: value.clone(),
                    problem,
                });
            }
        }
    }
    hosts
}

fn default_server(apiserver: &[HostAddress]) -> (String, HostAddress) {
    let loopback = || HostAddress::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let host = apiserver.first().cloned().unwrap_or_else(loopback);
    let url = match &host {
        HostAddress::Ip(IpAddr::V6(ip)) => format!("https://[{ip}]:{DEFAULT_SERVER_PORT}"),
        other => format!("https://{other}:{DEFAULT_SERVER_PORT}"),
    };
    (url, host)
}

/// The host of an `https://HOST[:PORT][/]`; nothing else fits into a kubeconfig's `server` here,
/// which also keeps quotes and control characters out of the file.
fn url_host(url: &str) -> Option<HostAddress> {
    let authority = url.strip_prefix("https://")?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            match rest.strip_prefix(':') {
                None if rest.is_empty() => (host, None),
                None => return None,
                port => (host, port),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if let Some(port) = port {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        port.parse::<u16>()
            .ok()
            .filter(|port| digits && *port != 0)?;
    }
    host.parse().ok()
}

fn check_nodes(nodes: &[NodeSpec], problems: &mut Vec<OptionProblem>) {
    let mut owners: HashMap<&HostAddress, &str> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        if nodes[..index]
            .iter()
            .any(|earlier| earlier.name == node.name)
        {
            problems.push(OptionProblem::RepeatedNode(node.name.clone()));
            continue;
        }
        for address in &node.addresses {
            if let Some(first) = owners.insert(address, &node.name) {
                problems.push(OptionProblem::SharedAddress {
                    address: address.clone(),
                    first: first.to_owned(),
                    second: node.name.clone(),
                });
            }
        }
    }
}

/// A node `client-a` would want `kubelet-client-a.crt`, as does node `a`; a node `serving-ca` would
/// want the CA's file.
fn check_files(plan: &Plan, problems: &mut Vec<OptionProblem>) {
    let repeated: Vec<&str> = plan
        .profiles
        .iter()
        .enumerate()
        .filter(|(index, profile)| {
            plan.profiles[..*index]
                .iter()
                .any(|earlier| earlier.name == profile.name)
        })
        .map(|(_, profile)| profile.name.as_str())
        .collect();
    for node in &plan.nodes {
        for name in &repeated {
            let serving = name.strip_prefix("kubelet-") == Some(&node.name);
            let twice = plan
                .nodes
                .iter()
                .filter(|other| other.name == node.name)
                .count()
                > 1;
            if serving && !twice {
                let file = format!("{name}.crt");
                problems.push(OptionProblem::TakenFile {
                    node: node.name.clone(),
                    file,
                });
            }
        }
    }
}
