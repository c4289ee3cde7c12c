//! Decides about a pending CSR without a person.
//!
//! Node client certificates as upstream's two recognisers do (controller
//! `certificates/approver/sarapprove.go`). Serving certificates, which upstream leaves to people, only
//! where an inventory says that every name is the node's: a node chooses its own names, so its word
//! counts for nothing. What gateways ask for is in `gateway`, what agents ask for in `agent`; what DNS and the node itself add, where an
//! operator wants it, is weighed in `evidence`.

mod agent;
mod evidence;
mod first;
mod gateway;

pub(crate) use agent::{Agents, is_of_review, proven, reviewed};
pub use evidence::DnsUse;
pub(crate) use evidence::{Answer, Evidence, Facts, Questions, Resolution, Unready};
pub(crate) use first::First;
pub use first::NamePattern;
pub use gateway::Gateways;

use agent::Judged;
use evidence::{Known, Weighed};
use first::Kind;

use super::object::CertificateSigningRequest;
use super::roles::Roles;
use eyesplice_identity::inventory::{HostAddress, Inventory};
use eyesplice_identity::x509::{CertificateRequest, NODE_PREFIX, Refusal, Signer};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Approve {
        reason: &'static str,
        message: String,
    },
    Deny {
        reason: &'static str,
        message: String,
    },
    Leave(Left),
}

/// Why a CSR stays pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Left {
    /// Another controller's signer.
    OtherSigner,
    /// A person decides.
    ForPeople,
    /// The inventory does not know the node.
    UnknownNode,
    /// There is no inventory.
    NoInventory,
    /// `approval.gateways` does not list the gateway.
    UnknownGateway,
    /// Several Node objects claim a name of it.
    Contested,
    /// More of its requester's wait than there are nodes, and some.
    Brake,
    /// Something is against it, and a person decides about that.
    Refused,
    /// DNS or the node is being asked.
    Checking,
    /// A name of it does not resolve.
    Unresolved,
    /// A name of it resolves to what is not the node's.
    ForeignDns,
    /// Its node does not answer.
    Unreachable,
}

impl Left {
    /// The word of metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OtherSigner => "other-signer",
            Self::ForPeople => "for-people",
            Self::UnknownNode => "unknown-node",
            Self::NoInventory => "no-inventory",
            Self::UnknownGateway => "unknown-gateway",
            Self::Contested => "contested",
            Self::Brake => "too-many-pending",
            Self::Refused => "refused",
            Self::Checking => "checking",
            Self::Unresolved => "unresolved",
            Self::ForeignDns => "foreign-dns",
            Self::Unreachable => "unreachable",
        }
    }

    /// It ends when DNS or a node answers otherwise, which only asking again tells.
    pub(crate) fn is_check(self) -> bool {
        match self {
            Self::Checking | Self::Unresolved | Self::ForeignDns | Self::Unreachable => true,
            Self::OtherSigner
            | Self::ForPeople
            | Self::UnknownNode
            | Self::NoInventory
            | Self::UnknownGateway
            | Self::Contested
            | Self::Brake
            | Self::Refused => false,
        }
    }

    /// Nobody has heard of the node or gateway: it is not waited for as long as for others.
    pub(crate) fn is_stranger(self) -> bool {
        matches!(self, Self::UnknownNode | Self::UnknownGateway | Self::Brake)
    }
}

/// What becomes of a CSR that something is against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRefusal {
    /// It is denied, with the reason and the remedy.
    #[default]
    Deny,
    /// It stays pending for a person; log and metrics have the reason.
    Leave,
}

/// For which nodes a bootstrap token is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootstrapNodes {
    /// Any name, as upstream.
    #[default]
    Any,
    /// Nodes of the inventory.
    Inventory,
}

/// What an authorizer says of the requester of a node's client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reviewed {
    /// It may renew its own (upstream's `selfnodeclient`).
    pub(crate) renews: bool,
    /// It may have any node's (upstream's `nodeclient`).
    pub(crate) bootstraps: bool,
}

