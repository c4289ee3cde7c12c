//! Every file that follows from a specification.

use super::profile::{Profile, Usage, profiles};
use super::spec::{Existing, NodeSpec, Scope, Spec};
use crate::inventory::HostAddress;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// The document that the tree was made from.
pub(super) const SPEC_FILE: &str = "pki.yaml";
/// The nodes, for the gateway and the approver.
pub(super) const INVENTORY_FILE: &str = "inventory.yaml";
/// The service-account key pair.
pub(super) const SERVICE_ACCOUNT_KEY: &str = "sa.key";
/// Its public half.
pub(super) const SERVICE_ACCOUNT_PUBLIC: &str = "sa.pub";

/// A specification with its table of certificates.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) spec: Spec,
    pub(super) profiles: Vec<Profile>,
}

impl Plan {
    pub(super) fn new(spec: Spec) -> Self {
        Self {
            profiles: profiles(&spec),
            spec,
        }
    }

    /// The certificate of a name.
    pub(super) fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    /// The files of a CA that exists outside of the tree.
    pub(super) fn existing(&self, name: &str) -> Option<&Existing> {
        let existing = &self.spec.authorities.existing;
        let found = existing.iter().find(|(authority, _)| authority == name);
        found.map(|(_, files)| files)
    }

    /// Says whether a certificate is signed where nobody here has the key.
    pub(super) fn is_requested(&self, profile: &Profile) -> bool {
        profile.usage != Usage::Authority
            && matches!(
                self.existing(profile.authority()),
                Some(Existing::External(_))
            )
    }

    /// What is signed where nobody here has the key.
    pub(super) fn requested(&self) -> impl Iterator<Item = &Profile> {
        let profiles = self.profiles.iter();
        profiles.filter(|profile| self.is_requested(profile))
    }

    /// Says whether the tree has the key pair of service accounts.
    pub(super) fn signs_service_accounts(&self) -> bool {
        self.spec.scope == Scope::Cluster
    }

    /// Every file that the tree has at one time or another.
    pub(super) fn file_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for profile in &self.profiles {
            names.push(profile.certificate_file());
            if profile.usage == Usage::Authority {
                names.push(profile.chain_file());
            }
            if self.existing(&profile.name).is_none() {
                names.push(profile.key_file());
            }
            if self.is_requested(profile) {
                names.push(profile.request_file());
            }
            names.extend(profile.kubeconfig_file());
        }
        if self.signs_service_accounts() {
            names.extend([SERVICE_ACCOUNT_KEY, SERVICE_ACCOUNT_PUBLIC].map(str::to_owned));
        }
        names.extend([INVENTORY_FILE, SPEC_FILE].map(str::to_owned));
        names
    }
}

/// Things that are right each, and wrong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two nodes, members or users of one name.
    #[error("{0} {1} is given twice; list all that belongs to it in one")]
    Repeated(&'static str, String),
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
    /// Two service ranges of one family.
    #[error("{0} and {1} are both service addresses of one family; give one for each family")]
    ServiceFamily(IpAddr, IpAddr),
    /// A name makes a file name that another file has.
    #[error("{0} would be written twice, because of names like client-NAME; rename one")]
    TakenFile(String),
    /// An existing CA that the layout does not have.
    #[error("there is no CA {0}; the CAs are {known}", known = .1.join(", "))]
    NoAuthority(String, Vec<String>),
}

/// All conflicts of a specification.
pub(super) fn conflicts(spec: &Spec) -> Vec<Conflict> {
    let mut conflicts = Vec::new();
    let name = |node: &NodeSpec| node.name.clone();
    repeated("node", spec.nodes.iter().map(name), &mut conflicts);
    repeated("etcd member", spec.etcd.iter().map(name), &mut conflicts);
    let users = spec.users.iter().map(|user| user.name.clone());
    repeated("user", users, &mut conflicts);
    let agents = spec.agents.iter().map(|agent| agent.as_str().to_owned());
    repeated("agent", agents, &mut conflicts);
    let breaking = spec.break_glass.iter().map(|user| user.as_str().to_owned());
    repeated("break-glass user", breaking, &mut conflicts);
    let existing = spec.authorities.existing.iter();
    repeated("CA", existing.map(|(name, _)| name.clone()), &mut conflicts);
    shared_addresses(&spec.nodes, &mut conflicts);
    let mut families: [Option<IpAddr>; 2] = [None; 2];
    for ip in &spec.cluster.service_ips {
        if let Some(first) = families[usize::from(ip.is_ipv6())].replace(*ip) {
            let second = *ip;
            conflicts.push(Conflict::ServiceFamily(first, second));
        }
    }
    let plan = Plan::new(without_repeated_names(spec));
    let mut names = HashSet::new();
    for profile in &plan.profiles {
        if !names.insert(&profile.name) {
            conflicts.push(Conflict::TakenFile(profile.certificate_file()));
        }
    }
    let authorities = plan
        .profiles
        .iter()
        .filter(|profile| profile.usage == Usage::Authority);
    let known: Vec<String> = authorities.map(|profile| profile.name.clone()).collect();
    for (name, _) in &spec.authorities.existing {
        if !known.contains(name) {
            conflicts.push(Conflict::NoAuthority(name.clone(), known.clone()));
        }
    }
    conflicts
}

/// What is repeated was told; it must not be told again as a file that is taken.
fn without_repeated_names(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    let mut seen = HashSet::new();
    spec.nodes.retain(|node| seen.insert(node.name.clone()));
    seen.clear();
    spec.etcd.retain(|member| seen.insert(member.name.clone()));
    seen.clear();
    spec.users.retain(|user| seen.insert(user.name.clone()));
    seen.clear();
    spec.agents
        .retain(|agent| seen.insert(agent.as_str().to_owned()));
    seen.clear();
    spec.break_glass
        .retain(|user| seen.insert(user.as_str().to_owned()));
    spec
}

fn repeated(
    kind: &'static str,
    names: impl Iterator<Item = String>,
    conflicts: &mut Vec<Conflict>,
) {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            conflicts.push(Conflict::Repeated(kind, name));
        }
    }
}

fn shared_addresses(nodes: &[NodeSpec], conflicts: &mut Vec<Conflict>) {
    let mut owners: HashMap<&HostAddress, &str> = HashMap::new();
    for node in nodes {
        for address in &node.addresses {
            match owners.insert(address, &node.name) {
                Some(first) if first != node.name => conflicts.push(Conflict::SharedAddress {
                    address: address.clone(),
                    first: first.to_owned(),
                    second: node.name.clone(),
                }),
                _ => {}
            }
        }
    }
}
