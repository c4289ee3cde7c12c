//! Says who may be an agent of a tunnel and what it may carry, by its certificate, the
//! configuration and the deny list.

use crate::config::{AgentSpec, Tunnel};
use eyesplice_dataplane::routes::RouteIndex;
use eyesplice_dataplane::seam::{AgentGrant, AgentVerdict, Reason, Refusal, Route};
use eyesplice_identity::certificate::{CertificateFacts, Subject};
use eyesplice_identity::denylist::{DenyList, NODE_AGENT};
use eyesplice_identity::inventory::{HostAddress, Inventory};
use eyesplice_identity::x509::{AGENT_GROUP, AGENT_PREFIX, NODE_PREFIX};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

/// Who may be an agent in one configuration.
#[derive(Debug)]
pub struct Grants {
    agents: HashMap<Arc<str>, Arc<AgentGrant>>,
    /// By the names of nodes; `None`: nodes may not be agents.
    nodes: Option<HashMap<Arc<str>, NodeGrants>>,
    /// The users of all of them by what they may carry.
    index: RouteIndex<Arc<str>>,
    denied: Option<(PathBuf, DenyList)>,
}

/// What the agents of one node may carry: the same, under the names that their certificates give.
#[derive(Clone, Debug)]
struct NodeGrants {
    /// Of the node's own certificate, `system:node:NAME`.
    host: Arc<AgentGrant>,
    /// Of a pod on it, `node:NAME`.
    pod: Arc<AgentGrant>,
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
        // Either certificate stands for that node and its addresses, and nothing else.
        let node = |node: &&Arc<str>| {
            let named = |name: String| {
                Arc::new(AgentGrant {
                    name: name.into(),
                    nodes: Arc::from([Arc::clone(*node)]),
                    networks: own(node).into(),
                    suffixes: Arc::from([]),
                })
            };
            let grants = NodeGrants {
                host: named(format!("{NODE_PREFIX}{node}")),
                pod: named(format!("{NODE_AGENT}{node}")),
            };
            (Arc::clone(*node), grants)
        };
        let agents: HashMap<_, _> = tunnel.agents.iter().map(grant).collect();
        let nodes: Option<HashMap<_, _>> = tunnel
            .node_agents
            .then(|| addresses.keys().map(node).collect());
        let mut index = RouteIndex::default();
        for (name, grant) in &agents {
            index.insert(&format!("{AGENT_PREFIX}{name}").into(), grant);
        }
        for NodeGrants { host, pod } in nodes.iter().flat_map(HashMap::values) {
            index.insert(&host.name, host);
            index.insert(&format!("{AGENT_PREFIX}{}", pod.name).into(), pod);
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
            let of_pod = grant.name.strip_prefix(NODE_AGENT);
            if list.has_name(&grant.name) || of_pod.is_some_and(|node| list.has_agent_of(node)) {
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
        if let Some(name) = user.strip_prefix(AGENT_PREFIX)
            && is_of(AGENT_GROUP)
        {
            if let Some(node) = name.strip_prefix(NODE_AGENT) {
                return self
                    .node(subject, node)
                    .map(|grants| Arc::clone(&grants.pod));
            }
            return self.agents.get(name).cloned().ok_or_else(|| {
                refused(format!(
                    "certificate {subject} is of an agent that this gateway does not know; add \
                     {{name: {name}, ..}} to tunnel.agents"
                ))
            });
        }
        match user.strip_prefix(NODE_PREFIX) {
            Some(node) if subject.is_node(node) => self
                .node(subject, node)
                .map(|grants| Arc::clone(&grants.host)),
            _ => Err(refused(format!(
                "certificate {subject} is no agent's: its common name must be {AGENT_PREFIX}NAME \
                 and its organization {AGENT_GROUP}; `eyesplice pki issue DIR --agent NAME` makes \
                 such a one"
            ))),
        }
    }

    fn node(&self, subject: &Subject, node: &str) -> Result<&NodeGrants, Refusal> {
        let Some(nodes) = &self.nodes else {
            return Err(refused(format!(
                "certificate {subject} is a node's, and nodes may not be agents here; set \
                 tunnel.nodeAgents, or give it an agent's certificate"
            )));
        };
        nodes.get(node).ok_or_else(|| {
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
        .strip_prefix(AGENT_PREFIX)
        .is_some_and(|name| !name.is_empty());
    let agent = named && subject.organizations.iter().any(|own| own == AGENT_GROUP);
    agent
        || user
            .strip_prefix(NODE_PREFIX)
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
