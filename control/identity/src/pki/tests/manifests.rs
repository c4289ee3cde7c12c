//! The manifests that are shipped: what they grant, to whom, and that they are Kubernetes' own types.

use super::*;
use crate::document::Document;
use crate::pki::profile::profiles;
use crate::pki::spec::Spec;
use eyesplice_proto::route::Action;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Subject};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

const PKI: &str = include_str!("../../../../dist/pki-rbac.yaml");
const GATEWAY: &str = include_str!("../../../../dist/gateway-rbac.yaml");
const ROLE: &str = "eyesplice-kubelet-api";

/// The subresources of nodes by which kubelets of 1.20 to 1.37 authorise what the action may reach.
fn subresources(action: Action) -> &'static [&'static str] {
    match action {
        Action::Exec | Action::Attach | Action::PortForward | Action::Run => &["proxy"],
        Action::Logs => &["proxy", "log"],
        Action::Checkpoint => &["checkpoint"],
        Action::Metrics => &["metrics", "stats"],
        Action::Pods => &["pods", "proxy"],
        Action::Other => &["proxy", "healthz", "configz", "statusz", "spec"],
    }
}

/// Every object of a kind; all of a manifest are of a kind that is known here.
fn objects<T: DeserializeOwned>(manifest: &str, kind: &str) -> Vec<T> {
    let documents = manifest.split("\n---\n");
    let of_kind = documents.filter(|text| text.contains(&format!("\nkind: {kind}\n")));
    of_kind
        .map(|text| serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{kind}: {error}")))
        .collect()
}

fn role(manifest: &str) -> Vec<PolicyRule> {
    let roles = objects::<ClusterRole>(manifest, "ClusterRole").into_iter();
    let mut found = roles.filter(|role| role.metadata.name.as_deref() == Some(ROLE));
    let rules = found.next().unwrap().rules.unwrap();
    assert!(found.next().is_none());
    rules
}

fn bound(manifest: &str, role: &str) -> Vec<Subject> {
    let bindings = objects::<ClusterRoleBinding>(manifest, "ClusterRoleBinding").into_iter();
    let to_role = bindings.filter(|binding| binding.role_ref.name == role);
    to_role
        .flat_map(|binding| binding.subjects.unwrap_or_default())
        .collect()
}

#[test]
fn role_for_kubelets_covers_every_action_that_the_gateway_knows() {
    let rules = role(PKI);
    assert_eq!(rules, role(GATEWAY), "one role in both manifests");
    let mut granted = BTreeSet::new();
    for rule in rules {
        assert_eq!(rule.verbs, ["*"]);
        assert_eq!(rule.api_groups, Some(vec![String::new()]));
        granted.extend(rule.resources.unwrap());
    }
    let mut needed = BTreeSet::new();
    for action in Action::ALL {
        needed.extend(
            subresources(*action)
                .iter()
                .map(|name| format!("nodes/{name}")),
        );
    }
    assert_eq!(granted, needed, "all of it, and nothing else");
}

#[test]
fn bindings_name_the_users_that_the_tree_makes() {
    let text = "apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\n";
    let table = profiles(&Spec::parse(text, Path::new("/pki.yaml")).unwrap().config);
    let user = |name: &str| {
        let found = table.iter().find(|profile| profile.name == name).unwrap();
        ("User".to_owned(), found.common_name.clone())
    };
    let subjects = |manifest: &str, role: &str| -> Vec<(String, String)> {
        let bound = bound(manifest, role).into_iter();
        bound.map(|subject| (subject.kind, subject.name)).collect()
    };
    let clients = [
        user("apiserver-kubelet-client"),
        user("eyesplice-kubelet-client"),
    ];
    assert_eq!(subjects(PKI, ROLE), clients);
    let admin = table
        .iter()
        .find(|profile| profile.name == "admin")
        .unwrap();
    let group = ("Group".to_owned(), admin.organizations[0].clone());
    assert_eq!(subjects(PKI, "cluster-admin"), [group]);
    let gateways = ("Group".to_owned(), "eyesplice:gateways".to_owned());
    assert_eq!(subjects(GATEWAY, ROLE), std::slice::from_ref(&gateways));
    let enrolment = subjects(GATEWAY, "eyesplice-gateway-enrolment");
    assert!(enrolment.contains(&gateways), "{enrolment:?}");
}
