//! Writes an inventory file.

use super::NodeSpec;
use std::fmt::Write as _;

/// Renders the inventory of `nodes`; names and addresses are valid already, so quoting them is
/// enough.
pub(crate) fn render(nodes: &[NodeSpec]) -> String {
    let mut text = String::from("apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\n");
    text.push_str(if nodes.is_empty() {
        "nodes: []\n"
    } else {
        "nodes:\n"
    });
    for node in nodes {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- name: \"{}\"\n  addresses:", node.name);
        for address in &node.addresses {
            let _ = writeln!(text, "  - \"{address}\"");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::Inventory;
    use std::path::Path;

    fn read(text: &str) -> Result<Inventory, crate::inventory::NodeListError> {
        Inventory::parse(text, Path::new("inventory.yaml"))
    }

    #[test]
    fn inventory_reads_back_what_pki_init_writes() {
        let nodes = ["worker-1=10.0.0.7,fd00::7,w1.example", "worker-2=10.0.0.8"];
        let nodes: Vec<NodeSpec> = nodes.iter().map(|node| node.parse().unwrap()).collect();
        let inventory = read(&render(&nodes)).unwrap();
        assert_eq!(inventory.len(), 2);
        assert_eq!(
            inventory
                .node_of(&"fd00::7".parse().unwrap())
                .map(AsRef::as_ref),
            Some("worker-1")
        );
        assert!(read(&render(&[])).unwrap().is_empty());
    }
}
