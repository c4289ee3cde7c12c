//! Says who may be an agent of a tunnel and what it may carry, by its certificate, the
//! configuration and the deny list.

mod deny;

pub use deny::{DenyError, DenyList, check_name, check_serial};

use crate::config::{AgentSpec, Tunnel};
use eyesplice_dataplane::routes::RouteIndex;
use eyesplice_dataplane::seam::{AgentGrant, AgentVerdict, Reason, Refusal, Route};
use eyesplice_identity::certificate::{CertificateFacts, Subject};
use eyesplice_identity::inventory::{HostAddress, Inventory};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// The user of an agent is this with its name.
pub const AGENT_USER: &str = "eyesplice:agent:";
/// The group of agents.
pub const AGENT_GROUP: &str = "eyesplice:agents";
const NODE_USER: &str = "system:node:";

/// Who may be an agent in one configuration.
#[derive(Debug)]
pub struct Grants {
    agents: HashMap<Arc<str>, Arc<AgentGrant>>,
    /// By the names of nodes; `None`: nodes may not be agents.
    nodes: Option<HashMap<Arc<str>, Arc<AgentGrant>>>,
    /// The users of all of them by what they may carry.
    index: RouteIndex<Arc<str>>,
    denied: Option<(PathBuf, DenyList)>,
}

impl Grants {
    /// Compiles the grants of a configuration with its inventory and deny list.
    pub fn new(
        tunnel: &Tunnel,
        inventory: Option<&Inventory>,
        denied: Option<(PathBuf, DenyList)>,
    ) -> Self {
        let addresses = inventory.map(Inventory::by_node).unwrap_or_default();
        let own = |node: &Arc<str>| -> Vec<IpNet> {
            let addresses = addresses.get(node).map(Vec::as_slice).unwrap_or_default();
            let network = |address: &&HostAddress| match address {
                HostAddress::Ip(ip) => Some(IpNet::from(*ip)),
                HostAddress::Dns(_) => None,
            };
            addresses.iter().filter_map(network).collect()
        };
        let grant = |spec: &AgentSpec| {
            let grant = AgentGrant {
                name: Arc::clone(&spec.name),
                nodes: spec.nodes.iter().cloned().collect(),
                networks: spec
                    .cidrs
                    .iter()
                    .copied()
                    .chain(spec.nodes.iter().flat_map(own))
                    .collect(),
                suffixes: spec.dns_suffixes.iter().cloned().collect(),
            };
            (Arc::clone(&spec.name), Arc::new(grant))
        };
        // A node's own certificate stands for that node and its addresses, and nothing else.
        let node = |node: &&Arc<str>| {
            let grant = AgentGrant {
                name: format!("{NODE_USER}{node}").into(),
                nodes: Arc::from([Arc::clone(node)]),
                networks: own(node).into(),
                suffixes: Arc::from([]),
            };
            (Arc::clone(node), Arc::new(grant))
        };
        let agents: HashMap<_, _> = tunnel.agents.iter().map(grant).collect();
        let nodes: Option<HashMap<_, _>> = tunnel
            .node_agents
            .then(|| addresses.keys().map(node).collect());
        let mut index = RouteIndex::default();
        for (name, grant) in &agents {
            index.insert(&format!("{AGENT_USER}{name}").into(), grant);
        }
        for grant in nodes.iter().flat_map(HashMap::values) {
            index.insert(&grant.name, grant);
        }
        Self {
            agents,
            nodes,
            index,
            denied,
        }
    }

    /// Judges a chain that the listener's client CA vouches for, its leaf first. Validity and usage
    /// were judged by the handshake: an agent that renewed its certificate keeps its connections.
    ///
    /// # Errors
    /// Why its owner is no agent, and what to do.
    pub fn judge(&self, chain: &[CertificateDer<'_>]) -> AgentVerdict {
        let facts = chain.iter().map(|der| CertificateFacts::read(der));
        let facts = facts.collect::<Result<Vec<_>, _>>();
        let facts = facts
            .map_err(|error| refused(format!("the agent's certificate {error}; issue another")))?;
        let Some(leaf) = facts.first() else {
            return Err(refused("the agent presented no certificate".to_owned()));
        };
        let grant = self.grant(&leaf.subject)?;
        if let Some((file, list)) = &self.denied {
            let file = file.display();
            if list.has_name(&grant.name) {
                let name = &grant.name;
                return Err(refused(format!(
                    "agent {name} is revoked: it is among the names of {file}; remove it there to \
                     let it in again"
                )));
            }
            if let Some(facts) = facts.iter().find(|facts| list.has_serial(&facts.serial)) {
                let serial = &facts.serial;
                return Err(refused(format!(
                    "agent {} is revoked: serial {serial} is among the serials of {file}; give it \
                     a new certificate",
                    grant.name
                )));
            }
        }
        Ok(grant)
    }

    fn grant(&self, subject: &Subject) -> AgentVerdict {
        let user = subject.common_name.as_deref().unwrap_or_default();
        let is_of = |group: &str| subject.organizations.iter().any(|own| own == group);
        if let Some(name) = user.strip_prefix(AGENT_USER)
            && is_of(AGENT_GROUP)
        {
            return self.agents.get(name).cloned().ok_or_else(|| {
                refused(format!(
                    "certificate {subject} is of an agent that this gateway does not know; add \
                     {{name: {name}, ..}} to tunnel.agents"
                ))
            });
        }
        match user.strip_prefix(NODE_USER) {
            Some(node) if subject.is_node(node) => self.node(subject, node),
            _ => Err(refused(format!(
                "certificate {subject} is no agent's: its common name must be {AGENT_USER}NAME \
                 and its organization {AGENT_GROUP}; `eyesplice pki issue DIR --agent NAME` makes \
                 such a one"
            ))),
        }
    }

    fn node(&self, subject: &Subject, node: &str) -> AgentVerdict {
        let Some(nodes) = &self.nodes else {
            return Err(refused(format!(
                "certificate {subject} is a node's, and nodes may not be agents here; set \
                 tunnel.nodeAgents, or give it an agent's certificate"
            )));
        };
        nodes.get(node).cloned().ok_or_else(|| {
            refused(format!(
                "node {node} is not in the inventory of this gateway; add it to \
                 kubelet.inventoryFile"
            ))
        })
    }

    /// Whether some agent may carry what is found by a route, be it connected or not.
    pub fn covers(&self, route: &Route) -> bool {
        !self.index.find(route).is_empty()
    }

    /// The users of the agents that may carry what is found by a route, as their certificates have
    /// them, in the order of their names.
    pub fn users(&self, route: &Route) -> BTreeSet<&Arc<str>> {
        self.index.find(route).into_iter().collect()
    }
}

/// Whether a subject is that of an agent, or of a node, whoever may be one.
pub(crate) fn is_agent(subject: &Subject) -> bool {
    let user = subject.common_name.as_deref().unwrap_or_default();
    let named = user
        .strip_prefix(AGENT_USER)
        .is_some_and(|name| !name.is_empty());
    let agent = named && subject.organizations.iter().any(|own| own == AGENT_GROUP);
    agent
        || user
            .strip_prefix(NODE_USER)
            .is_some_and(|node| subject.is_node(node))
}

fn refused(words: String) -> Refusal {
    Refusal {
        status: 403,
        reason: Reason::Denied,
        words,
        rule: None,
    }
}

#[cfg(test)]
mod tests;
