//! Requests as an engine asks about them, judged by a whole configuration.

use crate::admit::Gatekeeper;
use crate::config::{Config, Document};
use crate::material::Material;
use crate::material::tests::site;
use eyesplice_dataplane::seam::{
    ApiAnswer, ApiPath, ApiRequest, ApiVerdict, Connect, ConnectionKey, Control, Forward, Fresh,
    Held, Mode, Over, Peer, Preamble, Reason, StreamId, StreamRequest, Verdict, Way,
};
use eyesplice_identity::pki::testing::{Made, Recipe, authority, client, kubelet};
use eyesplice_proto::head::{Method, RequestHead, RequestTarget, Version};
use eyesplice_proto::headers::{HeaderName, HeaderValue, Headers};
use eyesplice_proto::route::Action;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tempfile::TempDir;
use time::Duration as Span;
use tokio::runtime::Handle;

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: kubectl
  front:
    address: \"127.0.0.1:0\"
    tlsCertFile: apiserver.crt
    tlsPrivateKeyFile: apiserver.key
    clientCAFile: users.crt
- name: tokens
  front: {address: \"127.0.0.1:0\", tlsCertFile: apiserver.crt, tlsPrivateKeyFile: apiserver.key}
- name: nodes
  apiserver: {address: \"127.0.0.1:0\"}
apiservers:
  servers: [\"https://10.0.0.1:6443\", \"https://10.0.0.2:6443\"]
  caFile: ca.crt
  balance: roundRobin
front:
  frontProxyClientCertFile: front-proxy-client.crt
  frontProxyClientKeyFile: front-proxy-client.key
";

struct Site {
    dir: TempDir,
    users: Made,
    gatekeeper: Gatekeeper,
}

impl Site {
    fn new() -> Self {
        let dir = site(CONFIG);
        let users = authority("users").self_signed();
        let pem = users.certificate.pem();
        std::fs::write(dir.path().join("users.crt"), pem).unwrap();
        let (config, material) = load(dir.path());
        Self {
            dir,
            users,
            gatekeeper: Gatekeeper::new(config, material, Handle::current()),
        }
    }

    fn reload(&self, change: impl Fn(String) -> String) {
        let file = self.dir.path().join("gateway.yaml");
        let text = change(std::fs::read_to_string(&file).unwrap());
        std::fs::write(file, text).unwrap();
        let (config, material) = load(self.dir.path());
        self.gatekeeper.publish(config, material);
    }

    fn request(&self, lines: &[(&str, &str)], user: Option<Recipe>) -> ApiRequest {
        let mut headers = Headers::new();
        for (name, value) in lines {
            let name = HeaderName::new(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::new(value.as_bytes().to_vec()).unwrap());
        }
        let chain = user.map(|user| Arc::from([user.signed_by(&self.users).der()]));
        request(headers, chain)
    }

    async fn judged(&self, request: ApiRequest) -> ApiVerdict {
        self.gatekeeper.judge(request).unwrap().await.unwrap()
    }

    async fn forward(&self, request: ApiRequest) -> Forward {
        match self.judged(request).await {
            ApiVerdict::Forward(forward) => *forward,
            ApiVerdict::Answer(answer) => panic!("{answer:?}"),
        }
    }

    async fn answer(&self, request: ApiRequest) -> ApiAnswer {
        match self.judged(request).await {
            ApiVerdict::Answer(answer) => *answer,
            ApiVerdict::Forward(forward) => panic!("{forward:?}"),
        }
    }

    async fn lead(&self) -> Connect {
        let request = StreamRequest {
            id: StreamId::new(0, 0, 1),
            listener: "nodes".into(),
            peer: Peer::Tcp {
                address: "192.0.2.7:1234".parse().unwrap(),
                identity: None,
            },
            target: eyesplice_dataplane::seam::API_SERVER.parse().unwrap(),
            received: SystemTime::now(),
            hop: None,
        };
        match self.gatekeeper.admit(request).await.unwrap() {
            Verdict::Connect(connect) => *connect,
            Verdict::Refuse(refusal) => panic!("{refusal:?}"),
        }
    }
}

fn load(dir: &Path) -> (Config, Material) {
    let config = Config::load(&dir.join("gateway.yaml")).unwrap().config;
    let material = Material::load(&config, SystemTime::now());
    let material = material.unwrap_or_else(|errors| panic!("{errors}"));
    (config, material)
}

type Chain = Option<Arc<[rustls::pki_types::CertificateDer<'static>]>>;

fn request(headers: Headers, chain: Chain) -> ApiRequest {
    ApiRequest {
        id: StreamId::new(0, 0, 1),
        exchange: 1,
        listener: "kubectl".into(),
        peer: "192.0.2.7:1234".parse().unwrap(),
        chain,
        head: RequestHead {
            method: Method::GET,
            target: RequestTarget::new("/api/v1/pods?limit=500").unwrap(),
            version: Version::Http11,
            headers,
        },
        upgrade: None,
        has_body: false,
        held: None,
        short_failed: None,
        received: SystemTime::now(),
    }
}

/// All header lines that go on.
fn shown(forward: &Forward) -> Vec<String> {
    let lines = forward.head.headers.iter();
    let show = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{}: {}", name.as_str(), value.to_str().unwrap())
    };
    lines.map(show).collect()
}

fn fresh(forward: &Forward) -> &Fresh {
    match &forward.over {
        Over::New(fresh) => fresh,
        Over::Held => panic!("a new connection: {forward:?}"),
    }
}

fn presents_a_certificate(fresh: &Fresh) -> bool {
    fresh.tls.config.client_auth_cert_resolver.has_certs()
}

fn addresses(way: &Way) -> Vec<String> {
    let Way::Dial(addresses) = way else {
        panic!("dialled: {way:?}")
    };
    addresses.iter().map(ToString::to_string).collect()
}

fn jane() -> Recipe {
    Recipe {
        organizations: vec!["dev"],
        ..client("jane")
    }
}

#[tokio::test]
async fn token_goes_on_as_it_came_over_a_connection_of_nobodys() {
    let site = Site::new();
    let lines = [
        ("Host", "front.example:6444"),
        ("authorization", "Bearer secret"),
        ("x-remote-user", "system:admin"),
        ("X_Remote_Group", "system:masters"),
        ("X-Forwarded-For", "10.0.0.9"),
        ("Impersonate-User", "joe"),
    ];
    let forward = site.forward(site.request(&lines, None)).await;
    let want = [
        "Host: front.example:6444",
        "authorization: Bearer secret",
        "Impersonate-User: joe",
        "X-Forwarded-For: 192.0.2.7",
    ];
    assert_eq!(shown(&forward), want);
    assert_eq!(forward.head.target.as_str(), "/api/v1/pods?limit=500");
    assert_eq!(
        (forward.labels.user.as_deref(), forward.generation),
        (None, 1)
    );
    assert_eq!(forward.labels.path, ApiPath::Through(None));
    let fresh = fresh(&forward);
    assert!(!presents_a_certificate(fresh));
    assert_eq!(addresses(&fresh.way), ["10.0.0.1:6443", "10.0.0.2:6443"]);
}

#[tokio::test]
async fn certificate_names_its_user_by_headers_and_takes_the_token_off() {
    let site = Site::new();
    let lines = [
        ("Authorization", "Bearer secret"),
        ("X-Remote-User", "forged"),
        ("X-Remote-Extra-Scopes", "forged"),
    ];
    let forward = site.forward(site.request(&lines, Some(jane()))).await;
    let shown = shown(&forward);
    assert_eq!(shown[..2], ["X-Remote-User: jane", "X-Remote-Group: dev"]);
    let credential = "X-Remote-Extra-authentication.kubernetes.io%2Fcredential-id: X509SHA256=";
    assert!(shown[2].starts_with(credential), "{shown:?}");
    assert_eq!(shown[3..], ["X-Forwarded-For: 192.0.2.7"]);
    assert_eq!(forward.labels.user.as_deref(), Some("jane"));
    assert!(presents_a_certificate(fresh(&forward)));
}

#[tokio::test]
async fn certificate_that_is_no_good_is_unauthorized_unless_a_token_is_there() {
    let site = Site::new();
    let stranger = authority("users").self_signed();
    let expired = jane().valid(Span::days(-400), Span::days(-300));
    let server = Recipe {
        extended: kubelet().extended,
        ..jane()
    };
    let spaced = Recipe {
        common_name: " system:admin".to_owned(),
        ..jane()
    };
    for (what, made) in [
        ("expired", expired.signed_by(&site.users)),
        ("of a stranger", jane().signed_by(&stranger)),
        ("for servers", server.signed_by(&site.users)),
        ("that no header can hold", spaced.signed_by(&site.users)),
    ] {
        let ask = |lines: &[(&str, &str)]| ApiRequest {
            chain: Some(Arc::from([made.der()])),
            ..site.request(lines, None)
        };
        let answer = site.answer(ask(&[("Authorization", "Basic YTpi")])).await;
        assert_eq!(
            (answer.status, answer.reason),
            (401, Reason::Unverified),
            "{what}"
        );
        assert_eq!(answer.labels.path, ApiPath::Answered);
        let own = what == "that no header can hold";
        assert_eq!(answer.body.contains("eyesplice"), own, "{}", answer.body);
        if !own {
            assert!(answer.body.contains("\"message\":\"Unauthorized\""));
        }
        assert!(!answer.words.is_empty());
        let forward = site.forward(ask(&[("Authorization", "Bearer a")])).await;
        assert_eq!(forward.labels.user, None, "{what}");
        assert!(!presents_a_certificate(fresh(&forward)), "{what}");
        assert!(
            !shown(&forward)
                .iter()
                .any(|line| line.starts_with("X-Remote"))
        );
    }
}

#[tokio::test]
async fn certificate_of_nobody_counts_as_none() {
    let site = Site::new();
    let nobody = Recipe {
        common_name: String::new(),
        ..jane()
    };
    let forward = site.forward(site.request(&[], Some(nobody))).await;
    assert_eq!(shown(&forward), ["X-Forwarded-For: 192.0.2.7"]);
    assert!(!presents_a_certificate(fresh(&forward)));
}

#[tokio::test]
async fn certificate_where_none_is_taken_is_refused_and_says_so() {
    let site = Site::new();
    let ask = |lines: &[(&str, &str)]| ApiRequest {
        listener: "tokens".into(),
        ..site.request(lines, Some(jane()))
    };
    let answer = site.answer(ask(&[])).await;
    assert_eq!(answer.status, 401);
    assert!(
        answer.body.contains("takes tokens alone"),
        "{}",
        answer.body
    );
    site.forward(ask(&[("Authorization", "Bearer a")])).await;
}

#[tokio::test]
async fn held_connection_serves_its_own_kind_until_a_reload() {
    let site = Site::new();
    let key = |forward: &Forward| fresh(forward).key.unwrap();
    let plain = key(&site.forward(site.request(&[], None)).await);
    let named = key(&site.forward(site.request(&[], Some(jane()))).await);
    assert_ne!(plain, named);
    let over = async |key: ConnectionKey, address: &str, user: Option<Recipe>| {
        let held = Held {
            key,
            address: Some(address.parse().unwrap()),
        };
        let forward = site.forward(ApiRequest {
            held: Some(held),
            ..site.request(&[], user)
        });
        matches!(forward.await.over, Over::Held)
    };
    assert!(over(plain, "10.0.0.2:6443", None).await);
    assert!(over(named, "10.0.0.2:6443", Some(jane())).await);
    assert!(
        !over(named, "10.0.0.2:6443", None).await,
        "another's identity"
    );
    assert!(!over(plain, "10.0.0.2:6443", Some(jane())).await);
    assert!(
        !over(plain, "10.0.0.3:6443", None).await,
        "not a server of ours"
    );
    site.reload(|text| text);
    assert!(
        !over(plain, "10.0.0.2:6443", None).await,
        "of another configuration"
    );
}

#[tokio::test]
async fn requests_take_turns_and_streams_are_labelled() {
    let site = Site::new();
    let first = async || addresses(&fresh(&site.forward(site.request(&[], None)).await).way);
    assert_eq!(first().await[0], "10.0.0.1:6443");
    assert_eq!(first().await[0], "10.0.0.2:6443");
    assert_eq!(first().await[0], "10.0.0.1:6443");
    let mut exec = site.request(&[], None);
    let target = "/api/v1/namespaces/shop/pods/web/exec?command=hunter2&container=app";
    exec.head.target = RequestTarget::new(target).unwrap();
    let labels = site.forward(exec).await.labels;
    assert_eq!(labels.action, Action::Exec);
    assert_eq!(labels.container.as_deref(), Some("app"));
    assert_eq!(labels.path, ApiPath::Through(Some("not_configured")));
}

#[tokio::test]
async fn judge_has_decided_when_it_returns() {
    let site = Site::new();
    let mut judged = site
        .gatekeeper
        .judge(site.request(&[], Some(jane())))
        .unwrap();
    assert!(judged.try_recv().is_ok());
}

#[tokio::test]
async fn connection_of_a_node_is_led_to_a_server_and_says_whose_it_is_if_asked_to() {
    let site = Site::new();
    let connect = site.lead().await;
    assert!(matches!(connect.mode, Mode::Splice));
    assert_eq!(addresses(&connect.way), ["10.0.0.1:6443", "10.0.0.2:6443"]);
    assert_eq!(connect.preamble, None);
    let old = "apiserver: {address: \"127.0.0.1:0\"}";
    let new = "apiserver: {address: \"127.0.0.1:0\", proxyProtocol: true}";
    site.reload(|text| text.replace(old, new));
    assert_eq!(site.lead().await.preamble, Some(Preamble::ProxyV2));
}

#[tokio::test]
async fn listener_that_the_configuration_lacks_keeps_its_users() {
    let site = Site::new();
    site.reload(|text| {
        let (before, rest) = text.split_once("- name: kubectl").unwrap();
        let (_, after) = rest.split_once("- name: tokens").unwrap();
        let after = after.replace("apiserver.key}", "apiserver.key, clientCAFile: users.crt}");
        format!("{before}- name: tokens{after}")
    });
    let forward = site.forward(site.request(&[], Some(jane()))).await;
    assert_eq!(forward.labels.user.as_deref(), Some("jane"));
}

#[tokio::test]
async fn request_without_servers_is_answered_with_the_reason() {
    let site = Site::new();
    site.reload(|text| {
        let (before, _) = text.split_once("listeners:").unwrap();
        format!(
            "{before}listeners: [{{name: uds, unix: {{path: /x}}}}]\negress: {{rules: [{{name: r, \
             cidrs: [10.0.0.0/8], action: splice}}]}}\n"
        )
    });
    let answer = site.answer(site.request(&[], None)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("has no apiservers"), "{}", answer.body);
}
