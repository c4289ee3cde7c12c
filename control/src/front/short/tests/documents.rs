//! The document lists every reason with its label.

use crate::front::short::Why;

#[test]
fn document_lists_every_label_and_no_other() {
    let text = include_str!("../../../../../docs/short-way.md");
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: Vec<&str> = rows.map(|(label, _)| label).collect();
    let others = ["path_unknown", "kubelet_failed", "kubelet_refused"];
    let labels = Why::ALL.iter().map(|why| why.as_str()).chain(others);
    let mut labels: Vec<&str> = labels.collect();
    let mut found = listed.clone();
    labels.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, labels);
}
