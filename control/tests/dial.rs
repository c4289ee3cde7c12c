//! `eyesplice check --dial` against kubelets that are good, wrong, silent and not there.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

use eyesplice_proto::tls::provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;

/// The nodes of the inventory, each at an address of its own on loopback.
const NODES: [(&str, &str); 7] = [
    ("good", "127.0.71.1"),
    ("alone", "127.0.71.2"),
    ("impostor", "127.0.71.3"),
    ("closed", "127.0.71.4"),
    ("silent", "127.0.71.5"),
    ("spliced", "127.0.72.1"),
    ("unruled", "127.0.73.1"),
];

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A directory with a tree of certificates and a configuration, and kubelets that it leads to.
struct Site {
    dir: TempDir,
    port: u16,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let nodes = NODES.map(|(name, address)| format!("{name}={address}"));
        let mut arguments = vec!["pki", "init", "pki", "--apiserver", "127.0.0.1"];
        arguments.extend(["--agent", "edge-1"]);
        arguments.extend(nodes.iter().flat_map(|node| ["--node", node.as_str()]));
        let made = eyesplice(dir.path(), &arguments);
        assert!(made.status.success(), "{made:?}");
        let listeners = listeners(&["127.0.71.1", "127.0.71.2", "127.0.71.3", "127.0.71.5"]);
        let port = listeners[0].local_addr().unwrap().port();
        let [good, alone, impostor, silent] = listeners.try_into().unwrap();
        let file = |name: &str| dir.path().join("pki").join(name);
        let own = issued(&file("kubelet-good.crt"), &file("kubelet-good.key"));
        serve(good, Some(own));
        serve(alone, Some(self_signed("127.0.71.2")));
        let others = issued(&file("kubelet-good.crt"), &file("kubelet-good.key"));
        serve(impostor, Some(others));
        serve(silent, None);
        Self { dir, port }
    }

    /// Writes the configuration.
    fn configure(&self, verification: &str) {
        let config = format!(
            "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\n\
             listeners: [{{name: uds, unix: {{path: egress.sock}}}}]\n\
             egress:\n  insecureAllowTargets: [127.0.0.0/8]\n  rules:\n\
             \x20 - {{name: kubelets, cidrs: [127.0.71.0/24], action: terminate}}\n\
             \x20 - {{name: rest, cidrs: [127.0.72.0/24], action: splice}}\n\
             egressCA: {{certFile: pki/egress-ca-chain.crt, keyFile: pki/egress-ca.key}}\n\
             kubelet:\n  caFile: pki/kubelet-serving-ca.crt\n\
             \x20 clientCertFile: pki/eyesplice-kubelet-client.crt\n\
             \x20 clientKeyFile: pki/eyesplice-kubelet-client.key\n\
             \x20 apiserverClientCAFile: pki/ca.crt\n\
             \x20 inventoryFile: pki/inventory.yaml\n\
             \x20 verification: {verification}\n\
             timeouts: {{handshake: 3s}}\n"
        );
        std::fs::write(self.dir.path().join("gateway.yaml"), config).unwrap();
    }

    fn check(&self, more: &[&str]) -> Output {
        let port = self.port.to_string();
        let arguments = [&["check", "--dial", "gateway.yaml", "--port", &port], more];
        eyesplice(self.dir.path(), &arguments.concat())
    }
}

fn eyesplice(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eyesplice"))
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Listeners at these addresses, on one port that is free at all of them.
fn listeners(addresses: &[&str]) -> Vec<TcpListener> {
    loop {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = addresses[1..].iter();
        let others: Result<Vec<_>, _> = others
            .map(|address| TcpListener::bind((*address, port)))
            .collect();
        if let Ok(others) = others {
            return std::iter::once(first).chain(others).collect();
        }
    }
}

fn issued(certificate: &PathBuf, key: &PathBuf) -> Identity {
    let chain = CertificateDer::pem_file_iter(certificate).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_file(key).unwrap())
}

fn self_signed(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    (vec![made.cert.der().clone()], key.into())
}

