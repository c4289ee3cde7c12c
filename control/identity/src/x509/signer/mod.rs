//! The signers: which subject, names and usages each takes.
//!
//! Three are Kubernetes' own (pkg/apis/certificates/helpers.go and controller
//! `certificates/signer/signer.go`), four are this project's. Other signer names are left alone:
//! other controllers serve them.

use super::request::CertificateRequest;
use crate::inventory::HostAddress;
use crate::pem::Role;
use std::collections::BTreeSet;

/// What the name of every node's user begins with.
pub const NODE_PREFIX: &str = "system:node:";
/// The group of all nodes.
pub const NODE_GROUP: &str = "system:nodes";
/// What the name of every agent's user begins with.
pub const AGENT_PREFIX: &str = "eyesplice:agent:";
/// What the user begins with of an agent that a node has by the place of its pod. No name of
/// [`AGENT_PREFIX`] that a configuration lists has a colon.
pub const NODE_AGENT_PREFIX: &str = "eyesplice:agent:node:";
/// The group of all agents.
pub const AGENT_GROUP: &str = "eyesplice:agents";
/// What the name of every gateway's user begins with.
pub const GATEWAY_PREFIX: &str = "eyesplice:gateway:";
/// The group of all gateways.
pub const GATEWAY_GROUP: &str = "eyesplice:gateways";
/// Whoever is in it may do everything; no request may ask for it.
const MASTERS: &str = "system:masters";

/// A signer that this authority serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.name())]
pub enum Signer {
    /// Clients of the API server, approved by people.
    ApiServerClient,
    /// Kubelets as clients.
    KubeletClient,
    /// Kubelets as servers.
    KubeletServing,
    /// Agents as clients of the tunnel listener.
    AgentClient,
    /// Gateways as clients: of the authority, and of kubelets.
    GatewayClient,
    /// Servers of eyesplice itself: a gateway's listeners by its addresses, others by people.
    Serving,
    /// What the API server sees of a gateway in place of a kubelet.
    EgressLeaf,
}

/// Every signer, in the order of messages and metrics.
pub const SIGNERS: [Signer; 7] = [
    Signer::ApiServerClient,
    Signer::KubeletClient,
    Signer::KubeletServing,
    Signer::AgentClient,
    Signer::GatewayClient,
    Signer::Serving,
    Signer::EgressLeaf,
];

/// A usage that a signer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// `digital signature`.
    DigitalSignature,
    /// `key encipherment`.
    KeyEncipherment,
    /// `client auth`.
    ClientAuth,
    /// `server auth`.
    ServerAuth,
}

impl Usage {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "digital signature" => Self::DigitalSignature,
            "key encipherment" => Self::KeyEncipherment,
            "client auth" => Self::ClientAuth,
            "server auth" => Self::ServerAuth,
            _ => return None,
        })
    }
}

/// Why a signer does not sign a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Other usages than the signer gives.
    #[error("usages of {signer} must be {wanted}; the request has {got:?}")]
    Usages {
        /// The signer.
        signer: Signer,
        /// What it gives.
        wanted: &'static str,
        /// What was asked for.
        got: Vec<String>,
    },
    /// No common name, or more than one.
    #[error("the subject has {0} common names; exactly one is needed")]
    CommonNames(usize),
    /// A user that the signer is not for.
    #[error("the common name {got:?} does not begin with {prefix:?} and go on with a name")]
    Prefix {
        /// What the name must begin with.
        prefix: &'static str,
        /// The name.
        got: String,
    },
    /// Another group than the signer gives.
    #[error("the organization must be {wanted:?} alone; the request has {got:?}")]
    Organization {
        /// The group.
        wanted: &'static str,
        /// What was asked for.
        got: Vec<String>,
    },
    /// The group that may do everything.
    #[error("organization {MASTERS} is never signed; ask for a group with the rights you need")]
    Masters,
    /// Names where there must be none.
    #[error("the request must have no alternative names; it has {0}")]
    Names(String),
    /// No name where there must be one.
    #[error("the request needs a DNS name or IP address among its alternative names")]
    NoNames,
    /// Names of kinds that are not signed.
    #[error("alternative names of this kind are not signed: {0}; DNS names and IP addresses are")]
    Kind(String),
    /// An address among the names.
    #[error("the DNS name {0:?} is an IP address; ask for it as IP address")]
    AddressAsDns(String),
    /// A name that no host has.
    #[error("the DNS name {0:?} is no host name")]
    BadDns(String),
}