/// What decisions are made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy<'a> {
    pub(crate) roles: &'a Roles,
    /// In a cluster: its authorizer says who gets nodes' client certificates, not the roles.
    pub(crate) reviewed: Option<Reviewed>,
    pub(crate) inventory: Option<&'a Inventory>,
    pub(crate) bootstrap_nodes: BootstrapNodes,
    /// The gateways, and at which addresses each serves.
    pub(crate) gateways: &'a Gateways,
    /// Agents that are pods; `None`: people decide about agents.
    pub(crate) agents: Option<Agents<'a>>,
    /// Whatever this group asks for and the signer takes is approved.
    pub(crate) insecure_group: Option<&'a str>,
    /// Where Node objects are the inventory: their addresses count within these; none for any.
    pub(crate) prefixes: &'a [IpNet],
    /// What is known of whoever asks for its first certificate.
    pub(crate) first: First<'a>,
    /// What was found out about the names of a node's serving certificate.
    pub(crate) evidence: Evidence<'a>,
}

const APPROVED: &str = "AutoApproved";
const DENIED: &str = "AutoDenied";

/// Decides about a pending CSR, or says what has to be found out first.
pub(crate) fn decide(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    policy: &Policy<'_>,
) -> Result<Decision, Unready> {
    let spec = &object.spec;
    let Some(signer) = Signer::by_name(&spec.signer_name) else {
        return Ok(Decision::Leave(Left::OtherSigner));
    };
    let fits = signer.check(request, &spec.usages).map(drop);
    if let (Some(group), Ok(())) = (policy.insecure_group, &fits)
        && spec.groups.iter().any(|each| each == group)
    {
        return Ok(Decision::Approve {
            reason: "InsecureAutoApproved",
            message: format!("approved unseen: --insecure-auto-approve-group {group}"),
        });
    }
    Ok(match signer {
        Signer::KubeletClient => client(object, request, fits, policy),
        Signer::KubeletServing => return serving(object, request, fits, policy),
        Signer::GatewayClient => gateway::client(object, request, fits, policy),
        Signer::Serving => gateway::serving(object, request, fits, policy),
        Signer::EgressLeaf => gateway::leaf(object, request, fits, policy),
        Signer::AgentClient => pod_agent(object, request, fits, policy),
        Signer::ApiServerClient => Decision::Leave(Left::ForPeople),
    })
}

