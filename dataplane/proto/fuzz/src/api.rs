//! Body of the fuzz target for streams of pods: what an API server is asked, and then a kubelet.

use std::collections::BTreeMap;

use eyesplice_proto::api::{self, Part, Subresource};
use eyesplice_proto::head::RequestTarget;
use eyesplice_proto::route;

/// Targets of clients; the body reads the query of each for every stream.
pub(crate) const SEEDS: &[&[u8]] = &[
    b"/api/v1/namespaces/ns/pods/p-0.x/exec?container=c&command=sh&command=-c&command=a+%26%20b\
      &stdin=true&stdout=true&stderr=true&tty=false",
    b"/api/v1/namespaces/ns/pods/p/attach?container=c&stdin=True&stdout=1&stderr=0&tty=1",
    b"/api/v1/namespaces/ns/pods/p/portforward?ports=80&ports=81%2C82,65535",
    b"/api/v1/namespaces/ns/pods/p/log?follow=true&previous=false&sinceSeconds=10&tailLines=0\
      &limitBytes=1&timestamps=true",
    b"/api/v1/namespaces/ns/pods/p/log?sinceTime=2024-02-29T23:59:59%2B05:30&container=c",
];

/// A target to an API server: one reading of the path, and the same wish at the kubelet.
pub fn api_stream(data: &[u8]) {
    let Ok(target) = RequestTarget::new(data.to_vec()) else {
        return;
    };
    let found = api::pod_stream(&target);
    if let Some(found) = &found {
        let spelled = format!(
            "/api/v1/namespaces/{}/pods/{}/{}",
            found.namespace,
            found.pod,
            found.subresource.as_str()
        );
        assert_eq!(spelled, target.path());
    }
    for subresource in Subresource::ALL {
        let Ok(options) = api::options(*subresource, target.query()) else {
            continue;
        };
        let stream = api::PodStream {
            subresource: *subresource,
            namespace: "ns".into(),
            pod: "p".into(),
        };
        let part = match subresource {
            Subresource::PortForward => Part::Whole(None),
            _ => Part::Container(options.container().unwrap_or("only")),
        };
        let kubelet = api::kubelet_target(&stream, part, &options).expect("a kubelet's target");
        let routed = route::route(&kubelet).expect("a kubelet's path");
        assert_eq!(routed.action, subresource.action());
        let asked = wishes(target.query().unwrap_or_default());
        let told = wishes(kubelet.query().unwrap_or_default());
        assert_eq!(expected(*subresource, asked), told);
    }
}

/// Values by name, decoded by a reader that leaves what it cannot decode as it is.
fn wishes(query: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut wishes: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decoded = |text: &str| super::decode_once(text.replace('+', " ").as_bytes());
        let name = String::from_utf8(decoded(name)).expect("a known name");
        wishes.entry(name).or_default().push(decoded(value));
    }
    wishes
}

/// What the kubelet is to be asked, from what the API server was.
fn expected(
    subresource: Subresource,
    mut asked: BTreeMap<String, Vec<Vec<u8>>>,
) -> BTreeMap<String, Vec<Vec<u8>>> {
    asked.remove("container");
    if subresource == Subresource::Log {
        asked.retain(|name, values| match name.as_str() {
            "follow" | "previous" | "timestamps" => is_true(values),
            _ => true,
        });
        for name in ["follow", "previous", "timestamps"] {
            if let Some(values) = asked.get_mut(name) {
                *values = vec![b"true".to_vec()];
            }
        }
        return asked;
    }
    if let Some(ports) = asked.remove("ports") {
        asked.insert("port".to_owned(), vec![ports.join(&b',')]);
    }
    for (name, kubelet) in [
        ("stdin", "input"),
        ("stdout", "output"),
        ("stderr", "error"),
        ("tty", "tty"),
    ] {
        if asked.remove(name).is_some_and(|values| is_true(&values)) {
            asked.insert(kubelet.to_owned(), vec![b"1".to_vec()]);
        }
    }
    asked
}

/// As API servers read a flag.
fn is_true(values: &[Vec<u8>]) -> bool {
    let [value] = values else {
        panic!("a flag that stands {} times", values.len());
    };
    value != b"0" && !value.eq_ignore_ascii_case(b"false")
}
