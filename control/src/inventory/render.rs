//! Writes an inventory file.

use crate::pki::NodeSpec;
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
