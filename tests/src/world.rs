//! What an API server knows: objects by path, whose tokens are, and who may what.

use crate::http::Head;
use crate::pki::NODE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;

/// Who the gateway is to API servers.
pub const OURSELVES: &str = "eyesplice";

/// The pod of every test.
pub const POD: &str = "/api/v1/namespaces/shop/pods/web-0";
/// Its node.
pub const NODE_PATH: &str = "/api/v1/nodes/worker-3";
/// Where webhook configurations and policies are.
pub const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
/// What the API server says to those who may not.
pub const FORBIDDEN: &str = "pods \"web-0\" is forbidden: as the API server says it";

/// All of it; a test may change anything at any time.
#[derive(Debug)]
pub struct World(Mutex<Known>);

#[derive(Debug)]
struct Known {
    objects: BTreeMap<String, (u16, Value)>,
    user: Value,
    allowed: bool,
    reads: bool,
}

impl World {
    /// A pod on a node whose kubelet is at `kubelet`, and a user for every token, who may do all.
    pub fn new(kubelet: SocketAddr) -> Self {
        let kinds = [
            "validatingwebhookconfigurations",
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
        ];
        let lists = kinds.map(|kind| (format!("{ADMISSION}/{kind}"), (200, list(&[]))));
        let mut objects = BTreeMap::from(lists);
        objects.insert(POD.into(), (200, pod()));
        objects.insert(NODE_PATH.into(), (200, node(kubelet)));
        Self(Mutex::new(Known {
            objects,
            user: json!({"username": "tom", "groups": ["dev", "system:authenticated"]}),
            allowed: true,
            reads: true,
        }))
    }

    /// Changes an object or list that is there.
    pub fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        change(&mut self.0.lock().unwrap().objects.get_mut(path).unwrap().1);
    }

    /// Answers with this status to what is asked for at a path.
    pub fn fail(&self, path: &str, status: u16) {
        self.0.lock().unwrap().objects.get_mut(path).unwrap().0 = status;
    }

    /// Whether users may do what they want.
    pub fn allow(&self, allowed: bool) {
        self.0.lock().unwrap().allowed = allowed;
    }

    /// Whether users who may do what they want may get a pod itself as well.
    pub fn let_read(&self, reads: bool) {
        self.0.lock().unwrap().reads = reads;
    }

    /// Whose every token is; null: nobody's.
    pub fn set_user(&self, user: Value) {
        self.0.lock().unwrap().user = user;
    }

    /// Answers a question of the gateway, or refuses a stream of a user who may not.
    pub fn answer(&self, who: &str, head: &Head, body: &[u8]) -> Option<(u16, String)> {
        let known = self.0.lock().unwrap();
        let target = head.target();
        if target.starts_with(&format!("{POD}/")) {
            let refusal = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": FORBIDDEN, "reason": "Forbidden", "code": 403
            });
            return (!known.allowed).then(|| (403, refusal.to_string()));
        }
        let review = |group: &str, kind: &str, status: Value| {
            let api = format!("{group}.k8s.io/v1");
            (
                201,
                json!({"apiVersion": api, "kind": kind, "status": status}).to_string(),
            )
        };
        let known_path = known.objects.get(target);
        let is_question = known_path.is_some() || target.starts_with("/apis/auth");
        if !is_question || !who.starts_with(&format!("{OURSELVES} ")) {
            return None;
        }
        Some(match target.rsplit('/').next() {
            Some("tokenreviews") => {
                let status = match known.user.is_null() {
                    true => json!({"authenticated": false}),
                    false => json!({"authenticated": true, "user": known.user}),
                };
                review("authentication", "TokenReview", status)
            }
            Some("subjectaccessreviews") => {
                let asked: Value = serde_json::from_slice(body).unwrap();
                let what = &asked["spec"]["resourceAttributes"];
                assert_eq!(what["name"], "web-0");
                let reads = what["subresource"] != "" || known.reads;
                let status = json!({"allowed": known.allowed && reads});
                review("authorization", "SubjectAccessReview", status)
            }
            _ => {
                let (status, object) = known_path.unwrap();
                (*status, object.to_string())
            }
        })
    }
}

/// A list of webhook configurations or policies.
pub fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "List", "items": items})
}

/// A webhook configuration that may concern exec.
pub fn webhook() -> Value {
    json!({
        "metadata": {"name": "guard"},
        "webhooks": [{"rules": [{
            "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods/exec"]
        }]}]
    })
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "0a-1b"},
        "spec": {"nodeName": NODE, "containers": [{"name": "app"}]},
        "status": {"containerStatuses": [{
            "name": "app", "containerID": "containerd://1", "state": {"running": {}}
        }]}
    })
}

fn node(kubelet: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE},
        "status": {
            "addresses": [{"type": "InternalIP", "address": kubelet.ip().to_string()}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}}
        }
    })
}
