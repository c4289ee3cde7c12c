//! Targets behind agents: by which routes, and who an agent is.

use super::handshakes::{handshake, name};
use super::*;
use crate::config::AgentConfig;
use crate::material::AgentMaterial;
use eyesplice_dataplane::seam::{ProxyAddress, Route, Through};
use eyesplice_identity::pem::{self, FileRef};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

pub(super) const TUNNELS: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock}
- name: agents
  tunnel:
    address: \"10.0.0.1:1234\"
    tlsCertFile: egress-server.crt
    tlsPrivateKeyFile: egress-server.key
    clientCAFile: tunnel-ca.crt
tunnel:
  agents:
  - {name: edge, cidrs: [10.4.0.0/16, \"fd00::/8\"], dnsSuffixes: [lab.example]}
  nodeAgents: true
  denyFile: deny.yaml
egress:
  rules:
  - {name: secret, dnsSuffixes: [secret.lab.example], action: deny}
  - {name: near, cidrs: [10.5.0.0/16], action: splice}
  - {name: kubelets, cidrs: [10.0.0.0/16], ports: [10250], action: terminate, via: tunnel}
  - {name: lab, dnsSuffixes: [lab.example], ports: [443], action: splice, via: tunnel}
  - {name: behind, cidrs: [10.0.0.0/8, \"fd00::/8\", 127.0.0.0/8], action: splice, via: tunnel}
egressCA: {certFile: egress-ca.crt, keyFile: egress-ca.key}
kubelet:
  caFile: kubelet-serving-ca.crt
  clientCertFile: eyesplice-kubelet-client.crt
  clientKeyFile: eyesplice-kubelet-client.key
  apiserverClientCAFile: ca.crt
  inventoryFile: inventory.yaml
  warm: true
timeouts: {verdict: 50ms}
";

const NOBODY: &str =
    "apiVersion: eyesplice.dev/v1alpha1\nkind: TunnelDenyList\nnames: []\nserials: []\n";

pub(super) fn tunnels(config: &str) -> tempfile::TempDir {
    let dir = site(config);
    let agents = ["edge", "other"].map(|name| name.parse().unwrap());
    let added = eyesplice_identity::pki::Added {
        agents: agents.into(),
        ..Default::default()
    };
    let tree = eyesplice_identity::pki::Tree::open(dir.path(), None).unwrap();
    tree.issue(&[], &added, false).unwrap();
    std::fs::write(dir.path().join("deny.yaml"), NOBODY).unwrap();
    dir
}

pub(super) async fn through(gatekeeper: &Gatekeeper, target: &str) -> Through {
    let verdict = connect(gatekeeper, target).await;
    assert!(verdict.warm.is_none(), "{target}: a spare is of a dial");
    let Way::Tunnel(through) = verdict.way else {
        panic!("{target} is reached otherwise: {:?}", verdict.way)
    };
    through
}

fn routes(through: &Through) -> Vec<String> {
    through.routes.iter().map(Route::to_string).collect()
}

pub(super) fn with_names(dir: &Path, names: &[(&'static str, &[&'static str])]) -> Gatekeeper {
    let (config, material) = load(dir);
    let names = names
        .iter()
        .map(|(name, addresses)| (*name, addresses.to_vec()));
    let lookup = Arc::new(Names(names.collect()));
    Gatekeeper::with_lookup(config, material.unwrap(), Handle::current(), lookup)
}

#[tokio::test]
async fn admit_target_behind_agents_is_found_by_node_address_or_name() {
    let dir = tunnels(TUNNELS);
    let names: [(&str, &[&str]); 3] = [
        ("svc.example", &["10.9.0.1", "10.4.0.9"]),
        ("api.lab.example", &["10.4.7.7"]),
        ("near.example", &["10.5.0.1"]),
    ];
    let gatekeeper = with_names(dir.path(), &names);
    for (target, by, dialled) in [
        // A node of the inventory, by address and by a name that nobody here resolves.
        (
            "10.0.0.1:10250",
            vec!["node worker-1", "address 10.0.0.1"],
            "10.0.0.1:10250",
        ),
        (
            "worker-2:10250",
            vec!["node worker-2", "address 10.0.0.2"],
            "10.0.0.2:10250",
        ),
        (
            "10.0.0.77:10250",
            vec!["address 10.0.0.77"],
            "10.0.0.77:10250",
        ),
        ("[fd00::7]:80", vec!["address fd00::7"], "[fd00::7]:80"),
        // Of several addresses the one that an agent may carry.
        ("svc.example:80", vec!["address 10.4.0.9"], "10.4.0.9:80"),
        // What resolves here is dialled as it was checked; what does not, the agent resolves.
        (
            "api.lab.example:443",
            vec!["address 10.4.7.7"],
            "10.4.7.7:443",
        ),
        (
            "db.lab.example:443",
            vec!["name db.lab.example"],
            "db.lab.example:443",
        ),
        // Behind an agent it is another host's.
        (
            "10.0.0.1:1234",
            vec!["node worker-1", "address 10.0.0.1"],
            "10.0.0.1:1234",
        ),
    ] {
        let found = through(&gatekeeper, target).await;
        assert_eq!(routes(&found), by, "{target}");
        assert_eq!(found.target.to_string(), dialled, "{target}");
    }
    let near = connect(&gatekeeper, "near.example:80").await;
    assert_eq!(addresses(&near), ["10.5.0.1:80"]);
    let kubelet = connect(&gatekeeper, "worker-2:10250").await;
    assert_eq!(kubelet.node.as_deref(), Some("worker-2"));
    assert!(matches!(kubelet.mode, Mode::Terminate(_)));
}

#[tokio::test]
async fn admit_tunnel_changes_nothing_of_what_is_denied() {
    let dir = tunnels(TUNNELS);
    let gatekeeper = with_names(dir.path(), &[("loop.lab.example", &["127.0.0.1"])]);
    for (target, words) in [
        ("127.0.0.1:80", "is a loopback address"),
        ("loop.lab.example:443", "is a loopback address"),
        ("169.254.169.254:80", "is a cloud metadata address"),
        ("a.secret.lab.example:443", "denied by rule secret"),
        // Names are the agents' only where a rule says so, and at its ports.
        ("db.lab.example:80", "cannot resolve db.lab.example"),
        ("db.other.example:443", "cannot resolve db.other.example"),
        // A name that is slow to answer is not a name that nobody knows.
        ("slow.example:443", "slow.example was not resolved within"),
    ] {
        let refusal = refusal(&gatekeeper, target).await;
        assert!(refusal.words.contains(words), "{target}: {}", refusal.words);
    }
}

#[tokio::test]
async fn agent_is_judged_by_certificate_grant_and_deny_list_of_the_configuration_in_force() {
    let dir = tunnels(TUNNELS);
    let gatekeeper = with_names(dir.path(), &[]);
    let chain = |name: &str| -> Vec<CertificateDer<'static>> {
        pem::certificates(&FileRef::new("test", dir.path().join(name))).unwrap()
    };
    let edge = chain("agent-edge.crt");
    let grant = gatekeeper.agent(&edge).unwrap();
    assert_eq!(&*grant.name, "edge");
    assert!(grant.covers(&Route::Address("10.4.0.9".parse().unwrap())));
    let node = gatekeeper
        .agent(&chain("kubelet-client-worker-1.crt"))
        .unwrap();
    assert_eq!(&*node.nodes, [Arc::from("worker-1")]);
    assert!(node.covers(&Route::Address("10.0.0.1".parse().unwrap())));
    let words = |chain: &[CertificateDer<'_>]| gatekeeper.agent(chain).unwrap_err().words;
    assert!(words(&chain("agent-other.crt")).contains("add {name: other, ..} to tunnel.agents"));
    assert!(words(&chain("egress-client.crt")).contains("is no agent's"));
    let limits = gatekeeper.snapshot_cell().load().tunnel.clone().unwrap();
    assert_eq!((limits.max_agents, limits.parked), (10_000, 0..=8));

    let denied = NOBODY.replace("names: []", "names: [edge]");
    std::fs::write(dir.path().join("deny.yaml"), denied).unwrap();
    let (config, material) = load(dir.path());
    gatekeeper.publish(config, material.unwrap());
    assert!(words(&edge).contains("agent edge is revoked"));
}

#[tokio::test]
async fn agent_of_a_gateway_without_tunnels_is_refused() {
    let dir = site(CONFIG);
    let gatekeeper = gatekeeper(dir.path());
    let words = gatekeeper.agent(&[]).unwrap_err().words;
    assert!(words.contains("takes no agents"), "{words}");
    assert_eq!(gatekeeper.snapshot_cell().load().tunnel, None);
}

#[test]
fn tunnel_listener_takes_agents_that_take_it_and_nobody_else() {
    let dir = tunnels(TUNNELS);
    let (_, material) = load(dir.path());
    let material = material.unwrap();
    assert_eq!(material.warnings, Vec::<String>::new());
    let server = Arc::clone(&material.listeners["agents"].config);
    let agent = |user: &str, ca: &str| {
        let text = format!(
            "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\n\
             identity: {{certFile: {user}.crt, keyFile: {user}.key}}\n\
             gateways: {{addresses: [\"127.0.0.1:1\"], caFile: {ca}}}\n\
             allow: {{cidrs: [10.0.0.0/8]}}\n"
        );
        let config = AgentConfig::parse(&text, &dir.path().join("agent.yaml"))
            .unwrap()
            .config;
        let loaded = AgentMaterial::load_after(&config, SystemTime::now(), &[]);
        loaded.unwrap().tls
    };
    let shake = |client, host| handshake(client, name(host), Arc::clone(&server));
    let edge = agent("agent-edge", "egress-ca.crt");
    shake(Arc::clone(&edge), "127.0.0.1").unwrap();
    assert!(
        shake(Arc::clone(&edge), "10.9.9.9").is_err(),
        "another gateway"
    );
    assert!(
        shake(agent("agent-edge", "ca.crt"), "127.0.0.1").is_err(),
        "a strange gateway"
    );
    assert!(
        shake(agent("egress-client", "egress-ca.crt"), "127.0.0.1").is_err(),
        "no agent"
    );
    let mut other = ClientConfig::clone(&edge);
    other.alpn_protocols = vec![b"http/1.1".to_vec()];
    assert!(
        shake(Arc::new(other), "127.0.0.1").is_err(),
        "another protocol"
    );

    std::fs::remove_file(dir.path().join("deny.yaml")).unwrap();
    let errors = load(dir.path()).1.unwrap_err().to_string();
    assert!(errors.contains("tunnel.denyFile: "), "{errors}");
}

#[tokio::test]
async fn rule_with_a_proxy_asks_it_for_the_address_that_passed() {
    let dir = site(
        "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners: [{name: uds, unix: {path: egress.sock}}]
egress:
  rules:
  - name: local
    cidrs: [10.3.0.0/16]
    action: splice
    via: proxy
    proxy: {name: old, unix: p.sock}
  - name: far
    cidrs: [10.2.0.0/16]
    action: splice
    via: proxy
    proxy: {name: site, address: '198.51.100.7:8131', caFile: ca.crt, serverName: site.example}
",
    );
    let gatekeeper = with_names(dir.path(), &[("a.web.example", &["10.2.0.1"])]);
    let proxied = async |target: &str| match connect(&gatekeeper, target).await.way {
        Way::Proxy(proxy) => proxy,
        way => panic!("{target} is reached otherwise: {way:?}"),
    };
    let proxy = proxied("10.3.0.9:10250").await;
    assert_eq!(
        (&*proxy.name, proxy.target.to_string()),
        ("old", "10.3.0.9:10250".into())
    );
    assert_eq!(proxy.at, ProxyAddress::Unix(dir.path().join("p.sock")));
    assert!(proxy.tls.is_none());
    let proxy = proxied("a.web.example:443").await;
    assert_eq!(proxy.target.to_string(), "10.2.0.1:443");
    let tls = proxy.tls.unwrap();
    assert_eq!(tls.server_name, "site.example".try_into().unwrap());
}

#[tokio::test]
async fn admit_tls_with_the_agent_may_end_for_terminated_kubelets_alone() {
    let only = TUNNELS.replace(
        "  nodeAgents: true\n",
        "  nodeAgents: true\n  inner: only\n",
    );
    let observed = only.replace("  warm: true\n", "  warm: true\n  verification: observe\n");
    for (config, kubelet) in [(TUNNELS, false), (&*only, true), (&*observed, false)] {
        let dir = tunnels(config);
        let gatekeeper = with_names(dir.path(), &[("api.lab.example", &["10.4.7.7"])]);
        let found = through(&gatekeeper, "10.0.0.7:10250").await;
        assert_eq!(found.inner_only, kubelet, "{config}");
        // What is spliced may be plain text.
        for target in ["10.4.0.9:80", "api.lab.example:443", "10.0.0.7:443"] {
            assert!(!through(&gatekeeper, target).await.inner_only, "{target}");
        }
    }
}
