//! A cluster in which everything holds, of which each test changes one thing.

use crate::config::{AddressType, Admission, ShortWay};
use crate::front::short::{
    Kubelet, Kubelets, Memory, Outcome, Question, Reached, Reaching, Remembers, Short, Why,
};
use eyesplice_dataplane::seam::{UpstreamTls, Way};
use eyesplice_identity::access::{ClusterSettings, Section};
use eyesplice_identity::testing::apiserver::{Asked, ScriptedApiServer, Told};
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::pod_stream;
use eyesplice_proto::head::{Method, RequestHead, RequestTarget, Version};
use eyesplice_proto::headers::{HeaderName, HeaderValue, Headers};
use eyesplice_proto::target::Target;
use eyesplice_proto::tls::provider;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

pub(super) const TOKEN: &str = "janes-token";
pub(super) const POD: &str = "/api/v1/namespaces/shop/pods/web-0";
pub(super) const NODE: &str = "/api/v1/nodes/worker-3";
pub(super) const GROUP: &str = "/apis/admissionregistration.k8s.io";
pub(super) const KINDS: [&str; 6] = [
    "validatingwebhookconfigurations",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
];

/// What the API server knows.
pub(super) struct World {
    /// Objects and lists by path, each with its status.
    pub(super) objects: BTreeMap<String, (u16, Value)>,
    /// The status of every TokenReview.
    pub(super) token: Value,
    /// The status of a SubjectAccessReview by its verb.
    pub(super) access: BTreeMap<&'static str, Value>,
    /// Requests whose path holds one of these get that instead.
    pub(super) instead: Vec<(&'static str, Told)>,
}

impl World {
    fn new() -> Self {
        let lists = KINDS.map(|kind| (format!("{GROUP}/v1/{kind}"), (200, list(&[]))));
        let mut objects = BTreeMap::from(lists);
        objects.insert(POD.to_owned(), (200, pod()));
        objects.insert(NODE.to_owned(), (200, node()));
        let yes = json!({"allowed": true, "reason": "RBAC"});
        Self {
            objects,
            token: json!({"authenticated": true, "user": jane()}),
            access: BTreeMap::from([("get", yes.clone()), ("create", yes)]),
            instead: Vec::new(),
        }
    }

    /// An object or list that is there.
    pub(super) fn at(&mut self, path: &str) -> &mut Value {
        &mut self.objects.get_mut(path).unwrap().1
    }

    /// Puts objects into the list of a kind.
    pub(super) fn list(&mut self, kind: &str, items: &[Value]) {
        *self.at(&format!("{GROUP}/v1/{kind}")) = list(items);
    }

    fn answer(&self, asked: &Asked) -> Told {
        let instead = self
            .instead
            .iter()
            .find(|(part, _)| asked.path.contains(part));
        if let Some((_, told)) = instead {
            return told.clone();
        }
        let review = |group: &str, kind: &str, status: &Value| {
            let review = json!({
                "apiVersion": format!("{group}.k8s.io/v1"), "kind": kind, "status": status
            });
            Told::Says(201, review)
        };
        if asked.path.ends_with("/tokenreviews") {
            return review("authentication", "TokenReview", &self.token);
        }
        if asked.path.ends_with("/subjectaccessreviews") {
            let verb = asked.body["spec"]["resourceAttributes"]["verb"]
                .as_str()
                .unwrap();
            return review("authorization", "SubjectAccessReview", &self.access[verb]);
        }
        match self.objects.get(&asked.path) {
            Some((status, object)) => Told::Says(*status, object.clone()),
            None => Told::Says(404, json!({"kind": "Status", "code": 404})),
        }
    }
}

pub(super) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "List", "items": items})
}

pub(super) fn jane() -> UserInfo {
    UserInfo {
        username: "jane".to_owned(),
        uid: "u-1".to_owned(),
        groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
        extra: BTreeMap::new(),
    }
}

pub(super) fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "0a-1b"},
        "spec": {"nodeName": "worker-3", "containers": [{"name": "app", "image": "x"}]},
        "status": {"phase": "Running", "containerStatuses": [{
            "name": "app", "containerID": "containerd://1",
            "state": {"running": {"startedAt": "2026-12-01T01:02:03Z"}}, "lastState": {}
        }]}
    })
}

pub(super) fn node() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "worker-3"},
        "status": {
            "addresses": [
                {"type": "Hostname", "address": "worker-3.example"},
                {"type": "InternalIP", "address": "10.0.0.7"},
                {"type": "InternalIP", "address": "fd00::7"}
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}}
        }
    })
}

/// A client's request, which a test changes.
pub(super) struct Asking {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) upgrade: Option<&'static str>,
    pub(super) has_body: bool,
    pub(super) by_certificate: Option<(UserInfo, SystemTime)>,
    pub(super) now: SystemTime,
}

pub(super) const EXEC: &str = "exec?container=app&command=sh&stdin=true&stdout=true&stderr=true";

impl Asking {
    /// As kubectl asks by SPDY.
    pub(super) fn spdy(stream: &str) -> Self {
        Self {
            method: Method::POST,
            target: format!("{POD}/{stream}"),
            headers: vec![
                ("Host", "front.example:6444".to_owned()),
                ("User-Agent", "kubectl/v1.31".to_owned()),
                ("Authorization", format!("Bearer {TOKEN}")),
                ("X-Stream-Protocol-Version", "v4.channel.k8s.io".to_owned()),
                ("Connection", "upgrade".to_owned()),
                ("Upgrade", "SPDY/3.1".to_owned()),
            ],
            upgrade: Some("SPDY/3.1"),
            has_body: false,
            by_certificate: None,
            now: SystemTime::now(),
        }
    }

