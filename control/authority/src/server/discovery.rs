//! What this server serves, as clients ask for it before anything else.

use super::access;
use super::body::Body;
use super::{respond, whoami};
use crate::object::{GROUP, KIND, RESOURCE};
use eyesplice_process::BUILD;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// The Kubernetes whose API this is: clients print it and compare it with their own.
const KUBERNETES: (&str, &str) = ("1", "33");

/// One document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// `/api`: there is no core group.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(&'static str),
    /// `/apis/GROUP/VERSION`.
    Resources(&'static str, &'static str),
}

/// Every group with its versions, the preferred one first.
const GROUPS: [(&str, &[&str]); 3] = [
    (GROUP, &["v1"]),
    (access::GROUP, &["v1"]),
    (whoami::GROUP, &whoami::VERSIONS),
];

/// Every version of every group.
pub(super) fn versions() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of = |(group, versions): (&'static str, &'static [&'static str])| {
        versions.iter().map(move |version| (group, *version))
    };
    GROUPS.into_iter().flat_map(of)
}

/// The resources of a group with their kinds, without parts of others.
pub(super) fn kinds(group: &str) -> &'static [(&'static str, &'static str)] {
    match group {
        GROUP => &[(RESOURCE, KIND)],
        access::GROUP => &[access::ACCESS, access::RULES],
        _ => &[("tokenreviews", "TokenReview"), whoami::WHOAMI],
    }
}

impl Document {
    pub(super) fn of(path: &str) -> Option<Self> {
        match path.strip_suffix('/').unwrap_or(path) {
            "/api" => Some(Self::CoreVersions),
            "/apis" => Some(Self::Groups),
            path => {
                let path = path.strip_prefix("/apis/")?;
                let (name, version) = match path.split_once('/') {
                    Some((name, version)) => (name, Some(version)),
                    None => (path, None),
                };
                let (group, versions) = GROUPS.into_iter().find(|(group, _)| *group == name)?;
                let Some(version) = version else {
                    return Some(Self::Group(group));
                };
                let version = versions.iter().find(|known| **known == version)?;
                Some(Self::Resources(group, version))
            }
        }
    }
}

/// Answers with a document.
pub(super) fn answer(document: Document) -> Response<Body> {
    let value = match document {
        Document::CoreVersions => json!({
            "kind": "APIVersions",
            "versions": [],
            "serverAddressByClientCIDRs": [],
        }),
        Document::Groups => json!({
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": GROUPS.map(|(name, versions)| group(name, versions)),
        }),
        Document::Group(name) => {
            let versions = GROUPS.into_iter().find(|(group, _)| *group == name);
            let mut group = group(name, versions.map_or(&[], |(_, versions)| versions));
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        Document::Resources(name, version) => json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": format!("{name}/{version}"),
            "resources": match name {
                GROUP => own_resources(),
                name => kinds(name).iter().map(|(plural, kind)| question(plural, kind)).collect(),
            },
        }),
    };
    respond::json(StatusCode::OK, &value)
}

/// `/version`.
pub(super) fn version() -> Value {
    let (major, minor) = KUBERNETES;
    json!({
        "major": major,
        "minor": minor,
        "gitVersion": format!("v{major}.{minor}.0+eyesplice.{}", BUILD.version),
        "gitCommit": BUILD.commit,
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", BUILD.architecture),
    })
}

/// The ConfigMap by which nodes find the CA.
pub(super) fn cluster_info(kubeconfig: &str) -> Value {
    json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "cluster-info", "namespace": "kube-public"},
        "data": {"kubeconfig": kubeconfig},
    })
}

/// `/api/v1/events`.
pub(super) fn no_events() -> Value {
    json!({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []})
}

fn group(name: &str, versions: &[&str]) -> Value {
    let version =
        |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

/// A resource that is created to get an answer, and not kept.
fn question(plural: &str, kind: &str) -> Value {
    json!({
        "name": plural,
        "singularName": kind.to_ascii_lowercase(),
        "namespaced": false,
        "kind": kind,
        "verbs": ["create"],
    })
}

fn own_resources() -> Value {
    let part = |name: &str| {
        json!({
            "name": format!("{RESOURCE}/{name}"),
            "singularName": "",
            "namespaced": false,
            "kind": KIND,
            "verbs": ["get", "update"],
        })
    };
    json!([
        {
            "name": RESOURCE,
            "singularName": "certificatesigningrequest",
            "namespaced": false,
            "kind": KIND,
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            "shortNames": ["csr"],
        },
        part("approval"),
        part("status"),
    ])
}
