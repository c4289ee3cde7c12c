//! The server over real TLS connections.

mod access;
mod agents;
mod crowd;
mod disk;
mod strict;
mod tokens;

use super::super::controller::Controller;
use super::super::creation::Rates;
use super::super::testing::Site;
use super::*;
use crate::object::{API_VERSION, Blob, KIND, encode};
use crate::store::Store;
use arc_swap::ArcSwap;
use data_encoding::BASE64;
use eyesplice_identity::authn::{Authenticator, Sources};
use eyesplice_identity::pki::testing::{Made, authority, client};
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::{dns, kubelet_client, kubelet_serving};
use eyesplice_process::metrics::Metrics;
use eyesplice_proto::tls::provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATH: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const TABLE: &str = "accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json\r\n";

struct Bench {
    site: Site,
    store: Arc<Store>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    controller: Controller,
    metrics: Arc<Metrics>,
}

struct Answer {
    code: u16,
    head: String,
    body: Value,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Sources::default()).await
    }

    async fn with(sources: Sources) -> Self {
        Self::at(Site::new(), sources).await
    }

    async fn at(site: Site, sources: Sources) -> Self {
        let store = site.store();
        let material = Arc::new(ArcSwap::from_pointee(site.material()));
        let metrics = Metrics::new();
        let (stop, stopping) = watch::channel(false);
        let server = Arc::new(Server {
            store: Arc::clone(&store),
            material: Arc::clone(&material),
            authenticator: Arc::new(Authenticator::new(sources)),
            rates: Rates::default(),
            metrics: Arc::clone(&metrics),
            stopping,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let controller = Controller::new(Arc::clone(&store), material, None, Arc::clone(&metrics));
        Self {
            site,
            store,
            address,
            stop,
            serving: tokio::spawn(serve(server, listener)),
            controller,
            metrics,
        }
    }

    fn turn(&mut self) {
        self.controller.turn(SystemTime::now()).unwrap();
        self.controller.turn(SystemTime::now()).unwrap();
    }

    async fn connect(&self, user: Option<&Made>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.site.server_ca.der()).unwrap();
        let builder = ClientConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match user {
            Some(user) => builder
                .with_client_auth_cert(vec![user.der()], user.private_key())
                .unwrap(),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        connector.connect(name, stream).await.unwrap()
    }

    async fn send(&self, user: Option<&Made>, head: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect(user).await;
        let length = body.len();
        let request =
            format!("{head}host: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        // A server that refuses a long body may close before it read all.
        let _ = stream.write_all(body).await;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            code: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }

    async fn ask(&self, user: &Made, method: &str, rest: &str, body: Value) -> Answer {
        let head = format!("{method} {PATH}{rest} HTTP/1.1\r\ncontent-type: application/json\r\n");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(Some(user), &head, body.as_bytes()).await
    }

    async fn get(&self, user: &Made, rest: &str) -> Answer {
        self.ask(user, "GET", rest, Value::Null).await
    }

    fn admin(&self) -> Made {
        self.site.user("admin", vec!["system:masters"])
    }

    fn node(&self, name: &str) -> Made {
        self.site
            .user(&format!("system:node:{name}"), vec!["system:nodes"])
    }
}

fn body(name: &str, signer: Signer, pem: &[u8]) -> Value {
    let usage = if signer == Signer::KubeletServing {
        "server auth"
    } else {
        "client auth"
    };
    json!({
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {"name": name, "creationTimestamp": null},
        "spec": {
            "request": BASE64.encode(pem),
            "signerName": signer.name(),
            "usages": ["digital signature", usage],
        },
        "status": {},
    })
}

fn serving(name: &str) -> Value {
    body(
        name,
        Signer::KubeletServing,
        &kubelet_serving("w", vec![dns("w")]).pem(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_asks_and_gets_its_certificate() {
    let mut bench = Bench::new().await;
    let node = bench.node("w");
    let created = bench.ask(&node, "POST", "", serving("a")).await;
    assert_eq!(created.code, 201, "{}", created.body);
    assert_eq!(created.body["spec"]["username"], "system:node:w");
    assert_eq!(
        created.body["spec"]["groups"],
        json!(["system:nodes", "system:authenticated"])
    );
    bench.turn();
    let got = bench.get(&node, "/a").await;
    let certificate = got.body["status"]["certificate"].as_str().unwrap();
    let pem = String::from_utf8(BASE64.decode(certificate.as_bytes()).unwrap()).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));
    let again = bench.ask(&node, "POST", "", serving("a")).await;
    assert_eq!(
        (again.code, &again.body["reason"]),
        (409, &json!("AlreadyExists"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubelet_that_speaks_protobuf_is_understood() {
    let bench = Bench::new().await;
    let mut object = crate::object::CertificateSigningRequest::default();
    object.metadata.generate_name = "csr-".to_owned();
    object.spec.signer_name = Signer::KubeletClient.name().to_owned();
    object.spec.usages = vec!["digital signature".to_owned(), "client auth".to_owned()];
    object.spec.request = Blob(kubelet_client("w").pem());
    let head = format!(
        "POST {PATH} HTTP/1.1\r\ncontent-type: application/vnd.kubernetes.protobuf\r\naccept: \
         application/vnd.kubernetes.protobuf,application/json\r\n"
    );
    let node = bench.node("w");
    let created = bench.send(Some(&node), &head, &encode(&object)).await;
    assert_eq!(created.code, 201, "{}", created.body);
    assert!(created.head.contains("content-type: application/json"));
    let name = created.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("csr-") && bench.store.find(name).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_without_a_name_or_a_right_are_refused() {
    let bench = Bench::new().await;
    let list = format!("GET {PATH} HTTP/1.1\r\n");
    let nobody = bench.send(None, &list, b"").await;
    assert_eq!(
        (nobody.code, &nobody.body["reason"]),
        (401, &json!("Unauthorized"))
    );
    assert!(nobody.head.contains("www-authenticate"));
    let bearer = format!("{list}authorization: Bearer abcdef.0123456789abcdef\r\n");
    assert_eq!(bench.send(None, &bearer, b"").await.code, 401);
    let metrics = bench.metrics.render().unwrap();
    for labels in [
        r#"{credential="none",cause="token"} 1"#,
        r#"{credential="token",cause="token"} 1"#,
    ] {
        let line = format!("eyesplice_authority_authentication_failures_total{labels}");
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    // A certificate of another CA gets an answer, not a broken handshake.
    let stranger = client("system:node:w").signed_by(&authority("evil").self_signed());
    assert_eq!(bench.send(Some(&stranger), &list, b"").await.code, 401);
    let jane = bench.site.user("jane", vec!["dev"]);
    let refused = bench.get(&jane, "").await;
    assert_eq!(refused.code, 403);
    let message = refused.body["message"].as_str().unwrap();
    assert!(
        message.contains("User \"jane\" cannot list resource"),
        "{message}"
    );
    assert_eq!(bench.ask(&jane, "POST", "", serving("a")).await.code, 403);
    let version = bench.send(None, "GET /version HTTP/1.1\r\n", b"").await;
    assert_eq!((version.code, &version.body["major"]), (200, &json!("1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_see_and_touch_only_their_own() {
    let bench = Bench::new().await;
    let (w, v) = (bench.node("w"), bench.node("v"));
    assert_eq!(bench.ask(&w, "POST", "", serving("a")).await.code, 201);
    let foreign = bench.ask(&v, "POST", "", serving("b")).await;
    assert_eq!(foreign.code, 403, "{}", foreign.body);
    assert!(
        foreign.body["message"]
            .as_str()
            .unwrap()
            .contains("only request a certificate for itself")
    );
    assert_eq!(bench.get(&v, "/a").await.code, 403);
    assert_eq!(bench.get(&v, "").await.body["items"], json!([]));
    assert_eq!(
        bench.get(&w, "").await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(bench.ask(&w, "DELETE", "/a", Value::Null).await.code, 403);
    let mut approved = bench.get(&w, "/a").await.body;
    approved["status"]["conditions"] = json!([{"type": "Approved", "status": "True"}]);
    assert_eq!(
        bench
            .ask(&w, "PUT", "/a/approval", approved.clone())
            .await
            .code,
        403
    );
    assert_eq!(bench.ask(&w, "PUT", "/a/status", approved).await.code, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approval_checks_the_version_and_keeps_the_rest() {
    let bench = Bench::new().await;
    let admin = bench.admin();
    bench.ask(&bench.node("w"), "POST", "", serving("a")).await;
    let mut object = bench.get(&admin, "/a").await.body;
    let old = object.clone();
    object["status"]["conditions"] =
        json!([{"type": "Approved", "status": "True", "reason": "Test", "message": "yes"}]);
    object["spec"]["username"] = "somebody else".into();
    object["status"]["certificate"] = BASE64.encode(b"mine").into();
    let approved = bench.ask(&admin, "PUT", "/a/approval", object).await;
    assert_eq!(approved.code, 200, "{}", approved.body);
    assert_eq!(
        approved.body["spec"], old["spec"],
        "the request never changes"
    );
    assert_eq!(approved.body["status"]["certificate"], Value::Null);
    let condition = &approved.body["status"]["conditions"][0];
    assert!(condition["lastUpdateTime"].is_string() && condition["lastTransitionTime"].is_string());
    let late = bench.ask(&admin, "PUT", "/a/approval", old).await;
    assert_eq!((late.code, &late.body["reason"]), (409, &json!("Conflict")));
    let wrong = bench.ask(&admin, "PUT", "/b/approval", approved.body).await;
    assert_eq!(wrong.code, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_has_the_columns_of_kubectl() {
    let mut bench = Bench::new().await;
    bench.ask(&bench.node("w"), "POST", "", serving("a")).await;
    bench.turn();
    let admin = bench.admin();
    let head = format!("GET {PATH}?includeObject=None HTTP/1.1\r\n{TABLE}");
    let table = bench.send(Some(&admin), &head, b"").await.body;
    assert_eq!(table["kind"], "Table");
    let columns: Vec<&str> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["priority"] == 0)
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    let expected = [
        "Name",
        "Age",
        "SignerName",
        "Requestor",
        "RequestedDuration",
        "Condition",
    ];
    assert_eq!(columns, expected);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(
        (&cells[0], &cells[5]),
        (&json!("a"), &json!("Approved,Issued"))
    );
    assert_eq!(
        (&cells[6], &cells[7]),
        (&json!("CN=system:node:w,O=system:nodes"), &json!("w"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_and_table_come_in_pages_of_what_the_user_sees() {
    let bench = Bench::new().await;
    let (node, other, admin) = (bench.node("w"), bench.node("v"), bench.admin());
    for name in ["a", "c", "d"] {
        assert_eq!(bench.ask(&node, "POST", "", serving(name)).await.code, 201);
    }
    let pem = kubelet_serving("v", vec![dns("v")]).pem();
    let foreign = body("b", Signer::KubeletServing, &pem);
    assert_eq!(bench.ask(&other, "POST", "", foreign).await.code, 201);
    let first = bench.get(&node, "?limit=2").await.body;
    let names = |list: &Value| {
        let items = list["items"].as_array().unwrap().iter();
        let names = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&first), ["a", "c"], "another's is on no page");
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = bench
        .get(&node, &format!("?limit=2&continue={token}"))
        .await;
    assert_eq!(names(&rest.body), ["d"]);
    // The token of another user opens nothing: what is seen is judged at each page.
    let theirs = bench.get(&other, &format!("?continue={token}")).await;
    assert!(names(&theirs.body).is_empty(), "{}", theirs.body);

    let head = format!("GET {PATH}?limit=3 HTTP/1.1\r\n{TABLE}");
    let table = bench.send(Some(&admin), &head, b"").await.body;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["rows"].as_array().unwrap().len(), 3);
    assert_eq!(table["metadata"]["remainingItemCount"], 1);
    assert!(table["metadata"]["continue"].is_string(), "{table}");
    let broken = bench.get(&admin, "?limit=2&continue=nonsense").await;
    assert_eq!((broken.code, &broken.body["kind"]), (400, &json!("Status")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_get_a_status() {
    let bench = Bench::new().await;
    let admin = bench.admin();
    let post = |kind: &str| format!("POST {PATH} HTTP/1.1\r\ncontent-type: {kind}\r\n");
    let json = "application/json";
    let huge = vec![b' '; 300 << 10];
    let bad_csr = body("a", Signer::KubeletClient, b"no PEM").to_string();
    let other_kind = json!({"kind": "Pod", "apiVersion": "v1"}).to_string();
    for (head, sent, code, reason) in [
        (
            post("application/yaml"),
            &b"a: b"[..],
            415,
            "UnsupportedMediaType",
        ),
        (post("application/cbor"), b"", 415, "UnsupportedMediaType"),
        (
            post("application/vnd.kubernetes.protobuf"),
            b"{}",
            400,
            "BadRequest",
        ),
        (post(json), b"{", 400, "BadRequest"),
        (post(json), b"{} {}", 400, "BadRequest"),
        (post(json), other_kind.as_bytes(), 400, "BadRequest"),
        (post(json), b"{}", 422, "Invalid"),
        (post(json), bad_csr.as_bytes(), 422, "Invalid"),
        (post(json), &huge, 413, "RequestEntityTooLarge"),
        (
            format!("GET {PATH} HTTP/1.1\r\naccept: application/yaml\r\n"),
            b"",
            406,
            "NotAcceptable",
        ),
        (
            format!("GET {PATH}?resourceVersion=999 HTTP/1.1\r\n"),
            b"",
            504,
            "Timeout",
        ),
        (
            format!("GET {PATH}?watch=1&resourceVersion=999 HTTP/1.1\r\n"),
            b"",
            410,
            "Expired",
        ),
        (
            format!("GET {PATH}/none HTTP/1.1\r\n"),
            b"",
            404,
            "NotFound",
        ),
        (
            format!("DELETE {PATH} HTTP/1.1\r\n"),
            b"",
            405,
            "MethodNotAllowed",
        ),
        (
            "GET /apis/apps/v1/deployments HTTP/1.1\r\n".to_owned(),
            b"",
            404,
            "NotFound",
        ),
    ] {
        let answer = bench.send(Some(&admin), &head, sent).await;
        let got = (answer.code, answer.body["reason"].as_str());
        assert_eq!(got, (code, Some(reason)), "{head} {}", answer.body);
        assert_eq!(answer.body["kind"], "Status");
    }
    let unknown = serving("a").to_string().replace("usages", "usagez");
    let strict = format!("POST {PATH}?fieldValidation=Strict HTTP/1.1\r\ncontent-type: {json}\r\n");
    let answer = bench.send(Some(&admin), &strict, unknown.as_bytes()).await;
    let message = answer.body["message"].as_str().unwrap();
    assert!(
        message.contains("unknown field \"spec.usagez\""),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flood_of_one_user_stops_at_its_limit_and_others_go_on() {
    let bench = Bench::new().await;
    let flooder = bench.site.user(
        "system:bootstrap:aaaaaa",
        vec!["system:bootstrappers:kubeadm:default-node-token"],
    );
    let pem = kubelet_client("w").pem();
    let mut codes = Vec::new();
    for index in 0..105 {
        let one = body(&format!("f{index}"), Signer::KubeletClient, &pem);
        codes.push(bench.ask(&flooder, "POST", "", one).await.code);
    }
    assert_eq!(codes[..100], [201; 100]);
    assert_eq!(codes[100..], [403; 5]);
    let other = bench.ask(&bench.node("w"), "POST", "", serving("a")).await;
    assert_eq!(other.code, 201);
}

/// A watch as a client reads it: one JSON object per chunk.
struct Watcher(BufReader<TlsStream<TcpStream>>);

impl Watcher {
    async fn start(bench: &Bench, user: &Made, query: &str) -> Self {
        let mut stream = bench.connect(Some(user)).await;
        let head = format!("GET {PATH}?watch=true&{query} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).await.unwrap();
        }
        Self(reader)
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line).await.unwrap_or_default() == 0 || line == "0\r\n" {
                return None;
            }
            if line.starts_with('{') {
                let event: Value = serde_json::from_str(&line).unwrap();
                return Some((
                    event["type"].as_str().unwrap().to_owned(),
                    event["object"].clone(),
                ));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_shows_each_change_in_order_and_ends_when_the_process_stops() {
    let mut bench = Bench::new().await;
    let (admin, node) = (bench.admin(), bench.node("w"));
    bench.ask(&node, "POST", "", serving("before")).await;
    let revision = bench.store.list().revision;
    let mut all = Watcher::start(&bench, &admin, "").await;
    let mut since = Watcher::start(&bench, &admin, &format!("resourceVersion={revision}")).await;
    let mut one = Watcher::start(&bench, &node, "fieldSelector=metadata.name%3Da").await;
    let mut other = Watcher::start(&bench, &bench.node("v"), "allowWatchBookmarks=true").await;
    bench.ask(&node, "POST", "", serving("a")).await;
    bench.turn();
    bench.ask(&admin, "DELETE", "/a", Value::Null).await;
    for (watcher, expected) in [
        (&mut all, &["ADDED before", "ADDED a"][..]),
        (&mut since, &["ADDED a"]),
        (
            &mut one,
            &["ADDED a", "MODIFIED a", "MODIFIED a", "DELETED a"],
        ),
    ] {
        for expected in expected {
            let (kind, object) = watcher.next().await.unwrap();
            let name = object["metadata"]["name"].as_str().unwrap();
            assert_eq!(format!("{kind} {name}"), *expected);
        }
    }
    bench.stop.send_replace(true);
    assert!(one.next().await.is_none(), "the stream ends");
    assert!(
        other.next().await.is_none(),
        "another node's are never shown"
    );
    bench.serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_with_initial_events_marks_their_end() {
    let bench = Bench::new().await;
    let (admin, node) = (bench.admin(), bench.node("w"));
    bench.ask(&node, "POST", "", serving("a")).await;
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&timeoutSeconds=1\
                 &resourceVersionMatch=NotOlderThan";
    let mut watcher = Watcher::start(&bench, &admin, query).await;
    assert_eq!(watcher.next().await.unwrap().0, "ADDED");
    let (kind, object) = watcher.next().await.unwrap();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(
        object["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
    let revision = bench.store.list().revision.to_string();
    assert_eq!(object["metadata"]["resourceVersion"], revision);
    // The last one tells where the next watch begins.
    let (kind, object) = watcher.next().await.unwrap();
    assert_eq!(
        (kind.as_str(), &object["metadata"]["resourceVersion"]),
        ("BOOKMARK", &json!(revision))
    );
    assert!(watcher.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patch_and_delete_obey_preconditions() {
    let bench = Bench::new().await;
    let admin = bench.admin();
    bench.ask(&bench.node("w"), "POST", "", serving("a")).await;
    let patch = |body: Value| {
        let head =
            format!("PATCH {PATH}/a HTTP/1.1\r\ncontent-type: application/merge-patch+json\r\n");
        let (bench, admin) = (&bench, &admin);
        async move {
            bench
                .send(Some(admin), &head, body.to_string().as_bytes())
                .await
        }
    };
    let labelled = patch(json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(
        (labelled.code, &labelled.body["metadata"]["labels"]["a"]),
        (200, &json!("b"))
    );
    let sneaky = patch(json!({"status": {"conditions": [{"type": "Approved", "status": "True"}]}}));
    assert_eq!(sneaky.await.body["status"], json!({}));
    let stale = patch(json!({"metadata": {"resourceVersion": "1"}})).await;
    assert_eq!(stale.code, 409);
    let other = json!({"preconditions": {"uid": "other"}});
    assert_eq!(bench.ask(&admin, "DELETE", "/a", other).await.code, 409);
    let dry = bench
        .ask(&admin, "DELETE", "/a?dryRun=All", Value::Null)
        .await;
    assert_eq!((dry.code, bench.store.list().objects.len()), (200, 1));
    let deleted = bench
        .ask(
            &admin,
            "DELETE",
            "/a",
            json!({"propagationPolicy": "Background"}),
        )
        .await;
    assert_eq!(
        (deleted.code, &deleted.body["status"]),
        (200, &json!("Success"))
    );
    assert_eq!(bench.get(&admin, "/a").await.code, 404);
}
