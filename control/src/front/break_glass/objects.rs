//! Reads what kubectl asks for before it opens a stream, and words the answers: which resources
//! there are, and a pod as far as a stream needs it.
//!
//! kubectl asks for `/api`, `/apis` and `/api/v1` unless it has kept the answers, and then for the
//! pod. Whatever asks for more, as for a list, is none of this.

use crate::front::short::Place;
use eyesplice_dataplane::seam::ApiRequest;
use eyesplice_identity::certificate::rfc3339;
use eyesplice_proto::api::{PodStream, Subresource, pod_stream};
use eyesplice_proto::head::{Method, RequestTarget};
use eyesplice_proto::hop::Identity;
use serde_json::{Value as Json, json};
use std::time::SystemTime;

/// Says on the pod itself that it is remembered, and since when.
const SEEN: &str = "eyesplice.dev/break-glass-seen";

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) enum Sought {
    /// Which resources there are: the answer, which is the same for everybody.
    Resources(Json),
    /// A pod, named by any stream of it.
    Pod(PodStream),
}

impl Sought {
    /// Reads a request; `None`: it asks for none of that, or for more.
    pub(super) fn read(request: &ApiRequest) -> Option<Self> {
        let head = &request.head;
        let mut names = head.headers.iter().map(|(name, _)| name.as_str());
        let impersonates = names.any(|name| Identity::of(name) == Some(Identity::Impersonate));
        let reads = head.method == Method::GET && request.upgrade.is_none() && !request.has_body;
        if impersonates || !reads || !head.target.query().is_none_or(is_usual) {
            return None;
        }
        Some(match head.target.path() {
            "/api" => Self::Resources(json!({
                "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [],
            })),
            "/apis" => Self::Resources(json!({
                "kind": "APIGroupList", "apiVersion": "v1", "groups": [],
            })),
            "/api/v1" => Self::Resources(resources()),
            path => Self::Pod(any_stream_of(path)?),
        })
    }
}

/// The only parameter that kubectl sends: how long it waits.
fn is_usual(query: &str) -> bool {
    let is_time = |time: &str| {
        time.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
    };
    query.is_empty() || query.strip_prefix("timeout=").is_some_and(is_time)
}

/// A stream of the pod whose path this is, spelled as clients do.
fn any_stream_of(path: &str) -> Option<PodStream> {
    let target = RequestTarget::new(format!("{path}/{}", Subresource::Log.as_str())).ok()?;
    pod_stream(&target)
}

/// Pods and their streams, and nothing else.
fn resources() -> Json {
    let mut all = vec![json!({
        "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
        "verbs": ["get"], "shortNames": ["po"],
    })];
    for subresource in Subresource::ALL {
        let (kind, verbs) = match subresource {
            Subresource::Exec => ("PodExecOptions", &["create", "get"][..]),
            Subresource::Attach => ("PodAttachOptions", &["create", "get"][..]),
            Subresource::PortForward => ("PodPortForwardOptions", &["create", "get"][..]),
            Subresource::Log => ("Pod", &["get"][..]),
        };
        all.push(json!({
            "name": format!("pods/{}", subresource.as_str()), "singularName": "",
            "namespaced": true, "kind": kind, "verbs": verbs,
        }));
    }
    json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": all})
}

/// The pod as it was seen: what kubectl reads of it, and no environment, volume or label.
pub(super) fn pod(place: &Place, seen: SystemTime) -> Json {
    let mut pod = json!({"kind": "Pod", "apiVersion": "v1"});
    // Strings, numbers and maps of them have no way to fail.
    if let Ok(Json::Object(mut parts)) = serde_json::to_value(&*place.pod) {
        if let Some(Json::Object(metadata)) = parts.get_mut("metadata") {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            annotations[SEEN] = rfc3339(seen).into();
        }
        if let Some(pod) = pod.as_object_mut() {
            pod.append(&mut parts);
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pod_that_is_given_has_what_a_stream_needs_and_nothing_else() {
        let place = Place::of(
            json!({
                "metadata": {
                    "name": "web-0", "namespace": "shop", "uid": "0a-1b", "labels": {"app": "web"},
                    "annotations": {"kubectl.kubernetes.io/default-container": "app"},
                },
                "spec": {
                    "nodeName": "worker-3", "serviceAccountName": "builder",
                    "containers": [
                        {"name": "app", "stdin": true, "image": "web:1",
                         "env": [{"name": "A", "value": "b"}],
                         "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080},
                                   {"containerPort": 81}]},
                        {"name": "side"},
                    ],
                    "initContainers": [{"name": "setup"}],
                },
                "status": {
                    "phase": "Running", "podIP": "10.1.2.3",
                    "containerStatuses": [{"name": "app", "state": {"running": {}}}],
                },
            }),
            json!({"metadata": {"name": "worker-3"}}),
        );
        let kept = place.to_keep().unwrap();
        assert_eq!(
            pod(&kept, SystemTime::UNIX_EPOCH),
            json!({
                "kind": "Pod", "apiVersion": "v1",
                "metadata": {
                    "name": "web-0", "namespace": "shop", "uid": "0a-1b",
                    "annotations": {
                        "kubectl.kubernetes.io/default-container": "app",
                        "eyesplice.dev/break-glass-seen": "1970-01-01T00:00:00.000000Z",
                    },
                },
                "spec": {
                    "nodeName": "worker-3",
                    "containers": [
                        {"name": "app", "stdin": true,
                         "ports": [{"name": "http", "containerPort": 80}]},
                        {"name": "side"},
                    ],
                    "initContainers": [{"name": "setup"}],
                },
                "status": {"phase": "Running"},
            })
        );
    }

    #[test]
    fn path_of_a_pod_is_that_of_all_its_streams_without_one() {
        for (path, found) in [
            ("/api/v1/namespaces/shop/pods/web-0", true),
            ("/api/v1/namespaces/shop/pods/web-0/", false),
            ("/api/v1/namespaces/shop/pods/web-0/log", false),
            ("/api/v1/namespaces/shop/pods", false),
            ("/api/v1/namespaces/shop/pods/", false),
            ("/api/v1/namespaces/shop/services/web-0", false),
            ("/api/v1/namespaces/shop/pods/w%65b-0", false),
            ("/api/v1/namespaces/shop/pods/../x", false),
            ("", false),
        ] {
            let stream = any_stream_of(path);
            let names = stream.map(|it| (it.namespace, it.pod));
            let expected = found.then(|| ("shop".into(), "web-0".into()));
            assert_eq!(names, expected, "{path}");
        }
    }

    #[test]
    fn query_is_how_long_kubectl_waits_or_nothing() {
        assert!(is_usual("") && is_usual("timeout=32s") && is_usual("timeout=1m0.5s"));
        for query in [
            "timeout=1s&x=y",
            "resourceVersion=0",
            "x",
            "timeout=%31",
            "Timeout=1s",
        ] {
            assert!(!is_usual(query), "{query}");
        }
    }
}
