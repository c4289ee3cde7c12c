//! What this server serves, as clients ask for it before anything else.

use super::access;
use super::body::Body;
use super::respond;
use crate::authority::object::{GROUP, KIND, RESOURCE};
use crate::cli::BUILD;
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
    /// `/apis/GROUP/v1`.
    Resources(&'static str),
}

/// Every group; each has version 1.
const GROUPS: [&str; 3] = [GROUP, access::GROUP, "authentication.k8s.io"];

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
                let group = GROUPS.into_iter().find(|group| *group == name)?;
                match version {
                    None => Some(Self::Group(group)),
                    Some("v1") => Some(Self::Resources(group)),
                    Some(_) => None,
                }
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
            "groups": GROUPS.map(group),
        }),
        Document::Group(name) => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        Document::Resources(name) => json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": format!("{name}/v1"),
            "resources": match name {
                GROUP => own_resources(),
                access::GROUP => json!([
                    question(access::ACCESS.0, access::ACCESS.1),
                    question(access::RULES.0, access::RULES.1),
                ]),
                _ => json!([question("tokenreviews", "TokenReview")]),
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

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
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
