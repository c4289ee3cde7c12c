//! The shipped manifest, as an API server would apply it.

use serde_json::Value;

const MANIFEST: &str = include_str!("../../../../dist/authority-rbac.yaml");

/// Group, resource and verb.
pub(super) type Right = (String, String, String);

/// Every right that the manifest gives.
pub(super) fn allowed() -> Vec<Right> {
    let mut rights = Vec::new();
    for document in MANIFEST.split("\n---\n") {
        let document: Value = serde_saphyr::from_str(document).unwrap();
        for rule in document["rules"].as_array().into_iter().flatten() {
            let list = |field: &str| -> Vec<String> {
                let values = rule[field].as_array().unwrap().iter();
                values.map(|v| v.as_str().unwrap().to_owned()).collect()
            };
            for group in list("apiGroups") {
                for resource in list("resources") {
                    for verb in list("verbs") {
                        rights.push((group.clone(), resource.clone(), verb));
                    }
                }
            }
        }
    }
    rights.sort();
    rights.dedup();
    rights
}

/// Says whether the manifest gives a right.
pub(super) fn allows(group: &str, resource: &str, verb: &str) -> bool {
    allowed()
        .iter()
        .any(|(g, r, v)| g == group && r == resource && v == verb)
}
