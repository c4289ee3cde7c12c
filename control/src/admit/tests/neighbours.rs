//! Other gateways: where streams without an agent are passed on, and from whom they come.

use super::tunnels::{TUNNELS, through, tunnels};
use super::*;
use crate::config::Leases;
use eyesplice_authority::apiserver::Member;
use eyesplice_dataplane::seam::{Proxy, ProxyAddress};
use eyesplice_identity::pem::{self, FileRef};
use eyesplice_proto::tunnel::rank;
use rustls::pki_types::CertificateDer;
use std::sync::Mutex;

/// Another listener, and gateways by address and by name.
fn chained() -> String {
    let tcp = "listeners:
- name: api
  tcp:
    address: \"10.0.0.1:8131\"
    tlsCertFile: egress-server.crt
    tlsPrivateKeyFile: egress-server.key
    clientCAFile: egress-client-ca.crt
";
    let peers = "  nodeAgents: true
  peers:
    addresses: [\"10.0.1.1:8131\", \"10.0.1.2:8131\", \"gw.example:8131\"]
    caFile: egress-ca.crt
    certFile: egress-client.crt
    keyFile: egress-client.key
    names: [kube-apiserver-egress]
";
    TUNNELS
        .replace("listeners:\n", tcp)
        .replace("  nodeAgents: true\n", peers)
}

/// Knows what it was given last.
#[derive(Default)]
struct Changing(Mutex<Option<Vec<IpAddr>>>);

impl Lookup for Changing {
    fn lookup(&self, name: &str) -> LookupFuture {
        let known = self.0.lock().unwrap().clone();
        let found = known.filter(|_| name == "gw.example");
        Box::pin(async move { found.ok_or_else(|| std::io::Error::other("no such name")) })
    }
}

fn changing(dir: &Path) -> (Gatekeeper, Arc<Changing>) {
    let (config, material) = load(dir);
    let names = Arc::<Changing>::default();
    let lookup = Arc::clone(&names) as _;
    let gatekeeper = Gatekeeper::with_lookup(config, material.unwrap(), Handle::current(), lookup);
    (gatekeeper, names)
}

fn shown(elsewhere: &[Proxy]) -> Vec<String> {
    elsewhere.iter().map(|each| each.name.to_string()).collect()
}

/// In the order in which the agent with this user would choose.
fn ranked(user: &str, gateways: &[&str]) -> Vec<String> {
    let names: Vec<String> = gateways.iter().map(|ip| format!("{ip}:1234")).collect();
    let order = rank(user.as_bytes(), &names);
    order
        .into_iter()
        .map(|index| format!("{}:8131", gateways[index]))
        .collect()
}

/// In the order in which the agents with these users would choose, one place after the other.
fn merged(users: [&str; 2], gateways: &[&str]) -> Vec<String> {
    let ranked = users.map(|user| ranked(user, gateways));
    let mut order = Vec::new();
    for place in 0..gateways.len() {
        for each in &ranked {
            if !order.contains(&each[place]) {
                order.push(each[place].clone());
            }
        }
    }
    order
}

#[tokio::test]
async fn gateways_are_asked_in_the_order_in_which_the_agent_chooses_among_them() {
    let dir = tunnels(&chained());
    let (gatekeeper, names) = changing(dir.path());
    let asked = async || shown(&through(&gatekeeper, "10.4.0.9:80").await.elsewhere);
    let by_address = ["10.0.1.1", "10.0.1.2"];
    assert_eq!(asked().await, ranked("eyesplice:agent:edge", &by_address));
    gatekeeper.look_for_neighbours().await;
    assert_eq!(asked().await.len(), 2, "nobody answers");
    // This gateway is among them.
    let addresses = ["10.0.1.3", "10.0.0.1"].map(|ip| ip.parse().unwrap());
    *names.0.lock().unwrap() = Some(addresses.into());
    gatekeeper.look_for_neighbours().await;
    let all = ["10.0.1.1", "10.0.1.2", "10.0.1.3"];
    assert_eq!(asked().await, ranked("eyesplice:agent:edge", &all));
    let found = through(&gatekeeper, "worker-2:10250").await;
    let expected = merged(
        ["eyesplice:agent:node:worker-2", "system:node:worker-2"],
        &all,
    );
    assert_eq!(shown(&found.elsewhere), expected, "of a node's agents");
    let first = &found.elsewhere[0];
    assert_eq!(first.target.to_string(), "10.0.0.2:10250");
    assert_eq!(
        first.at,
        ProxyAddress::Tcp(vec![expected[0].parse().unwrap()])
    );
    assert!(first.tls.is_some());
    *names.0.lock().unwrap() = None;
    gatekeeper.look_for_neighbours().await;
    assert_eq!(asked().await.len(), 3, "the last known are kept");
    // Nobody is granted it, so nobody has an agent for it.
    let nobody = through(&gatekeeper, "10.9.9.9:80").await;
    assert!(nobody.elsewhere.is_empty());
    let (config, material) = {
        let dir = tunnels(TUNNELS);
        let (config, material) = load(dir.path());
        (config, material.unwrap())
    };
    gatekeeper.publish(config, material);
    assert_eq!(asked().await, [""; 0], "by a configuration without them");
}

#[tokio::test]
async fn gateways_that_leases_list_are_asked_and_told_of() {
    let dir = tunnels(&chained());
    let (gatekeeper, _) = changing(dir.path());
    assert!(gatekeeper.gateways().is_empty(), "there are no Leases");
    let own = Leases {
        kubeconfig_file: None,
        namespace: "eyesplice".to_owned(),
        name: "a".to_owned(),
        address: "10.0.0.1:1234".parse().unwrap(),
        peer_address: Some("10.0.0.1:8131".parse().unwrap()),
        interval: Duration::from_secs(10),
    };
    let member = |name: &str, ip: &str, peer: bool| Member {
        name: name.to_owned(),
        tunnel: format!("{ip}:1234").parse().unwrap(),
        peer: peer.then(|| format!("{ip}:8131").parse().unwrap()),
    };
    let present = [
        member("a", "10.0.0.1", true),
        member("b", "10.0.1.7", true),
        member("c", "10.0.1.8", false),
    ];
    gatekeeper.know(&present, Some(&own));
    let told: Vec<String> = gatekeeper
        .gateways()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(told, ["10.0.0.1:1234", "10.0.1.7:1234", "10.0.1.8:1234"]);
    let asked = async || shown(&through(&gatekeeper, "10.4.0.9:80").await.elsewhere);
    let all = ["10.0.1.1", "10.0.1.2", "10.0.1.7"];
    assert_eq!(asked().await, ranked("eyesplice:agent:edge", &all));
    // A look at the names forgets none of them; a list without them does.
    gatekeeper.look_for_neighbours().await;
    assert_eq!(asked().await.len(), 3);
    gatekeeper.know(&[], Some(&own));
    assert_eq!(asked().await.len(), 2);
    assert_eq!(&*gatekeeper.gateways(), [own.address], "it is there itself");
    gatekeeper.know(&[], None);
    assert!(gatekeeper.gateways().is_empty());
}

async fn passed_on(
    gatekeeper: &Gatekeeper,
    target: &str,
    by: &[CertificateDer<'static>],
) -> Verdict {
    let mut request = request(target);
    request.hop = Some(by.into());
    gatekeeper.admit(request).await.unwrap()
}

#[tokio::test]
async fn stream_that_was_passed_on_is_spliced_to_an_agent_and_judged_as_any_other() {
    let dir = tunnels(&chained());
    let (gatekeeper, _) = changing(dir.path());
    let chain = |name: &str| -> Vec<CertificateDer<'static>> {
        pem::certificates(&FileRef::new("test", dir.path().join(name))).unwrap()
    };
    let gateway = chain("egress-client.crt");
    for (target, route) in [
        ("10.0.0.2:10250", "node worker-2"),
        ("10.4.0.9:80", "address 10.4.0.9"),
        ("db.lab.example:443", "name db.lab.example"),
    ] {
        let verdict = passed_on(&gatekeeper, target, &gateway).await;
        let Verdict::Connect(connect) = verdict else {
            panic!("{target}: {verdict:?}")
        };
        assert!(matches!(connect.mode, Mode::Splice), "{target}");
        let Way::Tunnel(through) = connect.way else {
            panic!("{target}: {:?}", connect.way)
        };
        assert_eq!(through.routes[0].to_string(), route);
        assert!(through.elsewhere.is_empty(), "never onward");
    }
    for (target, by, words) in [
        ("10.5.0.1:80", &gateway, "does not lead to an agent"),
        ("127.0.0.1:80", &gateway, "is a loopback address"),
        (
            "a.secret.lab.example:443",
            &gateway,
            "denied by rule secret",
        ),
        (
            "10.4.0.9:80",
            &chain("agent-edge.crt"),
            "may not pass streams on",
        ),
        (
            "10.4.0.9:80",
            &Vec::new(),
            "a client without a certificate may not",
        ),
    ] {
        let verdict = passed_on(&gatekeeper, target, by).await;
        let Verdict::Refuse(refusal) = verdict else {
            panic!("{target}: {verdict:?}")
        };
        assert_eq!(refusal.status, 403, "{target}");
        assert!(refusal.words.contains(words), "{target}: {}", refusal.words);
    }
    // Without a header it is a client as any other.
    let kubelet = connect(&gatekeeper, "10.0.0.2:10250").await;
    assert!(matches!(kubelet.mode, Mode::Terminate(_)));
}