    /// As it asks by WebSocket.
    pub(super) fn websocket(stream: &str, protocols: &str) -> Self {
        let mut asking = Self::spdy(stream);
        asking.method = Method::GET;
        asking.upgrade = Some("websocket");
        asking.headers.truncate(3);
        asking.headers.extend([
            ("Sec-WebSocket-Protocol", protocols.to_owned()),
            ("Connection", "upgrade".to_owned()),
            ("Upgrade", "websocket".to_owned()),
        ]);
        asking
    }

    /// As it asks for a log.
    pub(super) fn log(query: &str) -> Self {
        let mut asking = Self::spdy(&format!("log{query}"));
        asking.method = Method::GET;
        asking.upgrade = None;
        asking.headers.truncate(3);
        asking
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(each, _)| *each != name);
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn head(&self) -> RequestHead {
        let mut headers = Headers::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::new(value.as_bytes().to_vec()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        RequestHead {
            method: self.method.clone(),
            target: RequestTarget::new(self.target.clone().into_bytes()).unwrap(),
            version: Version::Http11,
            headers,
        }
    }
}

/// What was asked of a kubelet's place.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) node: String,
    pub(super) at: String,
    pub(super) with_certificate: bool,
}

/// Kubelets that can be reached as they are, or cannot.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) refused: Option<Why>,
    pub(super) wanted: Mutex<Vec<Wanted>>,
}

impl Kubelets for Places {
    fn reach<'a>(&'a self, kubelet: Kubelet<'a>) -> Reaching<'a> {
        let at = Target {
            host: kubelet.host,
            port: kubelet.port,
        };
        self.wanted.lock().unwrap().push(Wanted {
            node: kubelet.node.to_string(),
            at: at.to_string(),
            with_certificate: kubelet.with_certificate,
        });
        let reached = match self.refused {
            Some(why) => Err(why),
            None => Ok(Reached {
                way: Way::Dial(vec!["10.0.0.7:10251".parse().unwrap()]),
                tls: any_tls(),
            }),
        };
        Box::pin(async move { reached })
    }
}

fn any_tls() -> UpstreamTls {
    let config = ClientConfig::builder_with_provider(provider::shared())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    UpstreamTls {
        config: Arc::new(config),
        server_name: "worker-3".try_into().unwrap(),
        verification: Arc::default(),
    }
}

/// Everything that a judgement needs.
pub(super) struct Bed {
    pub(super) server: ScriptedApiServer,
    world: Arc<Mutex<World>>,
    pub(super) settings: ShortWay,
    pub(super) patience: Duration,
    pub(super) places: Places,
    pub(super) memory: Option<Arc<Memory>>,
    short: Option<Short>,
}

impl Bed {
    pub(super) async fn new() -> Self {
        let world = Arc::new(Mutex::new(World::new()));
        let script = Arc::clone(&world);
        let answer = move |asked: &Asked| script.lock().unwrap().answer(asked);
        Self {
            server: ScriptedApiServer::start(answer).await,
            world,
            settings: ShortWay {
                admission: Admission::Trusted,
                address_types: vec![AddressType::InternalIp, AddressType::Hostname],
                kubelet_token_file: None,
                end_with_credential: false,
            },
            patience: Duration::from_secs(20),
            places: Places::default(),
            memory: None,
            short: None,
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// The short way of this cluster, which remembers nothing yet.
    pub(super) fn short(&self) -> Short {
        let cluster = ClusterSettings {
            section: Section::ApiServers,
            servers: vec![self.server.client()],
            token_file: None,
            timeout: self.patience,
            first: Arc::new(|| 0),
        };
        let short = Short::new(&self.settings, cluster, self.patience);
        let memory = self.memory.clone();
        short.remembering(memory.map(|memory| Remembers {
            memory,
            worth: Box::new(|_, _| true),
        }))
    }

    /// Judges; what is remembered stays from one to the next.
    pub(super) async fn judge(&mut self, asking: &Asking) -> Outcome {
        if self.short.is_none() {
            self.short = Some(self.short());
        }
        let (head, short) = (asking.head(), self.short.as_ref().unwrap());
        let stream = pod_stream(&head.target).unwrap();
        let question = Question {
            stream: &stream,
            head: &head,
            upgrade: asking.upgrade,
            has_body: asking.has_body,
            by_certificate: asking
                .by_certificate
                .as_ref()
                .map(|(user, until)| (Arc::new(user.clone()), *until)),
            peer: "192.0.2.9".parse().unwrap(),
            now: asking.now,
        };
        short.judge(&self.places, &question).await
    }

    /// Judges what must go through, and says why.
    pub(super) async fn why(&mut self, asking: &Asking) -> Why {
        match self.judge(asking).await {
            Outcome::Through { why, .. } => why,
            Outcome::Kubelet(request) => panic!("went to {:?}", request.head.target),
        }
    }

    /// Judges what must go to the kubelet.
    pub(super) async fn kubelet(
        &mut self,
        asking: &Asking,
    ) -> Box<crate::front::short::KubeletRequest> {
        match self.judge(asking).await {
            Outcome::Kubelet(request) => request,
            Outcome::Through { why, .. } => panic!("went through: {why}"),
        }
    }
}
