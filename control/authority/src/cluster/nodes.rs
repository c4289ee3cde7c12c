//! The inventory that a cluster's Node objects make.
//!
//! A kubelet writes the addresses of its own Node, and only of its own (NodeRestriction). So a node
//! may claim whatever address no other Node has, and what two Nodes claim belongs to neither. A
//! Node's name is its own: another Node that claims it claims in vain. A name in the form of an IP
//! address is no more than a claim: whoever has a bootstrap token chooses the name.

use eyesplice_identity::inventory::{HostAddress, Inventory};
use k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::sync::Arc;

/// Kinds of addresses that a serving certificate may name (core/v1 NodeAddressType).
const KINDS: [&str; 5] = [
    "Hostname",
    "InternalIP",
    "ExternalIP",
    "InternalDNS",
    "ExternalDNS",
];

/// What all Nodes together come to.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// What exactly one Node has.
    pub(super) inventory: Inventory,
    /// What several Nodes claim, and who does.
    contested: HashMap<HostAddress, Vec<Arc<str>>>,
}

/// The addresses of one Node; what is no address or name is left out.
pub(super) fn addresses(node: Node) -> Vec<HostAddress> {
    let listed = node.status.and_then(|status| status.addresses);
    let known = listed.into_iter().flatten();
    let known = known.filter(|address| KINDS.contains(&address.type_.as_str()));
    known
        .filter_map(|address| address.address.parse().ok())
        .collect()
}

impl Claims {
    /// Puts Nodes together.
    pub(super) fn new(nodes: &[(String, Vec<HostAddress>)]) -> Self {
        let mut claims: HashMap<HostAddress, Vec<Arc<str>>> = HashMap::new();
        let mut names: HashMap<HostAddress, Arc<str>> = HashMap::new();
        for (name, addresses) in nodes {
            let node: Arc<str> = name.as_str().into();
            let own: Option<HostAddress> = name.parse().ok();
            if let Some(own @ HostAddress::Dns(_)) = &own {
                names.insert(own.clone(), Arc::clone(&node));
            }
            for address in addresses.iter().chain(&own) {
                let claimants = claims.entry(address.clone()).or_default();
                if !claimants.contains(&node) {
                    claimants.push(Arc::clone(&node));
                }
            }
        }
        let mut owners = HashMap::new();
        let mut contested = HashMap::new();
        for (address, mut claimants) in claims {
            match (names.get(&address), claimants.len()) {
                (Some(_), _) => {}
                (None, 1) => owners.extend(claimants.pop().map(|node| (address, node))),
                (None, _) => {
                    claimants.sort();
                    contested.insert(address, claimants);
                }
            }
        }
        owners.extend(names);
        Self {
            inventory: Inventory::from_owners(owners, nodes.len()),
            contested,
        }
    }

    /// Finds a name that several Nodes claim, with those Nodes.
    pub(super) fn contested(
        &self,
        mut names: impl Iterator<Item = HostAddress>,
    ) -> Option<(HostAddress, &[Arc<str>])> {
        names.find_map(|name| {
            let claimants = self.contested.get(&name)?;
            Some((name, claimants.as_slice()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostAddress {
        text.parse().unwrap()
    }

    fn nodes(list: &[(&str, &[&str])]) -> Vec<(String, Vec<HostAddress>)> {
        let node = |(name, addresses): &(&str, &[&str])| {
            let addresses = addresses.iter().map(|address| host(address)).collect();
            ((*name).to_owned(), addresses)
        };
        list.iter().map(node).collect()
    }

    #[test]
    fn address_of_one_node_is_its_own_and_its_name_too() {
        let claims = Claims::new(&nodes(&[("a", &["10.0.0.1", "a.example"]), ("b", &[])]));
        let owner = |text| {
            claims
                .inventory
                .owner_of(&host(text))
                .map(ToString::to_string)
        };
        assert_eq!(owner("10.0.0.1").as_deref(), Some("a"));
        assert_eq!(owner("a.example").as_deref(), Some("a"));
        assert_eq!(owner("b").as_deref(), Some("b"));
        assert_eq!(owner("10.0.0.2"), None);
        assert_eq!(claims.inventory.len(), 2);
    }

    #[test]
    fn address_that_two_nodes_claim_belongs_to_neither() {
        let claims = Claims::new(&nodes(&[("a", &["10.0.0.1"]), ("b", &["10.0.0.1"])]));
        assert_eq!(claims.inventory.owner_of(&host("10.0.0.1")), None);
        let names = [host("10.0.0.9"), host("10.0.0.1")];
        let (name, claimants) = claims.contested(names.into_iter()).unwrap();
        assert_eq!(name, host("10.0.0.1"));
        assert_eq!(claimants, ["a".into(), "b".into()]);
    }

    #[test]
    fn name_of_a_node_stays_its_own_whoever_claims_it() {
        for order in [[0, 1], [1, 0]] {
            let list = nodes(&[("a", &["a", "10.0.0.1"]), ("b", &["a", "10.0.0.2"])]);
            let list: Vec<_> = order.iter().map(|index| list[*index].clone()).collect();
            let claims = Claims::new(&list);
            assert_eq!(
                claims.inventory.owner_of(&host("a")).map(|o| &**o),
                Some("a")
            );
            assert!(claims.contested([host("a")].into_iter()).is_none());
        }
    }

    #[test]
    fn name_in_the_form_of_an_address_takes_it_from_nobody() {
        let claims = Claims::new(&nodes(&[("a", &["10.0.0.1"]), ("10.0.0.1", &[])]));
        assert_eq!(claims.inventory.owner_of(&host("10.0.0.1")), None);
        assert!(claims.contested([host("10.0.0.1")].into_iter()).is_some());
    }

    #[test]
    fn addresses_of_a_node_are_those_of_known_kinds_that_can_be_read() {
        let node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "a"},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "10.0.0.1"},
                {"type": "Hostname", "address": "A.Example"},
                {"type": "PodIP", "address": "10.0.0.3"},
                {"type": "ExternalDNS", "address": "not a name"},
            ]},
        }));
        let read = addresses(node.unwrap());
        assert_eq!(read, [host("10.0.0.1"), host("a.example")]);
    }
}
