//! Says what a request to an API server does to a pod, for audit and metrics. Nothing is decided
//! by it.
//!
//! The API server decodes the whole path and only then splits it, so that is what is done here:
//! an exec in another spelling is one in audit as well (apiserver
//! `pkg/endpoints/request/requestinfo.go`).

use eyesplice_dataplane::seam::{ApiLabels, ApiPath};
use eyesplice_proto::head::RequestTarget;
use eyesplice_proto::route::Action;
use std::sync::Arc;

/// Longest name that is told: no object has a longer one.
const MAX_NAME: usize = 253;

/// What is known of a request before anybody is asked.
pub(super) fn labels(target: &RequestTarget) -> ApiLabels {
    let path = decoded(origin(target.path()));
    let mut segments = path.trim_matches('/').split('/');
    let mut next = || segments.next().unwrap_or_default();
    let fixed = [next(), next(), next()] == ["api", "v1", "namespaces"];
    let (namespace, pods, pod, subresource, rest) = (next(), next(), next(), next(), next());
    let action = match subresource {
        "exec" => Action::Exec,
        "attach" => Action::Attach,
        "portforward" => Action::PortForward,
        "log" => Action::Logs,
        _ => Action::Other,
    };
    let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME;
    let is_stream = fixed && pods == "pods" && rest.is_empty() && action != Action::Other;
    if !is_stream || !named(namespace) || !named(pod) {
        return ApiLabels {
            user: None,
            action: Action::Other,
            namespace: None,
            pod: None,
            container: None,
            path: ApiPath::Through(None),
        };
    }
    ApiLabels {
        user: None,
        action,
        namespace: Some(Arc::from(namespace)),
        pod: Some(Arc::from(pod)),
        container: container(target.query().unwrap_or_default()),
        path: ApiPath::Through(None),
    }
}

/// The path of a target that names its server as well.
fn origin(path: &str) -> &str {
    match path.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest
            .find('/')
            .and_then(|at| rest.get(at..))
            .unwrap_or_default(),
        _ => path,
    }
}

/// The container that is named; nothing else of the query leaves this function.
fn container(query: &str) -> Option<Arc<str>> {
    let mut values = query
        .split('&')
        .filter_map(|parameter| parameter.strip_prefix("container="));
    let name = decoded(values.next()?);
    (!name.is_empty() && name.len() <= MAX_NAME).then(|| name.into())
}

/// Undoes percent-encoding; what is none, or no text, stays as it is.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let hidden = match (first, tail) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = hidden {
            bytes.push(high << 4 | low);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(target: &str) -> ApiLabels {
        labels(&RequestTarget::new(target.to_owned()).unwrap())
    }

    #[test]
    fn labels_tell_the_streams_of_a_pod() {
        for (target, action) in [
            (
                "/api/v1/namespaces/shop/pods/web/exec?command=x",
                Action::Exec,
            ),
            ("/api/v1/namespaces/shop/pods/web/attach", Action::Attach),
            (
                "/api/v1/namespaces/shop/pods/web/portforward",
                Action::PortForward,
            ),
            (
                "/api/v1/namespaces/shop/pods/web/log?follow=true",
                Action::Logs,
            ),
            ("/api/v1/namespaces/shop/pods/web%2Fex%65c/", Action::Exec),
            ("/%61pi/v1/namespaces/shop/pods/web/log", Action::Logs),
            (
                "https://api:6443/api/v1/namespaces/shop/pods/web/log",
                Action::Logs,
            ),
        ] {
            let labels = of(target);
            assert_eq!(labels.action, action, "{target}");
            assert_eq!(labels.namespace.as_deref(), Some("shop"), "{target}");
            assert_eq!(labels.pod.as_deref(), Some("web"), "{target}");
        }
    }

    #[test]
    fn labels_of_all_else_name_nothing() {
        for target in [
            "/",
            "/api/v1/namespaces/shop/pods/web",
            "/api/v1/namespaces/shop/pods/web/eviction",
            "/api/v1/namespaces/shop/pods/web/exec/more",
            "/api/v1/namespaces/shop/services/web/exec",
            "/apis/v1/namespaces/shop/pods/web/exec",
            "/api/v1/namespaces//pods/web/exec",
            "/api/v1/pods",
            "/%ff%fe",
            "https://api",
            "/a://b/api/v1/namespaces/shop/pods/web/log",
        ] {
            let labels = of(target);
            assert_eq!(
                (labels.action, labels.pod),
                (Action::Other, None),
                "{target}"
            );
        }
    }

    #[test]
    fn container_is_all_that_is_told_of_a_query() {
        let target = "/api/v1/namespaces/a/pods/b/exec?command=hunter2&container=si%64e&stdin=1";
        let labels = of(target);
        assert_eq!(labels.container.as_deref(), Some("side"));
        assert!(!format!("{labels:?}").contains("hunter2"));
    }
}
