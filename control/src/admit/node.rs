//! Says which node a stream goes to, so that one stream never has two.

use eyesplice_identity::inventory::Inventory;
use eyesplice_proto::target::Host;
use std::net::IpAddr;
use std::sync::Arc;

/// Finds the node by what was asked, else by the first address, and keeps the addresses that can be
/// its own.
///
/// A name that the inventory gives to a node decides alone: the certificate must be that node's,
/// wherever the name leads. A name that it does not know, and that leads to several nodes, keeps
/// to the first: which certificate to expect must not depend on which dial wins.
pub(super) fn of_one_node(
    inventory: Option<&Inventory>,
    asked: &Host,
    mut addresses: Vec<IpAddr>,
) -> (Option<Arc<str>>, Vec<IpAddr>) {
    let Some(inventory) = inventory else {
        return (None, addresses);
    };
    if let Some(node) = inventory.node_of(asked) {
        return (Some(Arc::clone(node)), addresses);
    }
    let owner = |address: &IpAddr| inventory.node_of(&Host::Ip(*address)).cloned();
    let node = addresses.first().and_then(owner);
    addresses.retain(|address| owner(address) == node);
    (node, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn of_one_node_never_mixes_nodes() {
        let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n\
                    - {name: a, addresses: [10.0.0.1, 10.0.0.2]}\n\
                    - {name: b, addresses: [10.0.0.3]}\n";
        let inventory = Inventory::parse(text, Path::new("inventory.yaml")).unwrap();
        let table = [
            ("10.0.0.1", vec!["10.0.0.1"], Some("a"), 1),
            ("a", vec!["10.0.0.3", "10.0.0.9"], Some("a"), 2),
            (
                "other",
                vec!["10.0.0.1", "10.0.0.3", "10.0.0.2"],
                Some("a"),
                2,
            ),
            ("other", vec!["10.0.0.3", "10.0.0.9"], Some("b"), 1),
            ("other", vec!["10.0.0.9", "10.0.0.3"], None, 1),
        ];
        for (asked, addresses, want, kept) in table {
            let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
            let (node, left) = of_one_node(Some(&inventory), &asked.parse().unwrap(), addresses);
            assert_eq!((node.as_deref(), left.len()), (want, kept), "{asked}");
        }
    }
}
