mod handshakes;
mod kubelets;
mod neighbours;
mod tunnels;

use super::*;
use crate::config::{Config, Document};
use crate::material::tests::{load, site};
use eyesplice_dataplane::seam::{
    Connect, Inside, Mode, Peer, PeerVerification, Refusal, StreamId, Terminate, Way,
};
use eyesplice_process::resolve::LookupFuture;
use eyesplice_proto::route::Action;
use eyesplice_proto::target::Target;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock, allowedUIDs: [7]}
egress:
  rules:
  - {name: no-db, cidrs: [10.9.0.0/16], action: deny}
  - {name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], action: terminate}
  - name: web
    dnsSuffixes: [web.example]
    cidrs: [10.0.0.0/8]
    ports: [443]
    action: terminate
    protocol: opaque
    upstream: {caFile: ca.crt}
  - name: plain
    cidrs: [10.0.0.0/8]
    ports: [80]
    action: originate
    upstream: {caFile: ca.crt, serverName: api.example}
  - {name: rest, cidrs: [10.0.0.0/8, 127.0.0.0/8, \"fd00::/8\"], ports: [1234, 443], action: splice}
egressCA: {certFile: egress-ca.crt, keyFile: egress-ca.key}
kubelet:
  caFile: kubelet-serving-ca.crt
  clientCertFile: eyesplice-kubelet-client.crt
  clientKeyFile: eyesplice-kubelet-client.key
  apiserverClientCAFile: ca.crt
  inventoryFile: inventory.yaml
  actions: {rules: [{name: no-run, actions: [run], effect: deny}]}
timeouts: {verdict: 50ms}
";

/// Knows a few names; answers others with an error, and `slow.example` never.
struct Names(HashMap<&'static str, Vec<&'static str>>);

impl Lookup for Names {
    fn lookup(&self, name: &str) -> LookupFuture {
        if name == "slow.example" {
            return Box::pin(std::future::pending());
        }
        let found = self.0.get(name).map(|addresses| -> Vec<IpAddr> {
            addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect()
        });
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

fn gatekeeper(dir: &Path) -> Gatekeeper {
    let (config, material) = load(dir);
    let names = HashMap::from([
        ("worker-1", vec!["10.0.0.1"]),
        ("both.example", vec!["10.0.0.2", "10.0.0.1", "10.3.3.3"]),
        ("evil.example", vec!["169.254.169.254"]),
        (
            "mixed.example",
            vec!["127.0.0.1", "10.9.0.1", "fd00::1", "10.1.0.1"],
        ),
        ("a.web.example", vec!["10.2.0.1"]),
    ]);
    let lookup = Arc::new(Names(names));
    Gatekeeper::with_lookup(config, material.unwrap(), Handle::current(), lookup)
}

async fn ask(gatekeeper: &Gatekeeper, target: &str) -> Verdict {
    gatekeeper.admit(request(target)).await.unwrap()
}

fn request(target: &str) -> StreamRequest {
    StreamRequest {
        id: StreamId::new(0, 0, 1),
        listener: "uds".into(),
        peer: Peer::Unix {
            pid: 1,
            uid: 0,
            gid: 0,
        },
        target: target.parse().unwrap(),
        received: SystemTime::UNIX_EPOCH,
        hop: None,
    }
}

async fn connect(gatekeeper: &Gatekeeper, target: &str) -> Connect {
    match ask(gatekeeper, target).await {
        Verdict::Connect(connect) => *connect,
        Verdict::Refuse(refusal) => panic!("{target}: {refusal:?}"),
    }
}

async fn refusal(gatekeeper: &Gatekeeper, target: &str) -> Refusal {
    match ask(gatekeeper, target).await {
        Verdict::Refuse(refusal) => refusal,
        Verdict::Connect(connect) => panic!("{target}: {connect:?}"),
    }
}

fn addresses(connect: &Connect) -> Vec<String> {
    let Way::Dial(addresses) = &connect.way else {
        panic!("not dialled: {connect:?}")
    };
    addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn admit_has_decided_when_it_returns_unless_a_name_or_a_leaf_is_to_be_found() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let at_once = |target: &str| gatekeeper.admit(request(target)).try_recv();
    assert!(matches!(at_once("10.0.0.1:80"), Ok(Verdict::Connect(_))));
    assert!(matches!(at_once("10.9.0.1:80"), Ok(Verdict::Refuse(_))));
    assert!(at_once("worker-1:10250").is_err(), "a name");
    // A first leaf is signed by another thread, which mostly takes longer than the call.
    connect(&gatekeeper, "10.0.0.2:10250").await;
    assert!(matches!(at_once("10.0.0.2:10250"), Ok(Verdict::Connect(_))));
    // The leaf of one whose node nobody knows waits until the kubelet is verified.
    assert!(matches!(
        at_once("10.0.0.77:10250"),
        Ok(Verdict::Connect(_))
    ));
}

#[tokio::test]
async fn admit_own_listeners_are_denied_where_they_are_in_fact() {
    let dir = site(CONFIG);
    let (config, material) = load(dir.path());
    // What port 0 became, the authority in this process, and what listens on all addresses.
    let listening = ["10.0.0.1:1234", "10.0.0.2:443", "0.0.0.0:80"];
    let listening = listening.map(|address| address.parse().unwrap());
    let material = material.unwrap();
    let handle = Handle::current();
    let gatekeeper = Gatekeeper::listening(config, material, handle, listening.into());
    let refused = async |target: &str| {
        let refusal = refusal(&gatekeeper, target).await;
        assert!(
            refusal.words.contains("a listener of eyesplice itself"),
            "{refusal:?}"
        );
    };
    refused("10.0.0.1:1234").await;
    refused("10.0.0.2:443").await;
    connect(&gatekeeper, "10.0.0.3:1234").await;
    connect(&gatekeeper, "10.0.0.1:80").await;
    // A reload that configures other addresses lets go of none of these.
    let (config, material) = load(dir.path());
    gatekeeper.publish(config, material.unwrap());
    refused("10.0.0.1:1234").await;
}

#[tokio::test]
async fn admit_kubelet_is_terminated_with_its_node_and_leaf() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    for (target, address, node) in [
        ("10.0.0.2:10250", "10.0.0.2:10250", Some("worker-2")),
        ("worker-1:10250", "10.0.0.1:10250", Some("worker-1")),
        ("10.0.0.77:10250", "10.0.0.77:10250", None),
    ] {
        let verdict = connect(&gatekeeper, target).await;
        assert_eq!(addresses(&verdict), [address]);
        assert_eq!(
            (&*verdict.rule, verdict.node.as_deref()),
            ("kubelets", node)
        );
        assert_eq!(verdict.generation, 1);
        assert_eq!(verdict.limits.dial_timeout, Duration::from_secs(5));
        let (downstream, upstream, inside) = match verdict.mode {
            Mode::Terminate(ends) => (ends.downstream, ends.upstream, ends.inside),
            // Nobody knows its node before it is verified.
            Mode::TerminateVerified(ends) if node.is_none() => {
                let leaf = ends.leaf.leaf().await.unwrap().unwrap();
                (leaf, ends.upstream, ends.inside)
            }
            other => panic!("{target} is terminated: {other:?}"),
        };
        assert_eq!(downstream.config.alpn_protocols, [b"http/1.1"]);
        let name = target.rsplit_once(':').unwrap().0;
        assert_eq!(upstream.server_name.to_str(), name);
        let Inside::Kubelet(actions) = &inside else {
            panic!("a kubelet")
        };
        assert_eq!(
            actions.denies(Action::Run).map(|rule| &**rule),
            Some("no-run")
        );
        assert!(actions.denies(Action::Exec).is_none());
    }
    let cached = gatekeeper
        .state()
        .material
        .issuer
        .as_ref()
        .unwrap()
        .cached_leaves();
    assert_eq!(cached, 3);
}

#[tokio::test]
async fn admit_leaf_is_issued_once_per_name() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let mut leaves = Vec::new();
    for _ in 0..2 {
        let Mode::Terminate(terminate) = connect(&gatekeeper, "10.0.0.2:10250").await.mode else {
            panic!("it is terminated")
        };
        leaves.push(terminate.downstream.config);
    }
    assert!(Arc::ptr_eq(&leaves[0], &leaves[1]));
}

#[tokio::test]
async fn admit_other_actions_have_their_mode() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let verdict = connect(&gatekeeper, "a.web.example:443").await;
    let Mode::Terminate(terminate) = verdict.mode else {
        panic!("it is terminated")
    };
    assert!(matches!(terminate.inside, Inside::Opaque));
    assert_eq!(terminate.upstream.server_name.to_str(), "a.web.example");

    let verdict = connect(&gatekeeper, "10.2.0.1:80").await;
    let Mode::Originate(tls) = verdict.mode else {
        panic!("it is originated")
    };
    assert_eq!(tls.server_name.to_str(), "api.example");

    let verdict = connect(&gatekeeper, "10.2.0.1:443").await;
    assert!(matches!(verdict.mode, Mode::Splice));
    let verdict = connect(&gatekeeper, "[fd00::9]:1234").await;
    assert_eq!(addresses(&verdict), ["[fd00::9]:1234"]);
}

#[tokio::test]
async fn admit_name_with_several_addresses_keeps_what_is_allowed() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let verdict = connect(&gatekeeper, "mixed.example:1234").await;
    assert_eq!(addresses(&verdict), ["[fd00::1]:1234", "10.1.0.1:1234"]);
    // It leads to two nodes: the first one's address alone is dialled.
    let verdict = connect(&gatekeeper, "both.example:10250").await;
    assert_eq!(addresses(&verdict), ["10.0.0.2:10250"]);
    assert_eq!(verdict.node.as_deref(), Some("worker-2"));
}

