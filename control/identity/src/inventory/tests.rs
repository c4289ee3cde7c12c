//! Inventories, good and bad.

use super::*;

fn parse(text: &str) -> Result<Inventory, NodeListError> {
    Inventory::parse(text, Path::new("nodes.yaml"))
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Err(NodeListError(all)) => all.errors.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\n";

#[test]
fn inventory_finds_nodes_by_address_and_name() {
    let text = format!(
        "{HEAD}nodes:\n- name: worker-1\n  addresses: [10.0.0.7, fd00::7, W1.Example]\n\
         - name: worker-2\n  addresses:\n  - \"::ffff:10.0.0.8\"\n  - worker-2\n"
    );
    let inventory = parse(&text).unwrap();
    let node = |host: &str| inventory.node_of(&host.parse().unwrap()).map(AsRef::as_ref);
    assert_eq!(node("10.0.0.7"), Some("worker-1"));
    assert_eq!(node("[fd00::7]"), Some("worker-1"));
    assert_eq!(node("w1.example"), Some("worker-1"));
    assert_eq!(node("worker-1"), Some("worker-1"));
    assert_eq!(node("10.0.0.8"), Some("worker-2"));
    assert_eq!(node("::ffff:10.0.0.8"), Some("worker-2"));
    assert_eq!(node("10.0.0.9"), None);
    assert_eq!(node("worker-3"), None);
    assert_eq!(inventory.len(), 2);
    assert!(parse(&format!("{HEAD}nodes: []\n")).unwrap().is_empty());
}

#[test]
fn inventory_tells_all_mistakes_at_once_with_their_lines() {
    let text = "apiVersion: eyesplice.dev/v2\n\
                kind: KubeletPins\n\
                extra: {a: [1]}\n\
                nodes:\n\
                - name: worker-1\n  addresses: [10.0.0.7, 10.0.0.300]\n  labels: {}\n\
                - name: Worker\n  addresses: [10.0.0.8]\n\
                - name: worker-2\n  addresses: [10.0.0.7]\n\
                - addresses: [10.0.0.9]\n\
                - name: worker-1\n  addresses: []\n";
    assert_eq!(
        problems(text),
        [
            "apiVersion (line 1, column 13): \"eyesplice.dev/v2\" is not known to this version; \
             write `apiVersion: eyesplice.dev/v1alpha1`",
            "kind (line 2, column 7): \"KubeletPins\" is not known to this version; write `kind: \
             NodeInventory`",
            "extra (line 3, column 1): is not a known field; known here: apiVersion, kind, nodes",
            "nodes[0].addresses[1] (line 6, column 25): \"10.0.0.300\" ends in a number but is no \
             IP address; write four numbers from 0 to 255; write an IP or DNS name",
            "nodes[0].labels (line 7, column 3): is not a known field; known here: name, \
             addresses, added",
            "nodes[1].name (line 8, column 9): \"Worker\" has the character 'W'; use letters, \
             digits, '-' and '.' only; write it as Kubernetes has it",
            "nodes[2].addresses (line 11, column 15): \"10.0.0.7\" belongs to node worker-1 \
             (line 6) already; remove it from one",
            "nodes[3].name (line 12, column 3): is required; add `name: worker-1`",
            "nodes[4].addresses (line 13, column 3): is required; add `addresses: [10.0.0.7]`",
            "nodes[4].name (line 13, column 9): \"worker-1\" belongs to node worker-1 (line 5) \
             already; remove it from one",
        ]
    );
    assert_eq!(problems("{}").len(), 3);
}

#[test]
fn inventory_tells_since_when_a_machine_is_a_node() {
    let text = format!(
        "{HEAD}nodes:\n- {{name: w, addresses: [10.0.0.7], added: 2026-11-30T11:00:00+01:00}}\n- \
         {{name: v, addresses: [10.0.0.8]}}\n"
    );
    let inventory = parse(&text).unwrap();
    let added = inventory.added("w").unwrap();
    assert_eq!(crate::certificate::instant(added), "2026-11-30T10:00:00Z");
    assert_eq!((inventory.added("v"), inventory.added("u")), (None, None));
    assert!(inventory.has("w") && inventory.has("v") && !inventory.has("10.0.0.7"));
    let wrong = text.replace("2026-11-30T11:00:00+01:00", "yesterday");
    let told = problems(&wrong);
    assert!(
        told[0].contains("nodes[0].added (line 4, column 43): \"yesterday\" is no time"),
        "{told:?}"
    );
}

#[test]
fn inventory_syntax_error_names_the_line() {
    for (text, expected) in [
        ("nodes: [\n", "line"),
        ("- a\n", "line 1"),
        ("nodes:\n- name: {a: 1}\n  addresses: [b]\n", "line 2"),
        ("kind: a\nkind: b\n", "kind"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    let missing = Inventory::load(Path::new("/nonexistent/nodes.yaml")).unwrap_err();
    assert!(
        missing.to_string().contains("cannot read the file"),
        "{missing}"
    );
}

#[test]
fn inventory_of_every_prefix_errs_or_parses() {
    let text = format!("{HEAD}nodes:\n- name: worker-1\n  addresses: [10.0.0.7, w.example]\n");
    for end in 0..=text.len() {
        drop(parse(&text[..end]));
    }
}
