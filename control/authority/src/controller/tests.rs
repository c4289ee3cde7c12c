//! Turns of the controller over a store.

use super::super::testing::{Site, csr};
use super::*;
use eyesplice_identity::x509::testing::{dns, kubelet_client, kubelet_serving};
use std::time::Duration;

struct Bench {
    site: Site,
    store: Arc<Store>,
    material: Arc<ArcSwap<AuthorityMaterial>>,
    metrics: Arc<Metrics>,
    controller: Controller,
}

impl Bench {
    fn new(insecure_group: Option<&str>) -> Self {
        let site = Site::new();
        let store = site.store();
        let material = Arc::new(ArcSwap::from_pointee(site.material()));
        let metrics = Metrics::new();
        let controller = Controller::new(
            Arc::clone(&store),
            Arc::clone(&material),
            insecure_group.map(str::to_owned),
            Arc::clone(&metrics),
        );
        Self {
            site,
            store,
            material,
            metrics,
            controller,
        }
    }

    fn add(&self, object: CertificateSigningRequest) {
        self.store
            .create(object, |_| Ok::<_, StoreError>(Vec::new()))
            .unwrap();
    }

    fn turn(&mut self) {
        self.controller.turn(SystemTime::now()).unwrap();
    }

    fn get(&self, name: &str) -> Object {
        self.store.find(name).unwrap()
    }
}

const BOOT: (&str, &str) = (
    "system:bootstrap:abcdef",
    "system:bootstrappers:kubeadm:default-node-token",
);
const NODE: (&str, &str) = ("system:node:w", "system:nodes");

