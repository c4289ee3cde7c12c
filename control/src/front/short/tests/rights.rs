//! The role that is shipped grants what the short way asks for, and nothing else.

use super::bed::{Asking, Bed, EXEC};
use serde_json::Value;
use std::collections::BTreeSet;

const MANIFEST: &str = include_str!("../../../../dist/front-rbac.yaml");

/// Verb, group and resource of what was asked.
fn right(method: &str, path: &str) -> (String, String, String) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match &parts[..] {
        ["api", _, rest @ ..] => ("", rest),
        ["apis", group, _, rest @ ..] => (*group, rest),
        _ => panic!("{path}"),
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] => rest,
        rest => rest,
    };
    let verb = match (method, rest.len()) {
        ("POST", _) => "create",
        (_, 1) => "list",
        _ => "get",
    };
    (verb.to_owned(), group.to_owned(), rest[0].to_owned())
}

#[tokio::test]
async fn role_grants_every_question_of_the_short_way_and_nothing_else() {
    let mut bed = Bed::new().await;
    bed.kubelet(&Asking::spdy(EXEC)).await;
    let asked = bed.server.asked();
    let needed: BTreeSet<_> = asked.iter().map(|it| right(&it.method, &it.path)).collect();
    let role = MANIFEST.split("\n---\n").next().unwrap();
    let role: Value = serde_saphyr::from_str(role).unwrap();
    let texts = |list: &Value| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|text| text.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    granted.insert((verb, group.clone(), resource.clone()));
                }
            }
        }
    }
    assert_eq!(granted, needed);
}
