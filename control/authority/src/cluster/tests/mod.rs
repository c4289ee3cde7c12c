//! Whole sessions on an API server in memory, which allows what the shipped manifest allows.

mod checks;
mod fake;
mod rbac;

use super::super::testing::{Site, csr};
use super::listed::listed;
use super::material::ClusterMaterial;
use super::session::Session;
use crate::config::{ClusterConfig, Document};
use arc_swap::ArcSwap;
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::{Ask, ip, kubelet_client, kubelet_serving};
use eyesplice_process::admin::Readiness;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::{Lookup, SystemLookup};
use fake::{Fake, Record};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
cluster: {}
signers:
- {signerName: kubernetes.io/kube-apiserver-client-kubelet, certFile: ca.crt, keyFile: ca.key}
- {signerName: kubernetes.io/kubelet-serving, certFile: serving.crt, keyFile: serving.key}
";

const LEADS: &str = "eyesplice_authority_leader{lease=\"kube-system/eyesplice-authority\"} 1";

const BOOTSTRAPPER: &str = "system:bootstrap:abcdef";
const NODE: &str = "system:node:w";

/// One replica on a fake.
struct Replica {
    task: JoinHandle<()>,
    stop: Option<oneshot::Sender<()>>,
    metrics: Arc<Metrics>,
}

impl Replica {
    fn start(site: &Site, fake: &Fake, identity: &str) -> Self {
        Self::with(site, fake, identity, CONFIG)
    }

    fn with(site: &Site, fake: &Fake, identity: &str, config: &str) -> Self {
        Self::asking(site, fake, identity, config, Arc::new(SystemLookup))
    }