impl Signer {
    /// The `signerName`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ApiServerClient => "kubernetes.io/kube-apiserver-client",
            Self::KubeletClient => "kubernetes.io/kube-apiserver-client-kubelet",
            Self::KubeletServing => "kubernetes.io/kubelet-serving",
            Self::AgentClient => "eyesplice.dev/agent-client",
            Self::GatewayClient => "eyesplice.dev/gateway-client",
            Self::Serving => "eyesplice.dev/serving",
            Self::EgressLeaf => "eyesplice.dev/egress-leaf",
        }
    }

    /// As what its certificates are presented.
    pub fn role(self) -> Role {
        match self {
            Self::ApiServerClient
            | Self::KubeletClient
            | Self::AgentClient
            | Self::GatewayClient => Role::Client,
            Self::KubeletServing | Self::Serving | Self::EgressLeaf => Role::Server,
        }
    }

    /// Finds a signer that this authority serves.
    pub fn by_name(name: &str) -> Option<Self> {
        SIGNERS.into_iter().find(|signer| signer.name() == name)
    }

    /// Checks all rules of the signer, and returns what the certificate may be used for.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(
        self,
        request: &CertificateRequest,
        usages: &[String],
    ) -> Result<BTreeSet<Usage>, Refusal> {
        let usages = self.usages(usages)?;
        match self {
            Self::ApiServerClient => {
                one_common_name(request)?;
                if request.organizations().contains(&MASTERS) {
                    return Err(Refusal::Masters);
                }
                no_other_kinds(request)?;
            }
            Self::KubeletClient => {
                member(request, NODE_PREFIX, NODE_GROUP)?;
                no_names(request)?;
            }
            Self::AgentClient => {
                member(request, AGENT_PREFIX, AGENT_GROUP)?;
                no_names(request)?;
            }
            Self::GatewayClient => {
                member(request, GATEWAY_PREFIX, GATEWAY_GROUP)?;
                no_names(request)?;
            }
            Self::KubeletServing => {
                member(request, NODE_PREFIX, NODE_GROUP)?;
                hosts_only(request)?;
            }
            Self::Serving => {
                one_common_name(request)?;
                hosts_only(request)?;
            }
            Self::EgressLeaf => {
                // As the node that it stands for, or as the gateway itself where that is not known.
                if request.organizations() == [NODE_GROUP] {
                    member(request, NODE_PREFIX, NODE_GROUP)?;
                } else {
                    member(request, GATEWAY_PREFIX, GATEWAY_GROUP)?;
                }
                hosts_only(request)?;
            }
        }
        check_dns(request)?;
        Ok(usages)
    }

    fn usages(self, usages: &[String]) -> Result<BTreeSet<Usage>, Refusal> {
        use Usage::{ClientAuth, DigitalSignature, KeyEncipherment, ServerAuth};
        let (needed, allowed, wanted): (&[Usage], &[Usage], _) = match self {
            Self::ApiServerClient => (
                &[ClientAuth],
                &[ClientAuth, DigitalSignature, KeyEncipherment],
                "\"client auth\", and may be \"digital signature\" and \"key encipherment\"",
            ),
            Self::KubeletClient | Self::AgentClient | Self::GatewayClient => (
                &[ClientAuth, DigitalSignature],
                &[ClientAuth, DigitalSignature, KeyEncipherment],
                "\"client auth\" and \"digital signature\", and may be \"key encipherment\"",
            ),
            Self::KubeletServing | Self::Serving | Self::EgressLeaf => (
                &[ServerAuth, DigitalSignature],
                &[ServerAuth, DigitalSignature, KeyEncipherment],
                "\"server auth\" and \"digital signature\", and may be \"key encipherment\"",
            ),
        };
        let parsed: Option<BTreeSet<Usage>> =
            usages.iter().map(|each| Usage::parse(each)).collect();
        let fits = |set: &BTreeSet<Usage>| {
            needed.iter().all(|each| set.contains(each)) && set.iter().all(|e| allowed.contains(e))
        };
        parsed.filter(fits).ok_or_else(|| Refusal::Usages {
            signer: self,
            wanted,
            got: usages.to_vec(),
        })
    }
}

fn one_common_name(request: &CertificateRequest) -> Result<&str, Refusal> {
    match request.common_names()[..] {
        [name] if !name.is_empty() => Ok(name),
        ref names => Err(Refusal::CommonNames(names.len())),
    }
}

fn member(
    request: &CertificateRequest,
    prefix: &'static str,
    group: &'static str,
) -> Result<(), Refusal> {
    let organizations = request.organizations();
    if organizations != [group] {
        return Err(Refusal::Organization {
            wanted: group,
            got: organizations.into_iter().map(str::to_owned).collect(),
        });
    }
    let name = one_common_name(request)?;
    match name.strip_prefix(prefix) {
        Some(rest) if !rest.is_empty() => Ok(()),
        Some(_) | None => Err(Refusal::Prefix {
            prefix,
            got: name.to_owned(),
        }),
    }
}

fn no_names(request: &CertificateRequest) -> Result<(), Refusal> {
    no_other_kinds(request)?;
    let names = request.dns.iter().cloned();
    let names = names.chain(request.ips.iter().map(ToString::to_string));
    let names: Vec<String> = names
        .chain(request.emails.iter().cloned())
        .chain(request.uris.iter().cloned())
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Refusal::Names(names.join(", ")))
}

/// Names of kinds that no certificate of ours can carry.
fn no_other_kinds(request: &CertificateRequest) -> Result<(), Refusal> {
    match request.other_names {
        0 => Ok(()),
        other => Err(Refusal::Kind(format!(
            "{other} of a kind that is none of DNS, IP, e-mail, URI"
        ))),
    }
}

fn hosts_only(request: &CertificateRequest) -> Result<(), Refusal> {
    no_other_kinds(request)?;
    if let Some(email) = request.emails.first() {
        return Err(Refusal::Kind(format!("e-mail {email}")));
    }
    if let Some(uri) = request.uris.first() {
        return Err(Refusal::Kind(format!("URI {uri}")));
    }
    if request.dns.is_empty() && request.ips.is_empty() {
        return Err(Refusal::NoNames);
    }
    Ok(())
}

/// Verifiers disagree about an address in a DNS name and about names that are none.
fn check_dns(request: &CertificateRequest) -> Result<(), Refusal> {
    for name in &request.dns {
        // A wildcard is a name that verifiers know; whether a node may have it, the inventory says.
        let host = name.strip_prefix("*.").unwrap_or(name);
        match host.parse::<HostAddress>() {
            Ok(HostAddress::Dns(_)) => {}
            Ok(HostAddress::Ip(_)) => return Err(Refusal::AddressAsDns(name.clone())),
            Err(_) => return Err(Refusal::BadDns(name.clone())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
