//! An API server in memory: CSRs, Nodes, Secrets, one Lease and access reviews.

use super::super::super::object::CertificateSigningRequest;
use super::rbac;
use data_encoding::BASE64;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

const CSRS: &str = "certificatesigningrequests";

/// An API server; clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    version: u64,
    /// By resource and name.
    objects: BTreeMap<(&'static str, String), Value>,
    tokens: HashMap<String, BTreeMap<String, String>>,
    lease: Option<Value>,
    allowed: BTreeSet<String>,
    forbidden: BTreeSet<String>,
    watchers: Vec<(&'static str, mpsc::UnboundedSender<Value>)>,
    /// Who wrote which subresource of which CSR.
    writes: Vec<(String, String)>,
    lists: BTreeMap<&'static str, usize>,
    requests: usize,
    conflicts: usize,
    disturb: usize,
    deny_before: Option<String>,
    /// Watches from before this version get 410.
    oldest: u64,
}

/// A CSR as it is kept.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) certificate: Option<String>,
    pub(super) conditions: Vec<Value>,
}

impl Record {
    /// The message of a condition.
    pub(super) fn message(&self, kind: &str) -> Option<String> {
        let condition = self.conditions.iter().find(|c| c["type"] == kind)?;
        Some(condition["message"].as_str().unwrap_or_default().to_owned())
    }
}