#[tokio::test]
async fn admit_refusals_say_what_to_do() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let table = [
        (
            "10.1.0.1:22",
            403,
            None,
            "no rule allows 10.1.0.1:22; add one under egress.rules",
        ),
        (
            "other.example:22",
            403,
            None,
            "no rule allows other.example:22; add one",
        ),
        (
            "192.0.2.1:80",
            403,
            None,
            "no rule allows 192.0.2.1:80; add one",
        ),
        (
            "10.9.0.1:80",
            403,
            Some("no-db"),
            "10.9.0.1:80 is denied by rule no-db; change it",
        ),
        (
            "127.0.0.1:80",
            403,
            None,
            "127.0.0.1:80 is denied: it is a loopback address; correct",
        ),
        (
            "evil.example:80",
            403,
            None,
            "evil.example:80 at 169.254.169.254 is denied: it is a cloud metadata address; correct \
             the node's address, or list it in egress.insecureAllowTargets of eyesplice",
        ),
        (
            "nowhere.example:80",
            503,
            None,
            "cannot resolve nowhere.example; check DNS",
        ),
        (
            "slow.example:80",
            504,
            None,
            "slow.example was not resolved within 45ms; check",
        ),
    ];
    for (target, status, rule, reason) in table {
        let refusal = refusal(&gatekeeper, target).await;
        assert_eq!(
            (refusal.status, refusal.rule.as_deref()),
            (status, rule),
            "{refusal:?}"
        );
        assert!(
            refusal.words.starts_with(reason),
            "{reason}\n{}",
            refusal.words
        );
        assert!(
            refusal.words.len() <= 400 && refusal.words.bytes().all(|b| (32..127).contains(&b))
        );
    }
}

