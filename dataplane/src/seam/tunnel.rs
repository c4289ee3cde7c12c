//! What control and the engine say to each other about tunnels: at a gateway, who an agent is and
//! what it may carry; at an agent, which gateways it holds; at both, how the tunnels are.

use super::{GatewayWay, ListenerName, Proxy, Refusal};
use eyesplice_proto::target::Target;
use eyesplice_proto::tunnel::Patience;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What an agent may carry, by its certificate and the policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentGrant {
    /// Its name in logs, metrics and audit.
    pub name: Arc<str>,
    /// Nodes that it stands for.
    pub nodes: Arc<[Arc<str>]>,
    /// Networks behind it.
    pub networks: Arc<[IpNet]>,
    /// DNS suffixes in lower case, without a leading dot, that it resolves itself.
    pub suffixes: Arc<[String]>,
}

impl AgentGrant {
    /// Whether it covers a route.
    pub fn covers(&self, route: &Route) -> bool {
        match route {
            Route::Node(node) => self.nodes.contains(node),
            Route::Address(address) => self.networks.iter().any(|net| net.contains(address)),
            Route::Name(name) => self.suffixes.iter().any(|suffix| {
                name.strip_suffix(suffix.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}

/// By what an agent is found for a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash, derive_more::Display)]
pub enum Route {
    /// The agent of this node.
    #[display("node {_0}")]
    Node(Arc<str>),
    /// An agent in front of a network with this address.
    #[display("address {_0}")]
    Address(IpAddr),
    /// An agent that resolves this name, in lower case.
    #[display("name {_0}")]
    Name(String),
}

/// The way to a target that agents reach.
#[derive(Clone, Debug)]
pub struct Through {
    /// In the order of preference; an agent of a later one is asked when there is none of the
    /// ones before. Never empty.
    pub routes: Vec<Route>,
    /// What the agent dials.
    pub target: Target,
    /// Other gateways that may have such an agent where this one has none, in the order in which
    /// they are asked for the target. Empty for a stream that was passed on to this gateway.
    pub elsewhere: Vec<Proxy>,
    /// The stream is TLS that is verified here, so that the session with the agent may end before
    /// it begins, if the agent permits it as well.
    pub inner_only: bool,
}

/// Limits of the tunnels of a gateway. All counts are for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelLimits {
    /// Control connections.
    pub max_agents: usize,
    /// Data connections of one agent that wait for a stream, at least and at most.
    pub parked: std::ops::RangeInclusive<usize>,
    /// Data connections of all agents that wait for a stream.
    pub max_parked: usize,
    /// Those from one address (IPv6: of one /64).
    pub max_parked_per_address: usize,
    /// Where agents connect for this gateway alone; `None`: where they reached it first.
    pub advertise: Option<SocketAddr>,
    /// Between two pings of a control connection.
    pub ping: Duration,
    /// How long an open waits for an agent before it tries more than it has.
    pub patience: Patience,
}

/// What an agent's engine has to do.
#[derive(Clone, Debug)]
pub struct AgentDuties {
    /// Tells this process from others of the same identity; random.
    pub instance: [u8; 16],
    /// The version of the program, for the other side's status.
    pub version: Arc<str>,
    /// The label of its streams in place of a listener's.
    pub listener: ListenerName,
    /// The gateways to hold.
    pub gateways: Arc<[Arc<GatewayPeer>]>,
    /// The kubelet of the agent's own node, if streams to it may go on without the session with the
    /// gateway.
    pub inner_only: Option<SocketAddr>,
    /// Back-off between two tries of one gateway: the first, and the longest.
    pub backoff: (Duration, Duration),
}

/// A gateway that an agent dials.
#[derive(Debug)]
pub struct GatewayPeer {
    /// Its name in logs and metrics, unique among the gateways of an agent.
    pub name: Arc<str>,
    /// How a connection to it is made.
    pub way: GatewayWay,
    /// The name that its certificate must have.
    pub server_name: ServerName<'static>,
    /// Presents the agent's certificate and validates the gateway's.
    pub tls: Arc<ClientConfig>,
}

/// How a connected agent is, for status and metrics of a gateway.
#[derive(Clone, Debug)]
pub struct AgentStatus {
    /// Who it is.
    pub grant: Arc<AgentGrant>,
    /// Which process of that identity.
    pub instance: [u8; 16],
    /// The version that it claims, printable and at most 64 characters.
    pub version: Arc<str>,
    /// Where it comes from.
    pub address: SocketAddr,
    /// When its control connection was registered.
    pub since: SystemTime,
    /// It takes no new streams.
    pub draining: bool,
    /// Data connections that wait for a stream.
    pub parked: usize,
    /// Streams that run through it.
    pub streams: usize,
    /// Round trip of the last ping that was answered.
    pub round_trip: Option<Duration>,
    /// Opens that succeeded on a parked connection.
    pub opened_warm: u64,
    /// Opens that succeeded on a fresh one.
    pub opened_cold: u64,
    /// Opens that failed.
    pub failed: u64,
    /// The last failure in words.
    pub last_error: Option<Arc<str>>,
}

/// How a gateway of an agent is, for status and metrics of the agent.
#[derive(Clone, Debug)]
pub struct GatewayStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The address in use, once connected: a proxy's, where one is on the way.
    pub address: Option<SocketAddr>,
    /// When its control connection was registered; `None`: it is not.
    pub since: Option<SystemTime>,
    /// The gateway takes no new streams.
    pub draining: bool,
    /// Data connections that wait for a stream.
    pub parked: usize,
    /// Streams that run through it.
    pub streams: usize,
    /// How long the agent pauses now before it dials it again; `None`: it does not.
    pub backoff: Option<Duration>,
    /// Why it is not connected, or was not the last time.
    pub last_error: Option<Arc<str>>,
}

/// What control says of a certificate that asks to be an agent.
pub type AgentVerdict = Result<Arc<AgentGrant>, Refusal>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grant_covers_its_nodes_networks_and_names_alone() {
        let grant = AgentGrant {
            name: "worker-1".into(),
            nodes: Arc::from(["worker-1".into()]),
            networks: Arc::from(["10.244.1.0/24".parse().unwrap()]),
            suffixes: Arc::from(["lab.example".to_owned()]),
        };
        let address = |text: &str| Route::Address(text.parse().unwrap());
        let name = |text: &str| Route::Name(text.to_owned());
        for (route, covered) in [
            (Route::Node("worker-1".into()), true),
            (Route::Node("worker-10".into()), false),
            (address("10.244.1.9"), true),
            (address("10.244.2.9"), false),
            (name("lab.example"), true),
            (name("db.lab.example"), true),
            (name("evil-lab.example"), false),
            (name("example"), false),
        ] {
            assert_eq!(grant.covers(&route), covered, "{route}");
        }
    }
}