impl Fake {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A client whose writes are noted under a name.
    pub(super) fn client(&self, who: &str) -> Client {
        let (fake, who) = (self.clone(), who.to_owned());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (fake, who) = (fake.clone(), who.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                // As over a network: others run in between.
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                let path = parts.uri.path().to_owned();
                let query = parts.uri.query().unwrap_or_default().to_owned();
                let answer = fake.answer(&who, &parts.method, &path, &query, &body);
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                Ok::<_, Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    /// RBAC lets requesters create this subresource of CSRs.
    pub(super) fn allow(&self, subresource: &str) {
        self.state().allowed.insert(subresource.to_owned());
    }

    /// Takes a right away from whoever asks, and gives it back.
    pub(super) fn forbid(&self, resource: &str) {
        self.state().forbidden.insert(resource.to_owned());
    }

    pub(super) fn permit(&self, resource: &str) {
        self.state().forbidden.remove(resource);
    }

    /// A bootstrap token, with other data than usual.
    pub(super) fn token(&self, id: &str, more: &[(&str, &str)]) {
        let usual = [
            ("token-id", id),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
        ];
        let data = usual.iter().chain(more);
        let data = data.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let name = format!("bootstrap-token-{id}");
        self.state().tokens.insert(name, data.collect());
    }

    pub(super) fn create(&self, object: &CertificateSigningRequest) {
        let value = serde_json::to_value(object).unwrap();
        self.state().put(CSRS, value, true);
    }

    /// Makes an object that no watch shows: it was in the history that is forgotten.
    pub(super) fn create_unseen(&self, object: &CertificateSigningRequest) {
        let value = serde_json::to_value(object).unwrap();
        self.state().put(CSRS, value, false);
    }

    pub(super) fn node(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter();
        let addresses: Vec<Value> = addresses
            .map(|address| json!({"type": "InternalIP", "address": address}))
            .collect();
        let node = json!({"metadata": {"name": name}, "status": {"addresses": addresses}});
        self.state().put("nodes", node, true);
    }

    /// A Node whose kubelet is alive.
    pub(super) fn ready_node(&self, name: &str) {
        let node = json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        self.state().put("nodes", node, true);
    }

    pub(super) fn delete_node(&self, name: &str) {
        let mut state = self.state();
        let node = state.objects.remove(&("nodes", name.to_owned())).unwrap();
        state.tell("nodes", "DELETED", &node);
    }

    /// The next writes find that somebody has changed the object.
    pub(super) fn disturb(&self, times: usize) {
        self.state().disturb = times;
    }

    /// Somebody denies a CSR just before it is written.
    pub(super) fn deny_before_write(&self, name: &str) {
        self.state().deny_before = Some(name.to_owned());
    }

    /// Ends every watch; where they were is forgotten.
    pub(super) fn forget_history(&self) {
        let mut state = self.state();
        state.version += 10;
        state.oldest = state.version;
        state.watchers.clear();
    }

    pub(super) fn record(&self, name: &str) -> Record {
        let state = self.state();
        let object = &state.objects[&(CSRS, name.to_owned())];
        let certificate = object["status"]["certificate"].as_str();
        let conditions = object["status"]["conditions"].as_array();
        Record {
            certificate: certificate.map(str::to_owned),
            conditions: conditions.cloned().unwrap_or_default(),
        }
    }

    pub(super) fn writes(&self, name: &str) -> Vec<String> {
        let state = self.state();
        let writes = state.writes.iter().filter(|(of, _)| of == name);
        writes.map(|(_, what)| what.clone()).collect()
    }

    pub(super) fn holder(&self) -> String {
        let state = self.state();
        let holder = state
            .lease
            .as_ref()
            .and_then(|l| l["spec"]["holderIdentity"].as_str());
        holder.unwrap_or_default().to_owned()
    }

    pub(super) fn conflicts(&self) -> usize {
        self.state().conflicts
    }

    pub(super) fn requests(&self) -> usize {
        self.state().requests
    }

    /// How often a resource was listed.
    pub(super) fn asked(&self, resource: &str) -> usize {
        self.state()
            .lists
            .get(resource)
            .copied()
            .unwrap_or_default()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn answer(&self, who: &str, method: &Method, path: &str, query: &str, body: &[u8]) -> Answer {
        let mut state = self.state();
        state.requests += 1;
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, rest) = match parts[..] {
            ["api", "v1", ref rest @ ..] => ("", rest),
            ["apis", group, _, ref rest @ ..] => (group, rest),
            _ => panic!("{path}"),
        };
        let rest = match rest {
            ["namespaces", _, rest @ ..] => rest,
            rest => rest,
        };
        let resource = match rest {
            [resource, _, sub] => format!("{resource}/{sub}"),
            [resource, ..] => (*resource).to_owned(),
            [] => panic!("{path}"),
        };
        let watches = query.contains("watch=true");
        let verb = match (method.as_str(), rest.len()) {
            ("GET", 1) if watches => "watch",
            ("GET", 1) => "list",
            ("GET", _) => "get",
            ("PUT", _) => "update",
            ("POST", _) => "create",
            (other, _) => panic!("{other} {path}"),
        };
        let permitted = rbac::allows(group, &resource, verb);
        if !permitted || state.forbidden.contains(&resource) {
            return status(403, "Forbidden", &format!("{who} cannot {verb} {resource}"));
        }
        let sent = || serde_json::from_slice::<Value>(body).unwrap();
        match (verb, rest) {
            ("watch", [resource]) => state.watch(resource, query),
            ("list", [resource]) => state.list(resource),
            ("get", ["secrets", name]) => state.secret(name),
            ("get", ["leases", _]) => match &state.lease {
                Some(lease) => ok(lease),
                None => missing(),
            },
            ("get", ["nodes", name]) => match state.objects.get(&("nodes", (*name).to_owned())) {
                Some(node) => ok(node),
                None => missing(),
            },
            ("get", [_, name]) => match state.objects.get(&(CSRS, (*name).to_owned())) {
                Some(object) => ok(object),
                None => missing(),
            },
            ("create", ["leases"]) => state.write_lease(sent()),
            ("update", ["leases", _]) => state.write_lease(sent()),
            ("create", [_]) => {
                let review = sent();
                let wanted = review["spec"]["resourceAttributes"]["subresource"].as_str();
                let allowed = wanted.is_some_and(|wanted| state.allowed.contains(wanted));
                ok(&json!({"spec": review["spec"], "status": {"allowed": allowed}}))
            }
            ("update", [_, name, sub]) => state.write_csr(who, name, sub, &sent()),
            _ => panic!("{verb} {path}"),
        }
    }
}

impl State {
    fn put(&mut self, resource: &'static str, mut object: Value, shown: bool) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let (_, kind) = kind_of(resource);
        let group = if resource == CSRS {
            "certificates.k8s.io/"
        } else {
            ""
        };
        object["kind"] = kind.into();
        object["apiVersion"] = format!("{group}v1").into();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let known = self.objects.insert((resource, name), object.clone());
        if shown {
            let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
            self.tell(resource, kind, &object);
        }
    }

    fn tell(&mut self, resource: &'static str, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.watchers
            .retain(|(of, watcher)| *of != resource || watcher.send(event.clone()).is_ok());
    }

    fn list(&mut self, resource: &str) -> Answer {
        let (resource, kind) = kind_of(resource);
        *self.lists.entry(resource).or_default() += 1;
        let items = self.objects.iter().filter(|((of, _), _)| *of == resource);
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        ok(&json!({
            "kind": format!("{kind}List"),
            "apiVersion": "v1",
            "metadata": {"resourceVersion": self.version.to_string()},
            "items": items,
        }))
    }

    fn watch(&mut self, resource: &str, query: &str) -> Answer {
        let (resource, _) = kind_of(resource);
        let from = query
            .split('&')
            .find_map(|p| p.strip_prefix("resourceVersion="));
        let from: u64 = from.unwrap().parse().unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        if from < self.oldest {
            let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "reason": "Expired", "message": "too old resource version", "code": 410});
            sender
                .send(json!({"type": "ERROR", "object": gone}))
                .unwrap();
        } else {
            for ((of, _), object) in &self.objects {
                let version = object["metadata"]["resourceVersion"].as_str().unwrap();
                if *of == resource && version.parse::<u64>().unwrap() > from {
                    sender
                        .send(json!({"type": "MODIFIED", "object": object}))
                        .unwrap();
                }
            }
            self.watchers.push((resource, sender));
        }
        let frames = stream::unfold(receiver, |mut receiver| async {
            let event = receiver.recv().await?;
            let line = Bytes::from(format!("{event}\n"));
            Some((Ok::<_, Infallible>(Frame::data(line)), receiver))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn write_lease(&mut self, mut lease: Value) -> Answer {
        let known = self
            .lease
            .as_ref()
            .map(|l| &l["metadata"]["resourceVersion"]);
        if known.is_some_and(|known| *known != lease["metadata"]["resourceVersion"]) {
            return conflict();
        }
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.lease = Some(lease.clone());
        ok(&lease)
    }

    fn secret(&self, name: &str) -> Answer {
        let Some(data) = self.tokens.get(name) else {
            return missing();
        };
        let encoded =
            |(key, value): (&String, &String)| (key.clone(), BASE64.encode(value.as_bytes()));
        let data: BTreeMap<String, String> = data.iter().map(encoded).collect();
        ok(&json!({
            "kind": "Secret",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "data": data,
        }))
    }

    fn write_csr(&mut self, who: &str, name: &str, sub: &str, sent: &Value) -> Answer {
        let key = (CSRS, name.to_owned());
        let Some(mut known) = self.objects.get(&key).cloned() else {
            return missing();
        };
        if self.disturb > 0 {
            self.disturb -= 1;
            known["metadata"]["labels"] = json!({"seen": self.disturb.to_string()});
            self.put(CSRS, known.clone(), true);
            known = self.objects[&key].clone();
        }
        if self.deny_before.take_if(|of| of == name).is_some() {
            let denied = json!([{"type": "Denied", "status": "True", "message": "by a person"}]);
            known["status"]["conditions"] = denied;
            self.put(CSRS, known.clone(), true);
            known = self.objects[&key].clone();
        }
        let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
        if version(&known) != version(sent) {
            self.conflicts += 1;
            return conflict();
        }
        assert!(
            known["status"]["certificate"].is_null(),
            "{who} writes {name}, which is signed"
        );
        let (from, to) = (&sent["status"], &mut known["status"]);
        match sub {
            "approval" => to["conditions"] = from["conditions"].clone(),
            "status" => *to = from.clone(),
            other => panic!("{other}"),
        }
        self.writes.push((name.to_owned(), format!("{who} {sub}")));
        self.put(CSRS, known, true);
        ok(&self.objects[&key])
    }
}

fn kind_of(resource: &str) -> (&'static str, &'static str) {
    match resource {
        CSRS => (CSRS, "CertificateSigningRequest"),
        "nodes" => ("nodes", "Node"),
        other => panic!("{other}"),
    }
}

fn ok(value: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn status(code: u16, reason: &str, message: &str) -> Answer {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code});
    let mut answer = ok(&body);
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

fn missing() -> Answer {
    status(404, "NotFound", "not found")
}

fn conflict() -> Answer {
    status(409, "Conflict", "the object has been modified")
}