    /// With another source of names.
    fn asking(
        site: &Site,
        fake: &Fake,
        identity: &str,
        config: &str,
        lookup: Arc<dyn Lookup>,
    ) -> Self {
        site.write("cluster.yaml", config);
        let config = ClusterConfig::load(&site.path("cluster.yaml")).unwrap();
        let material = ClusterMaterial::load(config.config, SystemTime::now());
        let material = material.unwrap().state;
        let metrics = Metrics::new();
        let session = Session {
            client: fake.client(identity),
            material: Arc::new(ArcSwap::from_pointee(material)),
            insecure_group: None,
            identity: identity.to_owned(),
            metrics: Arc::clone(&metrics),
            readiness: Arc::new(Readiness::default()),
            lookup,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(session.run(async {
            let _ = stopped.await;
        }));
        Self {
            task,
            stop: Some(stop),
            metrics,
        }
    }

    /// As a process that dies.
    fn kill(&self) {
        self.task.abort();
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        (&mut self.task).await.unwrap();
    }

    fn shows(&self, line: &str) -> bool {
        let text = self.metrics.render().unwrap();
        text.lines().any(|each| each.starts_with(line))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a bootstrapper asks for.
fn first(name: &str) -> super::super::object::CertificateSigningRequest {
    first_of(name, name)
}

/// The same for a node.
fn first_of(name: &str, node: &str) -> super::super::object::CertificateSigningRequest {
    let group = "system:bootstrappers:kubeadm:default-node-token";
    csr(
        name,
        Signer::KubeletClient,
        BOOTSTRAPPER,
        group,
        kubelet_client(node),
    )
}

/// What a node asks for as a server.
fn serving(name: &str, address: &str) -> super::super::object::CertificateSigningRequest {
    let ask: Ask = kubelet_serving("w", vec![ip(address)]);
    csr(name, Signer::KubeletServing, NODE, "system:nodes", ask)
}

/// A cluster with a token, and RBAC as kubeadm has it.
fn cluster() -> Fake {
    let fake = Fake::new();
    fake.allow("nodeclient");
    fake.token("abcdef", &[]);
    fake
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    // Ten minutes of a clock that jumps.
    let waited = timeout(Duration::from_secs(600), waiting).await;
    assert!(waited.is_ok(), "{what}");
}

async fn signed(fake: &Fake, name: &str) -> Record {
    until("a signature", || fake.record(name).certificate.is_some()).await;
    fake.record(name)
}

async fn denied(fake: &Fake, name: &str) -> String {
    let message = || fake.record(name).message("Denied");
    until("a denial", || message().is_some()).await;
    message().unwrap()
}

#[tokio::test(start_paused = true)]
async fn bootstrapper_gets_a_client_certificate_signed_once() {
    let (site, fake) = (Site::new(), cluster());
    let replica = Replica::start(&site, &fake, "one");
    fake.create(&first("a"));
    let record = signed(&fake, "a").await;
    let message = record.message("Approved").unwrap();
    assert!(
        message.contains("first client certificate of node a"),
        "{message}"
    );
    assert_eq!(fake.writes("a"), ["one approval", "one status"]);
    assert!(replica.shows(LEADS));
    assert!(replica.shows("eyesplice_authority_watch_healthy{resource=\"nodes\"} 1"));
    replica.stop().await;
    assert_eq!(fake.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn requester_that_rbac_does_not_bind_waits_until_it_does() {
    let (site, fake) = (Site::new(), Fake::new());
    fake.token("abcdef", &[]);
    let replica = Replica::start(&site, &fake, "one");
    fake.create(&first("a"));
    let pending = "eyesplice_authority_csrs_pending{signer=\"kubernetes.io/kube-apiserver-client-\
                   kubelet\",reason=\"for-people\"} 1";
    until("a pending CSR", || replica.shows(pending)).await;
    assert!(fake.writes("a").is_empty());
    fake.allow("nodeclient");
    signed(&fake, "a").await;
}

#[tokio::test(start_paused = true)]
async fn token_that_is_gone_or_expired_or_of_another_use_is_denied() {
    let (site, fake) = (Site::new(), Fake::new());
    fake.allow("nodeclient");
    let _replica = Replica::start(&site, &fake, "one");
    fake.create(&first("gone"));
    let why = denied(&fake, "gone").await;
    assert!(
        why.contains("there is no bootstrap token abcdef any more"),
        "{why}"
    );
    fake.token("abcdef", &[("expiration", "2020-01-01T00:00:00Z")]);
    fake.create(&first("expired"));
    let why = denied(&fake, "expired").await;
    assert!(why.contains("expired 2020-01-01"), "{why}");
    fake.token("abcdef", &[("usage-bootstrap-authentication", "false")]);
    fake.create(&first("signing"));
    let why = denied(&fake, "signing").await;
    assert!(why.contains("is not for authentication"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn name_that_another_csr_or_a_ready_node_has_is_denied() {
    let (site, fake) = (Site::new(), cluster());
    fake.ready_node("ready");
    let _replica = Replica::start(&site, &fake, "one");
    fake.create(&first_of("one", "w"));
    fake.create(&first_of("two", "w"));
    let decided = |name: &str| !fake.record(name).conditions.is_empty();
    until("two decisions", || decided("one") && decided("two")).await;
    let denials = ["one", "two"].map(|name| fake.record(name).message("Denied"));
    let denials: Vec<String> = denials.into_iter().flatten().collect();
    assert_eq!(denials.len(), 1, "{denials:?}");
    assert!(denials[0].contains("node w holds a client certificate already"));
    fake.create(&first_of("again", "w"));
    let why = denied(&fake, "again").await;
    assert!(why.contains("(CSR "), "{why}");
    fake.create(&first_of("stolen", "ready"));
    let why = denied(&fake, "stolen").await;
    assert!(why.contains("Node ready is ready"), "{why}");
    fake.token("abcdef", &[("eyesplice-nodes", "w,ready")]);
    fake.create(&first_of("word", "ready"));
    signed(&fake, "word").await;
    fake.create(&first_of("other", "v"));
    let why = denied(&fake, "other").await;
    assert!(why.contains("bound to node w, ready"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn requester_of_too_many_is_braked_and_others_are_not() {
    let (site, fake) = (Site::new(), cluster());
    fake.token("bbbbbb", &[]);
    let patterns = "approval: {maxPending: 2, nodeNames: [\"w*\"], onRefusal: leave}";
    for index in 0..3 {
        fake.create(&first(&format!("x{index}")));
    }
    fake.create(&first("w1"));
    let mut other = first("w2");
    "system:bootstrap:bbbbbb".clone_into(&mut other.spec.username);
    fake.create(&other);
    let replica = Replica::with(&site, &fake, "one", &format!("{CONFIG}{patterns}\n"));
    signed(&fake, "w2").await;
    let braked = "eyesplice_authority_csrs_pending{signer=\"kubernetes.io/kube-apiserver-client-\
                  kubelet\",reason=\"too-many-pending\"} 4";
    until("a brake", || replica.shows(braked)).await;
    assert!(fake.writes("w1").is_empty());
    // What would be denied is left to people.
    let mut again = first_of("again", "w2");
    "system:bootstrap:bbbbbb".clone_into(&mut again.spec.username);
    fake.create(&again);
    let refused = "eyesplice_authority_csrs_pending{signer=\"kubernetes.io/kube-apiserver-client-\
                   kubelet\",reason=\"refused\"} 1";
    until("a refusal", || replica.shows(refused)).await;
    assert!(fake.writes("again").is_empty());
}

#[tokio::test(start_paused = true)]
async fn serving_certificate_follows_the_node_object() {
    let (site, fake) = (Site::new(), cluster());
    let _replica = Replica::start(&site, &fake, "one");
    fake.create(&serving("early", "10.0.0.7"));
    sleep(Duration::from_secs(30)).await;
    assert!(fake.writes("early").is_empty());
    fake.node("w", &["10.0.0.7"]);
    signed(&fake, "early").await;
    fake.create(&serving("foreign", "10.0.0.8"));
    let why = denied(&fake, "foreign").await;
    assert!(
        why.contains("10.0.0.8 is not among the addresses of node w"),
        "{why}"
    );
}

#[tokio::test]
async fn nodes_are_listed_once_and_what_two_claim_is_left_out() {
    let fake = cluster();
    fake.node("w", &["10.0.0.7", "10.0.0.9"]);
    fake.node("liar", &["10.0.0.7"]);
    let inventory = listed(fake.client("one")).await.unwrap();
    let addresses = |node| -> Vec<String> {
        let all = inventory.addresses_of(node).into_iter();
        all.map(ToString::to_string).collect()
    };
    assert_eq!(inventory.len(), 2);
    assert_eq!(addresses("w"), ["10.0.0.9", "w"]);
    assert_eq!(addresses("liar"), ["liar"]);
}

#[tokio::test(start_paused = true)]
async fn address_that_another_node_claims_waits_until_one_node_is_gone() {
    let (site, fake) = (Site::new(), cluster());
    fake.node("w", &["10.0.0.7"]);
    fake.node("liar", &["10.0.0.7"]);
    let _replica = Replica::start(&site, &fake, "one");
    fake.create(&serving("a", "10.0.0.7"));
    sleep(Duration::from_secs(200)).await;
    assert!(fake.writes("a").is_empty());
    fake.delete_node("liar");
    signed(&fake, "a").await;
}

#[tokio::test(start_paused = true)]
async fn inventory_file_takes_the_place_of_node_objects() {
    let (site, fake) = (Site::new(), cluster());
    fake.node("w", &["10.0.0.99"]);
    let config = format!("{CONFIG}approval: {{inventoryFile: inventory.yaml}}\n");
    let _replica = Replica::with(&site, &fake, "one", &config);
    fake.create(&serving("listed", "10.0.0.7"));
    signed(&fake, "listed").await;
    fake.create(&serving("claimed", "10.0.0.99"));
    denied(&fake, "claimed").await;
    assert_eq!(fake.asked("nodes"), 0);
}

#[tokio::test(start_paused = true)]
async fn signers_that_are_not_configured_are_left_alone() {
    let (site, fake) = (Site::new(), cluster());
    let _replica = Replica::start(&site, &fake, "one");
    let mut other = first("other");
    "example.com/other".clone_into(&mut other.spec.signer_name);
    fake.create(&other);
    let people = csr(
        "people",
        Signer::ApiServerClient,
        "u",
        "g",
        kubelet_client("w"),
    );
    fake.create(&people);
    fake.create(&first("ours"));
    signed(&fake, "ours").await;
    sleep(Duration::from_secs(60)).await;
    assert!(fake.writes("other").is_empty() && fake.writes("people").is_empty());
}

#[tokio::test(start_paused = true)]
async fn approval_that_a_crash_left_unsigned_is_signed() {
    let (site, fake) = (Site::new(), cluster());
    let mut object = first("a");
    let now = super::super::object::Timestamp::from(SystemTime::now());
    let condition = super::super::object::Condition::new("Approved", "x", String::new(), now);
    object.status.conditions.push(condition);
    fake.create(&object);
    let _replica = Replica::start(&site, &fake, "one");
    signed(&fake, "a").await;
    assert_eq!(fake.writes("a"), ["one status"]);
}

#[tokio::test(start_paused = true)]
async fn conflict_is_tried_again_from_the_fresh_object() {
    let (site, fake) = (Site::new(), cluster());
    let _replica = Replica::start(&site, &fake, "one");
    // Somebody labels it between our reading and our writing, twice.
    fake.disturb(2);
    fake.create(&first("a"));
    let record = signed(&fake, "a").await;
    assert_eq!(record.conditions.len(), 1);
    assert_eq!(fake.conflicts(), 2);
    assert_eq!(fake.writes("a"), ["one approval", "one status"]);
}

#[tokio::test(start_paused = true)]
async fn decision_of_a_person_that_came_first_stands() {
    let (site, fake) = (Site::new(), cluster());
    let _replica = Replica::start(&site, &fake, "one");
    fake.deny_before_write("a");
    fake.create(&first("a"));
    until("a conflict", || fake.conflicts() == 1).await;
    sleep(Duration::from_secs(60)).await;
    let record = fake.record("a");
    assert_eq!(record.conditions.len(), 1);
    assert!(record.message("Denied").is_some() && record.certificate.is_none());
}

#[tokio::test(start_paused = true)]
async fn watch_whose_version_is_too_old_lists_again_and_misses_nothing() {
    let (site, fake) = (Site::new(), cluster());
    let _replica = Replica::start(&site, &fake, "one");
    fake.create(&first("a"));
    signed(&fake, "a").await;
    fake.forget_history();
    fake.create_unseen(&first("b"));
    signed(&fake, "b").await;
    assert!(fake.asked("certificatesigningrequests") >= 2);
}

#[tokio::test(start_paused = true)]
async fn certificate_of_another_signer_is_counted() {
    let (site, fake) = (Site::new(), cluster());
    let replica = Replica::start(&site, &fake, "one");
    until("a leader", || replica.shows(LEADS)).await;
    let mut object = first("theirs");
    let now = super::super::object::Timestamp::from(SystemTime::now() + Duration::from_secs(1));
    object.metadata.creation_timestamp = Some(now);
    let condition = super::super::object::Condition::new("Approved", "x", String::new(), now);
    object.status.conditions.push(condition);
    let made = eyesplice_identity::pki::testing::client(NODE).signed_by(&site.serving_ca);
    object.status.certificate = super::super::object::Blob(made.certificate.pem().into_bytes());
    fake.create(&object);
    let counted = "eyesplice_authority_foreign_certificates_total{signer=\"kubernetes.io/kube-\
                   apiserver-client-kubelet\"} 1";
    until("a warning", || replica.shows(counted)).await;
    fake.create(&first("ours"));
    signed(&fake, "ours").await;
    sleep(Duration::from_secs(30)).await;
    assert!(replica.shows(counted));
}

#[tokio::test(start_paused = true)]
async fn refused_request_is_counted_and_names_the_manifest() {
    let (site, fake) = (Site::new(), cluster());
    fake.forbid("subjectaccessreviews");
    let replica = Replica::start(&site, &fake, "one");
    fake.create(&first("a"));
    let counted = "eyesplice_authority_api_failures_total{verb=\"write\"";
    until("a failure", || replica.shows(counted)).await;
    assert!(fake.writes("a").is_empty());
    fake.permit("subjectaccessreviews");
    signed(&fake, "a").await;
}

#[tokio::test(start_paused = true)]
async fn leader_that_dies_among_csrs_loses_none_and_signs_none_twice() {
    let (site, fake) = (Site::new(), cluster());
    let mut leader = Replica::start(&site, &fake, "0");
    until("a leader", || fake.holder() == "0").await;
    let mut names = Vec::new();
    for life in 1..8 {
        let heir = Replica::start(&site, &fake, &life.to_string());
        for number in 0..9 {
            let name = format!("csr-{life}-{number}");
            fake.create(&first(&name));
            names.push(name);
            if number == life {
                // In the middle of whatever it does after that many requests.
                let wanted = fake.requests() + life;
                until("work", || fake.requests() >= wanted).await;
                leader.kill();
            }
        }
        until("the heir", || fake.holder() == life.to_string()).await;
        leader = heir;
    }
    for name in &names {
        let record = signed(&fake, name).await;
        assert_eq!(record.conditions.len(), 1, "{name}");
        let writes = fake.writes(name);
        let of = |kind: &str| writes.iter().filter(|w| w.ends_with(kind)).count();
        assert_eq!((of("approval"), of("status")), (1, 1), "{name}: {writes:?}");
    }
    drop(leader);
}

#[test]
fn manifest_allows_no_more_than_is_asked_for() {
    let needed = json!([
        [
            "certificates.k8s.io",
            "certificatesigningrequests",
            "get list watch"
        ],
        [
            "certificates.k8s.io",
            "certificatesigningrequests/approval",
            "update"
        ],
        [
            "certificates.k8s.io",
            "certificatesigningrequests/status",
            "update"
        ],
        ["certificates.k8s.io", "signers", "approve sign"],
        ["authorization.k8s.io", "subjectaccessreviews", "create"],
        ["", "nodes", "get list watch"],
        ["", "secrets", "get"],
        ["coordination.k8s.io", "leases", "create get update"],
    ]);
    let mut allowed: Vec<_> = rbac::allowed();
    allowed.sort();
    let mut wanted = Vec::new();
    for row in needed.as_array().unwrap() {
        for verb in row[2].as_str().unwrap().split(' ') {
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            wanted.push((text(&row[0]), text(&row[1]), verb.to_owned()));
        }
    }
    wanted.sort();
    assert_eq!(allowed, wanted);
}