#[test]
fn bootstrap_request_is_approved_and_signed_once() {
    let mut bench = Bench::new(None);
    bench.add(csr(
        "a",
        Signer::KubeletClient,
        BOOT.0,
        BOOT.1,
        kubelet_client("w"),
    ));
    bench.turn();
    assert!(bench.get("a").has(APPROVED) && bench.get("a").awaits_signature());
    bench.turn();
    let signed = bench.get("a");
    assert!(!signed.status.certificate.is_empty());
    bench.turn();
    assert_eq!(bench.get("a"), signed, "nothing is done twice");
    assert_eq!(bench.store.serials().len(), 1);
    let text = bench.metrics.render().unwrap();
    let name = Signer::KubeletClient.name();
    for line in [
        format!("eyesplice_authority_decisions_total{{signer=\"{name}\",decision=\"approved\"}} 1"),
        format!("eyesplice_authority_signatures_total{{signer=\"{name}\",result=\"signed\"}} 1"),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
}

#[test]
fn foreign_name_is_denied_with_the_remedy() {
    let mut bench = Bench::new(None);
    let ask = kubelet_serving("w", vec![dns("w"), dns("evil.example")]);
    bench.add(csr("a", Signer::KubeletServing, NODE.0, NODE.1, ask));
    bench.turn();
    let denied = bench.get("a");
    let condition = denied.condition(DENIED).unwrap();
    assert!(
        condition.message.contains("DNS name evil.example"),
        "{}",
        condition.message
    );
    assert!(condition.message.contains("add it to the node there"));
    bench.turn();
    assert!(bench.get("a").status.certificate.is_empty());
}

#[test]
fn unknown_node_waits_with_its_age_in_a_metric_until_the_inventory_knows_it() {
    let mut bench = Bench::new(None);
    let ask = kubelet_serving("new", vec![dns("new")]);
    let mut object = csr("a", Signer::KubeletServing, "system:node:new", NODE.1, ask);
    let earlier = SystemTime::now() - Duration::from_secs(600);
    object.metadata.creation_timestamp = Some(Timestamp::from(earlier));
    bench.add(object);
    bench.turn();
    bench.turn();
    assert!(bench.get("a").is_pending());
    let text = bench.metrics.render().unwrap();
    let labels = "{signer=\"kubernetes.io/kubelet-serving\",reason=\"unknown-node\"}";
    assert!(
        text.contains(&format!("authority_csrs_pending{labels} 1")),
        "{text}"
    );
    let age = format!("authority_csrs_pending_oldest_age_seconds{labels} 60");
    assert!(text.contains(&age), "{text}");

    let inventory = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n- {name: new, addresses: [10.0.0.9]}\n";
    bench.site.write("inventory.yaml", inventory);
    bench.material.store(Arc::new(bench.site.material()));
    bench.turn();
    bench.turn();
    assert!(!bench.get("a").status.certificate.is_empty());
    assert!(!bench.metrics.render().unwrap().contains("unknown-node"));
}

#[test]
fn approval_by_a_person_is_signed_and_denial_is_not() {
    let mut bench = Bench::new(None);
    for name in ["yes", "no"] {
        bench.add(csr(
            name,
            Signer::ApiServerClient,
            "jane",
            "dev",
            kubelet_client("w"),
        ));
    }
    bench.turn();
    assert!(bench.get("yes").is_pending());
    let now = Timestamp::from(SystemTime::now());
    for (name, kind) in [("yes", APPROVED), ("no", DENIED)] {
        let decide = |current: &CertificateSigningRequest| {
            let mut object = current.clone();
            let condition = Condition::new(kind, "ByHand", String::new(), now);
            object.status.conditions.push(condition);
            Ok::<_, StoreError>(Change::Put(object))
        };
        bench.store.update(name, decide).unwrap();
    }
    bench.turn();
    assert!(!bench.get("yes").status.certificate.is_empty());
    assert!(bench.get("no").status.certificate.is_empty());
}

#[test]
fn approved_request_against_the_signers_rules_fails() {
    let mut bench = Bench::new(None);
    let ask = kubelet_serving("w", vec![dns("w")]);
    let mut object = csr("a", Signer::KubeletClient, "jane", "dev", ask);
    let now = Timestamp::from(SystemTime::now());
    let approved = Condition::new(APPROVED, "ByHand", String::new(), now);
    object.status.conditions.push(approved);
    bench.add(object);
    bench.turn();
    let failed = bench.get("a");
    assert_eq!(
        failed.condition(FAILED).unwrap().reason,
        "SignerValidationFailure"
    );
}

#[test]
fn other_signers_and_signers_without_a_ca_are_left_alone() {
    let mut bench = Bench::new(None);
    let mut other = csr(
        "other",
        Signer::KubeletClient,
        BOOT.0,
        BOOT.1,
        kubelet_client("w"),
    );
    other.spec.signer_name = "example.com/mine".to_owned();
    let now = Timestamp::from(SystemTime::now());
    let approved = Condition::new(APPROVED, "ByHand", String::new(), now);
    other.status.conditions.push(approved.clone());
    let mut agent = csr(
        "agent",
        Signer::AgentClient,
        BOOT.0,
        BOOT.1,
        kubelet_client("w"),
    );
    agent.status.conditions.push(approved);
    bench.add(other);
    bench.add(agent);
    bench.turn();
    for name in ["other", "agent"] {
        let object = bench.get(name);
        assert!(object.awaits_signature(), "{name}");
    }
}

#[test]
fn insecure_group_is_approved() {
    let mut bench = Bench::new(Some("dev"));
    bench.add(csr(
        "a",
        Signer::ApiServerClient,
        "jane",
        "dev",
        kubelet_client("w"),
    ));
    bench.add(csr(
        "b",
        Signer::ApiServerClient,
        "joe",
        "ops",
        kubelet_client("w"),
    ));
    bench.turn();
    assert!(bench.get("a").has(APPROVED));
    assert!(bench.get("b").is_pending());
}

#[test]
fn old_requests_are_removed() {
    let mut bench = Bench::new(None);
    let mut object = csr(
        "a",
        Signer::ApiServerClient,
        "jane",
        "dev",
        kubelet_client("w"),
    );
    let earlier = SystemTime::now() - Duration::from_secs(25 * 3600);
    object.metadata.creation_timestamp = Some(Timestamp::from(earlier));
    bench.add(object);
    bench.turn();
    assert!(bench.store.find("a").is_none());
}

fn first(name: &str, token: &str, node: &str) -> CertificateSigningRequest {
    let user = format!("system:bootstrap:{token}");
    csr(
        name,
        Signer::KubeletClient,
        &user,
        BOOT.1,
        kubelet_client(node),
    )
}

fn told(object: &Object) -> &str {
    &object.condition(DENIED).unwrap().message
}

#[test]
fn name_that_is_taken_is_denied_while_its_certificate_lasts() {
    let mut bench = Bench::new(None);
    // Two at once: the second one knows of the first.
    bench.add(first("a", "abcdef", "w"));
    bench.add(first("b", "abcdef", "w"));
    bench.turn();
    assert!(bench.get("a").has(APPROVED));
    assert!(told(&bench.get("b")).contains("node w holds a client certificate already"));
    bench.turn();
    let signed = bench.get("a");
    assert!(!signed.status.certificate.is_empty());
    // Nothing is left of the CSR, and the process was started again.
    bench
        .store
        .update("a", |_| Ok::<_, StoreError>(Change::Delete))
        .unwrap();
    let held = bench.store.holder("system:node:w").unwrap();
    assert_eq!(held.brought_by, BOOT.0);
    bench.add(first("c", "other1", "w"));
    bench.turn();
    assert!(told(&bench.get("c")).contains("(CSR a)"));
    // The node renews by itself, and is still known by who brought it.
    bench.add(csr(
        "d",
        Signer::KubeletClient,
        NODE.0,
        NODE.1,
        kubelet_client("w"),
    ));
    bench.turn();
    bench.turn();
    let renewed = bench.store.holder("system:node:w").unwrap();
    assert_eq!(
        (renewed.brought_by.as_str(), renewed.seen.as_str()),
        (BOOT.0, "CSR d")
    );
    let mut bound = first("e", "abcdef", "w");
    bound.spec.extra = Bound {
        nodes: vec!["w".to_owned()],
        gateways: Vec::new(),
    }
    .extra();
    bench.add(bound);
    bench.turn();
    assert!(bench.get("e").has(APPROVED));
}

#[test]
fn holders_survive_a_restart_and_end_with_their_certificates() {
    let mut bench = Bench::new(None);
    bench.add(first("a", "abcdef", "w"));
    bench.turn();
    bench.turn();
    let held = bench.store.holder("system:node:w").unwrap();
    let site = {
        let Bench {
            site,
            store,
            controller,
            ..
        } = bench;
        drop((store, controller));
        site
    };
    let store = site.store();
    assert_eq!(store.holder("system:node:w"), Some(Arc::clone(&held)));
    let over = Timestamp::new(held.not_after.time() + time::Duration::seconds(1));
    store.compact(over).unwrap();
    assert_eq!(store.holder("system:node:w"), None);
    drop(store);
    assert_eq!(site.store().holder("system:node:w"), None);
}

#[test]
fn node_that_nobody_lists_waits_a_short_time() {
    let mut bench = Bench::new(None);
    bench.add(first("a", "abcdef", "invented"));
    let now = SystemTime::now();
    bench.controller.turn(now).unwrap();
    assert!(bench.get("a").is_pending());
    let life = limits::STRANGER;
    bench
        .controller
        .turn(now + life - Duration::from_secs(2))
        .unwrap();
    assert!(bench.get("a").is_pending());
    bench
        .controller
        .turn(now + life + Duration::from_secs(2))
        .unwrap();
    assert!(bench.store.find("a").is_none());
    let text = bench.metrics.render().unwrap();
    let line = "eyesplice_authority_csrs_cleaned_total{reason=\"unknown\"} 1";
    assert!(text.contains(line), "{text}");
}

#[test]
fn requester_that_waits_for_too_many_is_braked_alone_and_refusals_can_be_left() {
    let mut bench = Bench::new(None);
    let text = std::fs::read_to_string(bench.site.path("authority.yaml")).unwrap();
    let listed = "  inventoryFile: inventory.yaml\n";
    let more = format!("{listed}  maxPending: 1\n  onRefusal: leave\n");
    bench
        .site
        .write("authority.yaml", &text.replace(listed, &more));
    bench.material.store(Arc::new(bench.site.material()));
    // One node is known, one more may wait.
    for index in 0..3 {
        bench.add(first(&format!("x{index}"), "abcdef", &format!("x{index}")));
    }
    bench.add(first("y", "abcdef", "w"));
    bench.add(first("z", "other1", "w"));
    bench.turn();
    assert!(bench.get("y").is_pending());
    assert!(bench.get("z").has(APPROVED));
    let name = Signer::KubeletClient.name();
    let pending = |bench: &Bench, reason: &str| {
        let text = bench.metrics.render().unwrap();
        let line = format!("csrs_pending{{signer=\"{name}\",reason=\"{reason}\"}} ");
        let found = text.split_once(&line).map(|(_, rest)| rest.to_owned());
        found.map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap())
    };
    assert_eq!(pending(&bench, "too-many-pending"), 4);
    // Somebody deletes what nobody needs; what is left is judged, and `w` is taken.
    for name in ["x0", "x1"] {
        bench
            .store
            .update(name, |_| Ok::<_, StoreError>(Change::Delete))
            .unwrap();
    }
    bench.turn();
    assert!(bench.get("y").is_pending());
    assert_eq!(
        (pending(&bench, "refused"), pending(&bench, "unknown-node")),
        (1, 1)
    );
}
