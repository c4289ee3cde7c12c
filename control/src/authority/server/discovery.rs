//! What this server serves, as clients ask for it before anything else.

use super::body::Body;
use super::respond;
use crate::authority::object::{API_VERSION, GROUP, KIND, RESOURCE};
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
    /// `/apis/certificates.k8s.io`.
    Group,
    /// `/apis/certificates.k8s.io/v1`.
    Resources,
}

impl Document {
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path.strip_suffix('/').unwrap_or(path) {
            "/api" => Self::CoreVersions,
            "/apis" => Self::Groups,
            "/apis/certificates.k8s.io" => Self::Group,
            "/apis/certificates.k8s.io/v1" => Self::Resources,
            _ => return None,
        })
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
            "groups": [group()],
        }),
        Document::Group => {
            let mut group = group();
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        Document::Resources => json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": API_VERSION,
            "resources": own_resources(),
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

fn group() -> Value {
    let version = json!({"groupVersion": API_VERSION, "version": "v1"});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
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