/// The certificate of an agent that is a pod.
fn pod_agent(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Decision {
    let spec = &object.spec;
    let (Some(agents), Some(proven)) = (policy.agents, proven(&spec.extra)) else {
        return Decision::Leave(Left::ForPeople);
    };
    if let Err(decision) = may_have(policy.roles.are_agents(&spec.groups), fits) {
        return decision;
    }
    match agent::judge(agents, proven, spec, request, policy.inventory) {
        Judged::Good(why) => approve(why),
        Judged::Against(why) => deny(why),
        Judged::UnknownNode => Decision::Leave(Left::UnknownNode),
    }
}

/// A node's client certificate: the first one by a bootstrapper, the next ones by itself.
fn client(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Decision {
    let spec = &object.spec;
    let Reviewed { renews, bootstraps } = policy.reviewed.unwrap_or_else(|| Reviewed {
        renews: policy.roles.are_nodes(&spec.groups),
        bootstraps: policy.roles.bootstraps_nodes(&spec.groups),
    });
    if let Err(decision) = may_have(renews || bootstraps, fits) {
        return decision;
    }
    let common_names = request.common_names();
    if renews && common_names == [spec.username.as_str()] {
        return approve("the node renews its own client certificate".to_owned());
    }
    if !bootstraps {
        return Decision::Leave(Left::ForPeople);
    }
    let node = node_of(request);
    if policy.bootstrap_nodes == BootstrapNodes::Inventory {
        match policy.inventory {
            None => return Decision::Leave(Left::NoInventory),
            Some(inventory) if inventory.addresses_of(node).is_empty() => {
                return Decision::Leave(Left::UnknownNode);
            }
            Some(_) => {}
        }
    }
    let patterns = policy.first.names;
    if !patterns.is_empty() && !patterns.iter().any(|pattern| pattern.fits(node)) {
        return Decision::Leave(Left::UnknownNode);
    }
    match first::weigh(Kind::Node, node, request, policy) {
        Ok(seen) => approve(format!("first client certificate of node {node}, {seen}")),
        Err(against) => against,
    }
}

/// A node's serving certificate: every name must be the node's.
fn serving(
    object: &CertificateSigningRequest,
    request: &CertificateRequest,
    fits: Result<(), Refusal>,
    policy: &Policy<'_>,
) -> Result<Decision, Unready> {
    let spec = &object.spec;
    if let Err(decision) = may_have(policy.roles.are_nodes(&spec.groups), fits) {
        return Ok(decision);
    }
    if request.common_names() != [spec.username.as_str()] {
        return Ok(deny(format!(
            "the common name {:?} is not the requester {:?}; a node gets certificates for itself only",
            request.common_names().join(", "),
            spec.username
        )));
    }
    let Some(inventory) = policy.inventory else {
        return Ok(Decision::Leave(Left::NoInventory));
    };
    let node = node_of(request);
    let known = inventory.addresses_of(node);
    if known.is_empty() {
        return Ok(Decision::Leave(Left::UnknownNode));
    }
    let mut widened = BTreeSet::new();
    for (kind, name) in names(request) {
        if let HostAddress::Ip(ip) = name
            && !policy.prefixes.is_empty()
            && !policy.prefixes.iter().any(|prefix| prefix.contains(&ip))
        {
            return Ok(deny(format!(
                "{kind} {name} of node {node} is in none of approval.nodeAddresses; add its network \
                 there if nodes have such addresses, else take it off the node; the kubelet asks \
                 again by itself"
            )));
        }
        if known.contains(&&name) {
            continue;
        }
        if policy.evidence.may_widen(&name, inventory) {
            widened.insert(name.to_string());
            continue;
        }
        return Ok(foreign(kind, &name, node, &known, inventory));
    }
    let listed = if widened.is_empty() {
        format!("every name is among the addresses of node {node} in the inventory")
    } else {
        format!("every name is node {node}'s by the inventory or by DNS")
    };
    let known = Known {
        node,
        addresses: &known,
    };
    Ok(match policy.evidence.weigh(request, known, widened)? {
        Weighed::For(None) => approve(listed),
        Weighed::For(Some(seen)) => approve(format!("{listed}; {seen}")),
        Weighed::Against(why) => deny(why),
    })
}

/// A name is not the node's.
fn foreign(
    kind: &str,
    name: &HostAddress,
    node: &str,
    known: &[&HostAddress],
    inventory: &Inventory,
) -> Decision {
    let owner = match inventory.owner_of(name) {
        Some(owner) => format!("it is node {owner}'s"),
        None => "no node has it".to_owned(),
    };
    let known: Vec<String> = known.iter().map(ToString::to_string).collect();
    deny(format!(
        "{kind} {name} is not among the addresses of node {node} in the inventory ({}), {owner}; add it \
         to the node there if it is the node's, else take it off the node; the kubelet asks again by \
         itself",
        known.join(", ")
    ))
}

/// The names that a server certificate is asked for, and in words what kind each is of.
fn names(request: &CertificateRequest) -> impl Iterator<Item = (&'static str, HostAddress)> {
    let addresses = request.ips.iter().map(|ip| ("IP address", address(*ip)));
    let names = request.dns.iter().map(|name| {
        let name = name.to_ascii_lowercase();
        ("DNS name", HostAddress::Dns(name))
    });
    addresses.chain(names)
}

fn approve(message: String) -> Decision {
    Decision::Approve {
        reason: APPROVED,
        message,
    }
}

fn deny(message: String) -> Decision {
    Decision::Deny {
        reason: DENIED,
        message,
    }
}

/// Leaves to people what its requester may not have without them, and denies what could never be signed.
fn may_have(allowed: bool, fits: Result<(), Refusal>) -> Result<(), Decision> {
    if !allowed {
        return Err(Decision::Leave(Left::ForPeople));
    }
    fits.map_err(|refusal| deny(refusal.to_string()))
}

fn address(ip: IpAddr) -> HostAddress {
    HostAddress::Ip(ip.to_canonical())
}

/// The node that a request of a kubelet's form is for.
fn node_of(request: &CertificateRequest) -> &str {
    let name = request.common_names().first().copied().unwrap_or_default();
    name.strip_prefix(NODE_PREFIX).unwrap_or(name)
}

#[cfg(test)]
mod tests;
