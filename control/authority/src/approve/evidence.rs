//! Weighs what DNS and the nodes themselves say for a serving certificate. Pure: it is told what was
//! found out, and tells what else has to be.
//!
//! The inventory has the first word: what it denies is neither looked up nor dialled. An answer of DNS
//! can be forged and a silent node can come back, so both only ever let a CSR wait. Two things deny:
//! a name that `dns: allow` could have let in and that is another's, and the certificate of another
//! node, which nobody can forge.

use super::{CertificateRequest, address};
use eyesplice_identity::inventory::{HostAddress, Inventory};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// What DNS is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsUse {
    /// Nothing.
    #[default]
    Ignore,
    /// Every DNS name must resolve, and to addresses of the node only. Narrows.
    Require,
    /// A DNS name that the inventory lists for no node is the node's if it resolves, and to
    /// addresses of the node only. Widens.
    Allow,
}

/// What was found out for one decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// What names resolve to.
    pub(crate) names: BTreeMap<String, Resolution>,
    /// Who answers at addresses.
    pub(crate) addresses: BTreeMap<IpAddr, Answer>,
}

/// What a name resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// All of its addresses.
    To(Vec<IpAddr>),
    /// It did not resolve, and why.
    Failed(String),
}

/// Who answers at the kubelet port of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A node, with a certificate of the signer's CA and its key.
    Node(String),
    /// A TLS server with another certificate, and whose.
    Stranger(String),
    /// A TLS server that has no certificate yet, as a kubelet that waits for its first one.
    Bare,
    /// A TLS server that refused the handshake, and by which alert.
    Alert(String),
    /// Nobody who speaks TLS, and how that was seen.
    Nobody(String),
}

/// What the configured checks have found out so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) dns: DnsUse,
    /// Where kubelets listen, if they are to be probed.
    pub(crate) port: Option<u16>,
    pub(crate) facts: &'a Facts,
}

/// What has to be found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Questions {
    /// The node that asks.
    pub(crate) node: String,
    /// Names to be looked up.
    pub(crate) names: BTreeSet<String>,
    /// Addresses to be dialled, in this order; each is the node's in the inventory.
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Why nothing can be decided yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unready {
    /// Something has to be found out.
    Ask(Questions),
    /// What was found out does not do; it is to be found out again.
    Wait { left: super::Left, message: String },
}

/// What the evidence comes to.
#[derive(Debug)]
pub(super) enum Weighed {
    /// It is for the CSR; what was seen, for the message, if anything was asked.
    For(Option<String>),
    /// It is against it, and why.
    Against(String),
}

/// A node as the inventory knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) node: &'a str,
    pub(super) addresses: &'a [&'a HostAddress],
}