/// Shakes hands with every client as this identity; without one it says nothing.
fn serve(listener: TcpListener, identity: Option<Identity>) {
    let config = identity.map(|(chain, key)| {
        let builder = ServerConfig::builder_with_provider(provider::shared());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        Arc::new(config.unwrap())
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let config = config.clone();
            std::thread::spawn(move || {
                if let Some(config) = config {
                    let mut session = ServerConnection::new(config).unwrap();
                    // A client that refuses us leaves as it likes.
                    while session.is_handshaking() && session.complete_io(&mut stream).is_ok() {}
                }
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn dial_says_who_would_fail_and_why() {
    let site = Site::new();
    for verification in ["enforce", "observe"] {
        site.configure(verification);
        let output = site.check(&[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let table = text(&output.stdout);
        let port = site.port;
        for part in [
            "good      127.0.71.1  verified     CN=system:node:good,O=system:nodes\n".to_owned(),
            "alone     127.0.71.2  refused      self_signed\n".to_owned(),
            format!("  kubelet alone at 127.0.71.2:{port} presented a self-signed certificate"),
            "; set serverTLSBootstrap: true and approve its CSR".to_owned(),
            "impostor  127.0.71.3  refused      wrong_name\n".to_owned(),
            format!("  127.0.71.4:{port} refused the connection; is the kubelet listening"),
            format!("  127.0.71.5:{port} accepted the connection but did not finish TLS within 3s"),
            "spliced   127.0.72.1  not-dialled  -\n".to_owned(),
            "  rule rest has action splice, which validates no kubelet\n".to_owned(),
            format!("  no rule allows 127.0.73.1:{port}; add one under egress.rules"),
            "enforce 1 nodes would pass, 5 would fail, 1 cannot be dialled from here\n".to_owned(),
        ] {
            assert!(table.contains(&part), "{part}\n{table}");
        }
    }
}

#[test]
fn dial_in_json_has_every_address() {
    let site = Site::new();
    site.configure("enforce");
    let output = site.check(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], true);
    let dial = &json["dial"];
    let counts = [&dial["passes"], &dial["fails"], &dial["notDialled"]];
    assert_eq!(counts.map(|count| count.as_u64().unwrap()), [1, 5, 1]);
    let nodes = dial["nodes"].as_array().unwrap();
    let seen: Vec<_> = nodes
        .iter()
        .map(|node| {
            let first = &node["addresses"][0];
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let cause = of(&first["cause"]);
            [
                of(&node["name"]),
                of(&node["verdict"]),
                of(&first["result"]),
                cause,
            ]
        })
        .collect();
    let wanted = [
        ["alone", "fails", "refused", "self_signed"],
        ["closed", "fails", "unreached", ""],
        ["good", "passes", "verified", ""],
        ["impostor", "fails", "refused", "wrong_name"],
        ["silent", "fails", "unreached", ""],
        ["spliced", "not-dialled", "not-dialled", ""],
        ["unruled", "fails", "denied", ""],
    ];
    assert_eq!(seen, wanted);
}

#[test]
fn dial_of_good_nodes_alone_exits_0() {
    let site = Site::new();
    site.configure("observe");
    let inventory = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n\
                     - {name: good, addresses: [127.0.71.1]}\n";
    std::fs::write(site.dir.path().join("some.yaml"), inventory).unwrap();
    let output = site.check(&["--inventory", "some.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("1 nodes would pass, 0 would fail"));
}

#[test]
fn dial_without_nodes_says_where_they_are_to_be_listed() {
    let site = Site::new();
    site.configure("enforce");
    let path = site.dir.path().join("gateway.yaml");
    let config = text(&std::fs::read(&path).unwrap());
    let config = config.replace("  inventoryFile: pki/inventory.yaml\n", "");
    std::fs::write(&path, &config).unwrap();
    let output = site.check(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("set kubelet.inventoryFile, or give --inventory or"),
        "{said}"
    );

    let output = site.check(&["--kubeconfig", "pki/absent"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("pki/absent cannot be used"), "{said}");

    std::fs::write(&path, config.replace("egressCA", "egresCA")).unwrap();
    let output = site.check(&["-o", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["valid"], false);
    let errors = json["errors"].as_array().unwrap();
    let messages = errors
        .iter()
        .map(|error| error["message"].as_str().unwrap());
    let unknown = "egresCA (line 9, column 1): is not a known field";
    assert!(
        messages
            .into_iter()
            .any(|message| message.starts_with(unknown)),
        "{json}"
    );
}

#[test]
fn dial_of_what_is_no_gateway_is_refused() {
    let site = Site::new();
    let agent = "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\n\
                 identity: {certFile: pki/agent-edge-1.crt, keyFile: pki/agent-edge-1.key}\n\
                 gateways: {addresses: [\"gw.example:8133\"], caFile: pki/egress-ca.crt}\n\
                 allow: {cidrs: [10.0.0.0/8]}\n";
    std::fs::write(site.dir.path().join("gateway.yaml"), agent).unwrap();
    let output = site.check(&[]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("only the configuration of a gateway"),
        "{said}"
    );
}
