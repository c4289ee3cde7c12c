//! Decides which rule a target falls under, or why it is denied.
//!
//! Addresses are judged one by one after the name was resolved once: built-in denials first, then
//! the rules in order. A name whose addresses fall under several rules keeps those of one rule
//! only, so a stream never mixes a spliced and a terminated address.

mod builtin;

pub use builtin::{BuiltinDenial, builtin_denial, embedded_v4};

use crate::config::{Config, Egress, Rule, RuleAction, Via, is_below};
use eyesplice_proto::target::{Host, Target};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The rules and exemptions of one configuration.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    exempt: Vec<IpNet>,
    own: Vec<SocketAddr>,
}

/// What a target may use.
#[derive(Debug, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Index of the rule, in the order of the configuration.
    pub index: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// The addresses that fall under it, in the order given; never empty.
    pub addresses: Vec<IpAddr>,
    /// The addresses that were left out.
    pub dropped: Vec<Denied>,
}

/// One address that is not dialled, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The address.
    pub address: IpAddr,
    /// Why.
    pub cause: Cause,
}

/// Why an address is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Cause {
    /// Built in.
    #[display("it is {_0}")]
    Builtin(BuiltinDenial),
    /// The rule says so.
    #[display("denied by rule {_0}")]
    Rule(Arc<str>),
    /// No rule matches.
    #[display("no rule allows it")]
    NoRule,
    /// It falls under another rule than the first address of this name.
    #[display("it falls under rule {_0}, unlike the first address of the name")]
    OtherRule(Arc<str>),
}

impl Policy {
    /// Compiles the rules of a configuration. Its listeners and admin endpoint are denied, and so is
    /// what this process listens on in fact: port 0 is another one there, an embedded authority has its
    /// own configuration, and an address that a reload changed stays the old one until a restart.
    pub fn new(config: &Config, listening: &[SocketAddr]) -> Self {
        let tcp = config
            .listeners
            .iter()
            .filter_map(|listener| listener.transport.address());
        let own = tcp.chain([config.admin.address]);
        let own = own.chain(listening.iter().copied());
        Self::compile(&config.egress, own.collect())
    }

    /// Compiles rules; `own` are the endpoints of this process.
    pub fn compile(egress: &Egress, own: Vec<SocketAddr>) -> Self {
        Self {
            rules: egress.rules.clone(),
            exempt: egress.insecure_allow_targets.clone(),
            own,
        }
    }

    /// Tells whether any address could make this target allowed, before its name is resolved: a
    /// name that no rule can allow never reaches a name server.
    pub fn may_allow(&self, asked: &Target) -> bool {
        self.rules
            .iter()
            .any(|rule| !matches!(rule.action, RuleAction::Deny) && matches_asked(rule, asked))
    }

    /// Judges the addresses of a target.
    ///
    /// The first address that some rule allows picks the rule; others that fall under the same rule
    /// stay, all else is dropped and listed. `is_local` tells whether an address is this host's;
    /// asked only for the port of a listener that is bound to all addresses.
    ///
    /// # Errors
    /// Why the first address is denied, if none is allowed; `None` if there was no address.
    pub fn select(
        &self,
        asked: &Target,
        addresses: &[IpAddr],
        is_local: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Selection<'_>, Option<Denied>> {
        let mut chosen: Option<(usize, Vec<IpAddr>)> = None;
        let mut dropped = Vec::new();
        for address in addresses.iter().map(IpAddr::to_canonical) {
            match (self.judge(asked, address, is_local), &mut chosen) {
                (Ok(index), None) => chosen = Some((index, vec![address])),
                (Ok(index), Some((rule, kept))) if *rule == index => kept.push(address),
                (Ok(index), Some(_)) => {
                    let cause = Cause::OtherRule(self.rules[index].name.clone());
                    dropped.push(Denied { address, cause });
                }
                (Err(cause), _) => dropped.push(Denied { address, cause }),
            }
        }
        match chosen {
            Some((index, addresses)) => Ok(Selection {
                index,
                rule: &self.rules[index],
                addresses,
                dropped,
            }),
            None => Err(dropped.into_iter().next()),
        }
    }

    /// Finds the rule for a name that has no address here, because an agent resolves it: the first
    /// rule that asks for nothing but name and port, with its index. Rules with `cidrs` cannot be
    /// judged.
    ///
    /// # Errors
    /// That rule denies, or leads to no agent; `None`: there is none.
    pub fn select_name(&self, asked: &Target) -> Result<(usize, &Rule), Option<Arc<str>>> {
        let by_name = |(_, rule): &(usize, &Rule)| {
            !rule.dns_suffixes.is_empty() && rule.cidrs.is_empty() && matches_asked(rule, asked)
        };
        match self.rules.iter().enumerate().find(by_name) {
            None => Err(None),
            Some((_, rule)) if matches!(rule.action, RuleAction::Deny) => {
                Err(Some(Arc::clone(&rule.name)))
            }
            Some((_, rule)) if rule.via != Via::Tunnel => Err(None),
            Some(found) => Ok(found),
        }
    }

    fn judge(
        &self,
        asked: &Target,
        address: IpAddr,
        is_local: &dyn Fn(IpAddr) -> bool,
    ) -> Result<usize, Cause> {
        if let Some(denial) = builtin_denial(address, &self.exempt) {
            return Err(Cause::Builtin(denial));
        }
        let matching = |(_, rule): &(usize, &Rule)| {
            matches_asked(rule, asked) && matches_address(rule, address)
        };
        let found = self.rules.iter().enumerate().find(matching);
        // Behind an agent the address is another host's.
        let elsewhere = found.is_some_and(|(_, rule)| rule.via == Via::Tunnel);
        if !elsewhere && self.is_own(address, asked.port, is_local) {
            return Err(Cause::Builtin(BuiltinDenial::OwnListener));
        }
        match found {
            None => Err(Cause::NoRule),
            Some((_, rule)) if matches!(rule.action, RuleAction::Deny) => {
                Err(Cause::Rule(rule.name.clone()))
            }
            Some((index, _)) => Ok(index),
        }
    }

    /// Whether this process listens there.
    pub(crate) fn is_own(
        &self,
        address: IpAddr,
        port: u16,
        is_local: &dyn Fn(IpAddr) -> bool,
    ) -> bool {
        self.own.iter().filter(|own| own.port() == port).any(|own| {
            let bound = own.ip().to_canonical();
            if bound.is_unspecified() {
                is_local(address)
            } else {
                bound == address
            }
        })
    }
}

fn matches_asked(rule: &Rule, asked: &Target) -> bool {
    let port = rule.ports.is_empty() || rule.ports.iter().any(|range| range.contains(asked.port));
    port && (rule.dns_suffixes.is_empty()
        || match &asked.host {
            Host::Name(name) => rule
                .dns_suffixes
                .iter()
                .any(|suffix| is_below(name.as_str(), suffix)),
            Host::Ip(_) => false,
        })
}

/// A deny rule also sees the IPv4 address inside of an IPv6 one: a translator on the way would.
fn matches_address(rule: &Rule, address: IpAddr) -> bool {
    let within = |address: IpAddr| rule.cidrs.iter().any(|net| net.contains(&address));
    if rule.cidrs.is_empty() || within(address) {
        return true;
    }
    match address {
        IpAddr::V6(v6) if matches!(rule.action, RuleAction::Deny) => {
            embedded_v4(v6).into_iter().any(|v4| within(IpAddr::V4(v4)))
        }
        IpAddr::V6(_) | IpAddr::V4(_) => false,
    }
}

#[cfg(test)]
mod tests;
