//! Gateways that write and read Leases of an API server in memory.

use super::*;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response};
use kube::client::Body;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/eyesplice/leases";

/// An API server with Leases; clones are the same one.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    leases: BTreeMap<String, Value>,
    /// What is answered to everything, if not what was asked for.
    code: Option<u16>,
    asked: Vec<(Method, String)>,
}

impl Fake {
    fn members(&self) -> Members {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
                let uri = parts.uri.to_string();
                let (code, answer) = fake.answer(&parts.method, &uri, &body);
                let body = Full::new(Bytes::from(answer.to_string()));
                let mut response = Response::new(body);
                *response.status_mut() = code.try_into().unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        Members::new(Client::new(service, "default"), "eyesplice")
    }

    fn answer(&self, method: &Method, uri: &str, body: &Value) -> (u16, Value) {
        let mut state = self.0.lock().unwrap();
        state.asked.push((method.clone(), uri.to_owned()));
        let status = |code: u16| {
            let reason = if code == 404 { "NotFound" } else { "Other" };
            json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": code, "reason": reason, "message": "no",
            })
        };
        if let Some(code) = state.code {
            return (code, status(code));
        }
        let path = uri.split('?').next().unwrap_or_default();
        match (method, path.strip_prefix(PATH)) {
            (&Method::GET, Some("")) => {
                assert!(
                    uri.contains("labelSelector=eyesplice.dev%2Fgateway%3Dtunnel"),
                    "{uri}"
                );
                let items: Vec<&Value> = state.leases.values().collect();
                (200, list(&items))
            }
            (&Method::POST, Some("")) => {
                let name = body["metadata"]["name"].as_str().unwrap().to_owned();
                state.leases.insert(name, body.clone());
                (201, body.clone())
            }
            (&Method::PATCH, Some(name)) => {
                match state.leases.get_mut(name.trim_start_matches('/')) {
                    Some(lease) => {
                        merge(lease, body);
                        (200, lease.clone())
                    }
                    None => (404, status(404)),
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

fn list(items: &[&Value]) -> Value {
    json!({
        "kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {},
        "items": items,
    })
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn member(name: &str, host: u8, peer: bool) -> Member {
    Member {
        name: name.to_owned(),
        tunnel: ([10, 0, 0, host], 8133).into(),
        peer: peer.then(|| ([10, 0, 0, host], 8131).into()),
    }
}

const DURATION: Duration = Duration::from_secs(40);

#[tokio::test]
async fn lease_is_made_and_renewed_and_read_by_all() {
    let fake = Fake::default();
    let members = fake.members();
    let (a, b) = (member("a", 1, true), member("b", 2, false));
    members.renew(&a, DURATION).await.unwrap();
    members.renew(&b, DURATION).await.unwrap();
    let first = members.list().await.unwrap();
    let read: Vec<&Member> = first.iter().map(|each| &each.member).collect();
    assert_eq!(read, [&a, &b]);
    assert!(first.iter().all(|each| each.duration == DURATION));
    members.renew(&a, DURATION).await.unwrap();
    let second = members.list().await.unwrap();
    assert_ne!(first[0].renewal, second[0].renewal);
    assert_eq!(first[1], second[1], "nobody renewed it");
    // What a configuration does not say any more is taken away.
    let alone = member("a", 1, false);
    members.renew(&alone, DURATION).await.unwrap();
    assert_eq!(members.list().await.unwrap()[0].member, alone);
}

#[tokio::test]
async fn lease_that_says_nothing_useful_is_left_out() {
    let fake = Fake::default();
    let members = fake.members();
    members
        .renew(&member("a", 1, true), DURATION)
        .await
        .unwrap();
    let good = fake.0.lock().unwrap().leases["a"].clone();
    for (index, (key, value)) in [
        (TUNNEL, json!("nowhere")),
        (TUNNEL, json!("0.0.0.0:8133")),
        (TUNNEL, json!("10.0.0.1:0")),
        (TUNNEL, json!("[ff02::1]:8133")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut bad = good.clone();
        bad["metadata"]["annotations"][key] = value;
        let name = format!("bad-{index}");
        bad["metadata"]["name"] = json!(name);
        fake.0.lock().unwrap().leases.insert(name, bad);
    }
    let mut bare = good.clone();
    bare["metadata"]["annotations"] = Value::Null;
    fake.0
        .lock()
        .unwrap()
        .leases
        .insert("bare".to_owned(), bare);
    let mut half = good;
    half["metadata"]["name"] = json!("half");
    half["metadata"]["annotations"][PEER] = json!("x");
    fake.0
        .lock()
        .unwrap()
        .leases
        .insert("half".to_owned(), half);
    let listed = members.list().await.unwrap();
    let names: Vec<&str> = listed
        .iter()
        .map(|each| each.member.name.as_str())
        .collect();
    assert_eq!(names, ["a", "half"]);
    assert_eq!(listed[1].member.peer, None);
}

#[tokio::test]
async fn refusal_of_the_api_server_says_what_to_bind() {
    let fake = Fake::default();
    let members = fake.members();
    for (code, cause, words) in [
        (403, "forbidden", "Role eyesplice-gateway-leases"),
        (401, "unauthorized", "renew it"),
        (500, "refused", "answered 500"),
    ] {
        fake.0.lock().unwrap().code = Some(code);
        let failed = [
            members
                .renew(&member("a", 1, true), DURATION)
                .await
                .unwrap_err(),
            members.list().await.unwrap_err(),
        ];
        for error in failed {
            assert_eq!(error.cause(), cause);
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}
