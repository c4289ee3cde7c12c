//! Finds rules that can never match because an earlier one takes all of theirs.

use super::model::{PortRange, Rule};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Tells whether every target that `later` matches is matched by `earlier` too.
///
/// Compares one rule with one: a rule that several others cover together is not found.
pub(super) fn covers(earlier: &Rule, later: &Rule) -> bool {
    covers_ports(&earlier.ports, &later.ports)
        && covers_names(&earlier.dns_suffixes, &later.dns_suffixes)
        && covers_networks(&earlier.cidrs, &later.cidrs)
}

fn covers_ports(earlier: &[PortRange], later: &[PortRange]) -> bool {
    if earlier.is_empty() {
        return true;
    }
    let any = [PortRange {
        first: 1,
        last: u16::MAX,
    }];
    let later = if later.is_empty() { &any } else { later };
    let mut sorted = earlier.to_vec();
    sorted.sort_by_key(|range| range.first);
    later.iter().all(|range| {
        let mut reached = u32::from(range.first);
        for have in &sorted {
            if u32::from(have.first) <= reached {
                reached = reached.max(u32::from(have.last) + 1);
            }
        }
        reached > u32::from(range.last)
    })
}

fn covers_names(earlier: &[String], later: &[String]) -> bool {
    earlier.is_empty()
        || (!later.is_empty()
            && later
                .iter()
                .all(|name| earlier.iter().any(|suffix| is_below(name, suffix))))
}

/// Tells whether a name is a suffix itself or lies below it; both lower case.
pub(crate) fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn covers_networks(earlier: &[IpNet], later: &[IpNet]) -> bool {
    if earlier.is_empty() {
        return true;
    }
    let any = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let later = if later.is_empty() { &any } else { later };
    let merged = IpNet::aggregate(&earlier.to_vec());
    later
        .iter()
        .all(|net| merged.iter().any(|have| have.contains(net)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{RuleAction, Via};

    fn rule(cidrs: &[&str], names: &[&str], ports: &[(u16, u16)]) -> Rule {
        Rule {
            name: "r".into(),
            cidrs: cidrs.iter().map(|c| c.parse().unwrap()).collect(),
            dns_suffixes: names.iter().map(|n| (*n).to_owned()).collect(),
            ports: ports
                .iter()
                .map(|&(first, last)| PortRange { first, last })
                .collect(),
            action: RuleAction::Splice,
            via: Via::Direct,
        }
    }

    #[test]
    fn covers_wider_rule_takes_the_narrower() {
        let table = [
            (
                rule(&["10.0.0.0/8"], &[], &[]),
                rule(&["10.1.0.0/16"], &[], &[(1, 2)]),
                true,
            ),
            (
                rule(&["10.1.0.0/16"], &[], &[]),
                rule(&["10.0.0.0/8"], &[], &[]),
                false,
            ),
            (
                rule(&["10.0.0.0/9", "10.128.0.0/9"], &[], &[]),
                rule(&["10.0.0.0/8"], &[], &[]),
                true,
            ),
            (
                rule(&["0.0.0.0/0", "::/0"], &[], &[]),
                rule(&[], &["a.b"], &[]),
                true,
            ),
            (
                rule(&["0.0.0.0/0"], &[], &[]),
                rule(&[], &["a.b"], &[]),
                false,
            ),
            (
                rule(&[], &["b"], &[]),
                rule(&["10.0.0.0/8"], &["a.b"], &[]),
                true,
            ),
            (
                rule(&[], &["b"], &[]),
                rule(&["10.0.0.0/8"], &["ab"], &[]),
                false,
            ),
            (
                rule(&[], &["b"], &[]),
                rule(&["10.0.0.0/8"], &[], &[]),
                false,
            ),
            (
                rule(&["::/0"], &[], &[(1, 9), (10, 20)]),
                rule(&["::/0"], &[], &[(5, 15)]),
                true,
            ),
            (
                rule(&["::/0"], &[], &[(1, 9), (11, 20)]),
                rule(&["::/0"], &[], &[(5, 15)]),
                false,
            ),
            (
                rule(&["::/0"], &[], &[(1, 65535)]),
                rule(&["::/0"], &[], &[]),
                true,
            ),
        ];
        for (index, (earlier, later, want)) in table.iter().enumerate() {
            assert_eq!(covers(earlier, later), *want, "row {index}");
        }
    }
}