#[tokio::test]
async fn publish_new_streams_get_the_new_policy_and_number() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let cell = gatekeeper.snapshot_cell();
    assert_eq!(cell.load().generation, 1);
    assert_eq!(&*cell.load().allowed_uids["uds"], [7]);
    refusal(&gatekeeper, "10.9.0.1:80").await;

    let next = CONFIG.replace(
        "- {name: no-db, cidrs: [10.9.0.0/16], action: deny}\n  ",
        "",
    );
    let next = next.replace("verdict: 50ms", "verdict: 60ms, tcpKeepalive: 1s");
    std::fs::write(dir.path().join("gateway.yaml"), next).unwrap();
    let (config, material) = load(dir.path());
    let publication = gatekeeper.publish(config, material.unwrap());
    assert_eq!(publication.generation, 2);
    assert_eq!(publication.restart_required, ["timeouts.tcpKeepalive"]);
    assert_eq!(connect(&gatekeeper, "10.9.0.1:80").await.generation, 2);
    assert_eq!(cell.load().generation, 2);
    assert_eq!(
        cell.load().admission.admit_timeout,
        Duration::from_millis(60)
    );
}

#[tokio::test]
async fn publish_listener_that_is_gone_keeps_its_uids_until_the_restart() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let text = CONFIG
        .replace("name: uds", "name: renamed")
        .replace("[7]", "[8]");
    let config = Config::parse(&text, &dir.path().join("gateway.yaml"))
        .unwrap()
        .config;
    let material = load(dir.path()).1.unwrap();
    let publication = gatekeeper.publish(config, material);
    assert_eq!(
        publication.restart_required,
        ["listeners[0] (renamed: new)", "listeners (uds: removed)"]
    );
    let snapshot = gatekeeper.snapshot_cell().load();
    assert_eq!(&*snapshot.allowed_uids["uds"], [7]);
    assert_eq!(&*snapshot.allowed_uids["renamed"], [8]);
}

#[tokio::test]
async fn admit_worker_that_leaves_ends_the_decision() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let before = Handle::current().metrics().num_alive_tasks();
    let request = StreamRequest {
        id: StreamId::new(0, 0, 2),
        listener: "uds".into(),
        peer: Peer::Unix {
            pid: 1,
            uid: 0,
            gid: 0,
        },
        target: "slow.example:80".parse().unwrap(),
        received: SystemTime::UNIX_EPOCH,
        hop: None,
    };
    drop(gatekeeper.admit(request));
    // The lookup itself stays, as it holds a thread of the C library's; the decision does not.
    while Handle::current().metrics().num_alive_tasks() > before + 1 {
        tokio::task::yield_now().await;
    }
}