impl Evidence<'_> {
    /// Says whether a name that the inventory does not give to the node may be the node's by DNS.
    pub(super) fn may_widen(&self, name: &HostAddress, inventory: &Inventory) -> bool {
        let HostAddress::Dns(text) = name else {
            return false;
        };
        // No wildcard, and nothing that the C library would read as a number (0x0a000007).
        let readable = text.parse::<HostAddress>().is_ok_and(|read| read == *name);
        let last = text.rsplit('.').next().unwrap_or_default();
        let worded = last.starts_with(|first: char| first.is_ascii_alphabetic());
        self.dns == DnsUse::Allow && readable && worded && inventory.owner_of(name).is_none()
    }

    /// Weighs what was found out; `widened` are the names that the inventory does not list.
    pub(super) fn weigh(
        &self,
        request: &CertificateRequest,
        known: Known<'_>,
        widened: BTreeSet<String>,
    ) -> Result<Weighed, Unready> {
        let names = match self.dns {
            DnsUse::Ignore => BTreeSet::new(),
            DnsUse::Require => request.dns.iter().map(|n| n.to_ascii_lowercase()).collect(),
            DnsUse::Allow => widened,
        };
        let own: BTreeSet<IpAddr> = known.addresses.iter().filter_map(|a| ip(a)).collect();
        let mut questions = Questions {
            node: known.node.to_owned(),
            names: BTreeSet::new(),
            addresses: Vec::new(),
        };
        let mut seen = Vec::new();
        for name in names {
            match self.facts.names.get(&name) {
                None => drop(questions.names.insert(name)),
                Some(Resolution::Failed(why)) => return Err(unresolved(&name, why)),
                Some(Resolution::To(found)) => {
                    if let Some(foreign) = found.iter().find(|ip| !own.contains(ip)) {
                        return self.foreign(&name, *foreign, known.node);
                    }
                    seen.push(format!("{name} resolves to {}", join(found)));
                }
            }
        }
        if let Some(port) = self.port {
            let mut targets: BTreeSet<IpAddr> = request.ips.iter().filter_map(plain).collect();
            if targets.is_empty() {
                targets = own;
            }
            if targets.is_empty() {
                return Err(nothing_to_dial(known.node));
            }
            for target in targets {
                let address = SocketAddr::new(target, port);
                match self.facts.addresses.get(&target) {
                    None => questions.addresses.push(address),
                    Some(Answer::Nobody(why)) => return Err(silent(known.node, address, why)),
                    Some(Answer::Node(other)) if other != known.node => {
                        return Ok(Weighed::Against(taken(known.node, address, other)));
                    }
                    Some(answer) => seen.push(words(answer, address)),
                }
            }
        }
        if !questions.names.is_empty() || !questions.addresses.is_empty() {
            return Err(Unready::Ask(questions));
        }
        Ok(Weighed::For((!seen.is_empty()).then(|| seen.join("; "))))
    }

    /// A name resolves to an address that is not the node's.
    fn foreign(&self, name: &str, foreign: IpAddr, node: &str) -> Result<Weighed, Unready> {
        if self.dns == DnsUse::Allow {
            return Ok(Weighed::Against(format!(
                "DNS name {name} is not among the addresses of node {node} in the inventory, and \
                 resolves to {foreign}, which is not, either; add the name to the node there, or \
                 correct its DNS record, or take it off the node; the kubelet asks again by itself"
            )));
        }
        Err(Unready::Wait {
            left: super::Left::ForeignDns,
            message: format!(
                "DNS name {name} of node {node} resolves to {foreign}, which is not among the node's \
                 addresses in the inventory; correct the DNS record or the inventory"
            ),
        })
    }
}

fn ip(address: &HostAddress) -> Option<IpAddr> {
    match address {
        HostAddress::Ip(ip) => Some(*ip),
        HostAddress::Dns(_) => None,
    }
}

fn plain(requested: &IpAddr) -> Option<IpAddr> {
    ip(&address(*requested))
}

fn join(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn unresolved(name: &str, why: &str) -> Unready {
    Unready::Wait {
        left: super::Left::Unresolved,
        message: format!(
            "DNS name {name} does not resolve ({why}); add a DNS record, or check the name servers of \
             the authority's host"
        ),
    }
}

fn nothing_to_dial(node: &str) -> Unready {
    Unready::Wait {
        left: super::Left::Unreachable,
        message: format!(
            "node {node} cannot be probed: neither its CSR nor the inventory has an IP address of it; \
             list one in the inventory, or leave approval.probe out"
        ),
    }
}

fn silent(node: &str, address: SocketAddr, why: &str) -> Unready {
    Unready::Wait {
        left: super::Left::Unreachable,
        message: format!(
            "node {node} does not answer at {address} ({why}); start its kubelet, open the way from \
             here to it, or check approval.probe.port"
        ),
    }
}

fn taken(node: &str, address: SocketAddr, other: &str) -> String {
    format!(
        "{address} is answered by node {other}, with a certificate of this signer's CA, but the \
         inventory gives the address to node {node}; correct the inventory, or the network; the \
         kubelet asks again by itself"
    )
}

fn words(answer: &Answer, address: SocketAddr) -> String {
    match answer {
        Answer::Node(node) => format!("node {node} answers at {address} with its certificate"),
        Answer::Bare => format!("a kubelet without a certificate answers at {address}"),
        Answer::Stranger(subject) => {
            format!("a TLS server with another CA's certificate ({subject}) answers at {address}")
        }
        Answer::Alert(alert) => format!("a TLS server answers at {address} by the alert {alert}"),
        // Not reached: nobody's answer waits.
        Answer::Nobody(why) => format!("nobody answers at {address} ({why})"),
    }
}
