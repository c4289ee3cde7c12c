//! Leaves: what they are, how long they live, and how many are kept.

mod lifetimes;

use super::*;
use eyesplice_identity::pem::{CaBundle, FileRef, PrivateKey};
use eyesplice_identity::pki::testing::{
    Made, NOW, Recipe, authority, authority_of_two, client, kubelet, now,
};
use eyesplice_identity::pki::{
    DEFAULT_SERVICE_IP, InitOptions, RenewedKey, Source, Step, Tree, init,
};
use eyesplice_identity::verify::client_verifier;
use eyesplice_proto::tls::provider;
use rcgen::{BasicConstraints, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::UnixTime;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use std::process::Command;
use time::Duration as Span;

fn issuer_of(ca: &Made, capacity: usize, clients: Option<&Made>) -> LeafIssuer {
    let key = PrivateKey::from(ca.private_key());
    LeafIssuer::new(LeafOptions {
        authority: Authority::new(vec![ca.der()], &key).unwrap(),
        lifetime: DEFAULT_LIFETIME,
        capacity,
        clients: clients.map(|ca| client_verifier(ca.roots(), &[]).unwrap()),
        tickets: Tickets::none(),
    })
    .unwrap()
}

fn host(text: &str) -> Host {
    text.parse().unwrap()
}

/// Shakes hands with a leaf's server, as the API server does.
fn shake(
    server: Arc<ServerConfig>,
    roots: Arc<RootCertStore>,
    name: &Host,
    own: Option<&Made>,
) -> Result<(ClientConnection, ServerConnection), TlsError> {
    let builder = ClientConfig::builder_with_provider(provider::shared())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder
            .with_client_auth_cert(vec![own.der()], own.private_key())
            .unwrap(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(name.to_string()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut bytes = &wire[..];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((client, server))
}

/// The leaf that a server presents at the test's time.
fn facts(issuer: &LeafIssuer, name: &str, at: SystemTime) -> CertificateFacts {
    let leaf = issuer
        .issue(&host(name), None, ClientAuth::None, at)
        .unwrap();
    CertificateFacts::read(&leaf_chain(&leaf)[0]).unwrap()
}

fn leaf_chain(leaf: &Leaf) -> Vec<CertificateDer<'static>> {
    let server = Arc::clone(&leaf.tls.config);
    let (client, _) = shake_blindly(server);
    client
        .peer_certificates()
        .unwrap()
        .iter()
        .map(|der| der.clone().into_owned())
        .collect()
}

/// Takes whatever is presented: the leaves of tests live at the test's time, not at the clock's.
fn shake_blindly(server: Arc<ServerConfig>) -> (ClientConnection, ServerConnection) {
    let nothing = authority("nobody").self_signed();
    let trust =
        eyesplice_identity::verify::Trust::kubelets(eyesplice_identity::verify::KubeletTrust {
            roots: nothing.roots(),
            pins: Arc::default(),
            inventory: None,
            mode: eyesplice_identity::verify::Mode::Observe,
        });
    let spec = eyesplice_identity::verify::UpstreamSpec {
        trust: Arc::new(trust.unwrap()),
        expected: eyesplice_identity::verify::Expected::kubelet(host("10.0.0.7"), 10250, None),
        client: None,
    };
    let upstream = eyesplice_identity::verify::upstream_tls(spec).unwrap();
    let mut client = ClientConnection::new(upstream.config, upstream.server_name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets().unwrap();
    }
    (client, server)
}

#[test]
fn leaf_is_for_the_dialled_host_and_for_servers_only() {
    let ca = authority("egress-ca").self_signed();
    let issuer = issuer_of(&ca, 4, None);
    for name in ["10.0.0.7", "fd00::7", "worker-3.example", "a_b.example"] {
        let facts = facts(&issuer, name, now());
        assert_eq!(facts.names, [name]);
        assert_eq!(facts.subject.common_name.as_deref(), Some(name));
        assert_eq!(facts.issuer.to_string(), "CN=egress-ca");
        assert!(facts.usage.server && !facts.usage.client && facts.usage.sign);
        assert!(!facts.authority && !facts.usage.sign_certificates);
        assert_eq!(facts.not_before, NOW - Span::minutes(5));
        assert_eq!(facts.not_after, NOW + Span::hours(24));
    }
    let long = format!("{}.example", "a".repeat(60));
    let facts = facts(&issuer, &long, now());
    assert_eq!(facts.names, [long]);
    assert_eq!(
        facts.subject.common_name.as_deref(),
        Some(FALLBACK_COMMON_NAME)
    );
}

/// It says who the node is, and nobody is that node by it.
#[test]
fn leaf_of_a_known_node_has_its_subject_and_is_no_clients() {
    let ca = authority("egress-ca").self_signed();
    let issuer = issuer_of(&ca, 4, None);
    let node: Arc<str> = "worker-3".into();
    let at = SystemTime::now();
    let leaf = |node| {
        let leaf = issuer.issue(&host("10.0.0.7"), node, ClientAuth::None, at);
        leaf_chain(&leaf.unwrap())
    };
    let chain = leaf(Some(&node));
    let facts = CertificateFacts::read(&chain[0]).unwrap();
    let subject = "CN=system:node:worker-3,O=system:nodes";
    assert_eq!(facts.subject.to_string(), subject);
    assert_eq!(facts.names, ["10.0.0.7"]);
    assert!(facts.usage.server && !facts.usage.client);

    // By our own verifier, by the one of the authority's server, and by webpki itself.
    let time = UnixTime::now();
    for verifier in [
        client_verifier(ca.roots(), &[]).unwrap(),
        client_verifier(ca.roots(), &["system:node:worker-3".into()]).unwrap(),
        WebPkiClientVerifier::builder_with_provider(ca.roots(), provider::shared())
            .allow_unauthenticated()
            .build()
            .unwrap(),
    ] {
        let refused = verifier.verify_client_cert(&chain[0], &chain[1..], time);
        assert!(refused.is_err(), "{refused:?}");
    }
    let certificate = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
    let judge = |usage: webpki::KeyUsage| {
        let algorithms = provider::shared().signature_verification_algorithms.all;
        let roots = ca.roots();
        let anchors = &roots.roots;
        let path =
            certificate.verify_for_usage(algorithms, anchors, &chain[1..], time, usage, None, None);
        path.is_ok()
    };
    assert!(judge(webpki::KeyUsage::server_auth()));
    assert!(!judge(webpki::KeyUsage::client_auth()));

    let at_once = |node| issuer.cached(&host("10.0.0.8"), node, ClientAuth::None, at);
    let named = host("10.0.0.8");
    issuer
        .tls_server(&named, Some(&node), ClientAuth::None, at)
        .unwrap();
    assert!(at_once(Some(&node)).is_some());
    assert!(at_once(None).is_none(), "another subject is another leaf");
}

#[test]
fn leaf_serials_are_random_and_the_key_is_shared() {
    let issuer = issuer_of(&authority("egress-ca").self_signed(), 4, None);
    let (a, b) = (
        facts(&issuer, "10.0.0.7", now()),
        facts(&issuer, "10.0.0.7", now()),
    );
    assert_ne!(a.serial, b.serial);
    assert_eq!(a.spki, b.spki);
    assert!(a.serial.len() >= 3 * 8, "{}", a.serial);
}

#[test]
fn leaf_satisfies_a_strict_client_with_every_kind_of_ca_key() {
    let algorithms: [&'static SignatureAlgorithm; 3] = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ];
    for algorithm in algorithms {
        let ca = Recipe {
            algorithm,
            ..authority("egress-ca")
        }
        .self_signed();
        let issuer = issuer_of(&ca, 4, None);
        for name in ["10.0.0.7", "worker-3.example"] {
            let name = host(name);
            let server = issuer
                .tls_server(&name, None, ClientAuth::None, SystemTime::now())
                .unwrap()
                .config;
            let (client, _) = shake(server, ca.roots(), &name, None).unwrap();
            assert_eq!(
                client.alpn_protocol(),
                Some(&b"http/1.1"[..]),
                "{algorithm:?}"
            );
        }
    }
}

#[test]
fn leaf_of_an_rsa_ca_satisfies_a_strict_client() {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .current_dir(dir.path())
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=egress-ca", "-keyout", "key", "-out", "crt"])
        .output();
    let Ok(made) = made else {
        eprintln!("SKIPPED: leaf_of_an_rsa_ca_satisfies_a_strict_client: no openssl here");
        return;
    };
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let file = |name: &str| FileRef::new("egressCA", dir.path().join(name));
    let authority = Authority::load(&file("crt"), &file("key")).unwrap();
    let roots = CaBundle::load(file("crt")).unwrap().roots;
    let lifetime = DEFAULT_LIFETIME;
    let options = LeafOptions {
        authority,
        lifetime,
        capacity: 4,
        clients: None,
        tickets: Tickets::none(),
    };
    let issuer = LeafIssuer::new(options).unwrap();
    let name = host("10.0.0.7");
    let server = issuer
        .tls_server(&name, None, ClientAuth::None, SystemTime::now())
        .unwrap()
        .config;
    shake(server, roots, &name, None).unwrap();
}

#[test]
fn leaf_of_an_intermediate_comes_with_its_chain() {
    let root = authority("root").self_signed();
    let middle = authority("egress-ca").signed_by(&root);
    let key = PrivateKey::from(middle.private_key());
    let issuer = LeafIssuer::new(LeafOptions {
        authority: Authority::new(vec![middle.der(), root.der()], &key).unwrap(),
        lifetime: DEFAULT_LIFETIME,
        capacity: 4,
        clients: None,
        tickets: Tickets::none(),
    })
    .unwrap();
    let name = host("10.0.0.7");
    let server = issuer
        .tls_server(&name, None, ClientAuth::None, SystemTime::now())
        .unwrap()
        .config;
    let (client, _) = shake(server, root.roots(), &name, None).unwrap();
    let presented = client.peer_certificates().unwrap();
    assert_eq!(
        presented.len(),
        2,
        "the root was sent, or the intermediate was not"
    );
    assert_eq!(presented[1], middle.der());
}

#[test]
fn leaf_server_requires_the_api_servers_client_certificate() {
    let (ca, clients) = (
        authority("egress-ca").self_signed(),
        authority("ca").self_signed(),
    );
    let issuer = issuer_of(&ca, 4, Some(&clients));
    let name = host("10.0.0.7");
    let server = issuer
        .tls_server(&name, None, ClientAuth::Required, SystemTime::now())
        .unwrap()
        .config;
    let own = client("kube-apiserver-kubelet-client").signed_by(&clients);
    let (_, accepted) = shake(Arc::clone(&server), ca.roots(), &name, Some(&own)).unwrap();
    assert_eq!(accepted.peer_certificates().unwrap(), [own.der()]);
    let stranger = client("kube-apiserver-kubelet-client").self_signed();
    assert!(shake(Arc::clone(&server), ca.roots(), &name, Some(&stranger)).is_err());
    assert!(shake(Arc::clone(&server), ca.roots(), &name, None).is_err());
    // A server's certificate is no client's.
    let serving = kubelet().signed_by(&clients);
    assert!(shake(server, ca.roots(), &name, Some(&serving)).is_err());
    let without = issuer_of(&ca, 4, None);
    let refused = without.tls_server(&name, None, ClientAuth::Required, now());
    assert!(matches!(refused, Err(LeafError::NoClientAuthority(_))));
}

#[test]
fn leaf_server_sends_no_ticket_keeps_no_session_and_lends_its_secrets() {
    let ca = authority("egress-ca").self_signed();
    let name = host("10.0.0.7");
    let issuer = issuer_of(&ca, 4, None);
    let config = issuer
        .tls_server(&name, None, ClientAuth::None, SystemTime::now())
        .unwrap()
        .config;
    assert_eq!(config.send_tls13_tickets, 0);
    assert!(!config.session_storage.can_cache());
    assert!(!config.ticketer.enabled());
    let (_, server) = shake(config, ca.roots(), &name, None).unwrap();
    assert!(server.dangerous_extract_secrets().is_ok());
}

#[test]
fn authority_is_checked_when_it_is_loaded() {
    let check = |made: &Made, key: &Made| {
        let key = PrivateKey::from(key.private_key());
        Authority::new(vec![made.der()], &key)
            .and_then(|authority| authority.signs_for(Role::Server))
            .map_err(|error| error.to_string())
    };
    let good = authority("egress-ca").self_signed();
    assert_eq!(check(&good, &good), Ok(()));
    let other = authority("egress-ca").self_signed();
    let error = check(&good, &other).unwrap_err();
    assert!(
        error.contains("key does not belong to the CA CN=egress-ca"),
        "{error}"
    );
    let leaf = kubelet().self_signed();
    assert!(check(&leaf, &leaf).unwrap_err().contains("lack CA:TRUE"));
    let usages = vec![KeyUsagePurpose::DigitalSignature];
    let no_sign = Recipe {
        usages,
        ..authority("x")
    }
    .self_signed();
    assert!(
        check(&no_sign, &no_sign)
            .unwrap_err()
            .contains("lacks keyCertSign")
    );
    let extended = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let clients = Recipe {
        extended,
        ..authority("x")
    }
    .self_signed();
    assert!(
        check(&clients, &clients)
            .unwrap_err()
            .contains("may not sign for serverAuth")
    );
    // `openssl req -x509` writes no key usage: everything is allowed.
    let plain = Recipe {
        usages: Vec::new(),
        ..authority("x")
    }
    .self_signed();
    assert_eq!(check(&plain, &plain), Ok(()));
    let is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let short = Recipe {
        is_ca,
        ..authority("x")
    }
    .self_signed();
    assert_eq!(check(&short, &short), Ok(()));
    let debug = format!(
        "{:?}",
        Authority::new(vec![good.der()], &good.private_key().into())
    );
    assert!(
        debug.contains("CN=egress-ca") && !debug.contains("key"),
        "{debug}"
    );
}

#[test]
fn leaf_of_a_ca_with_repeated_attributes_is_verified() {
    let (der, made) = authority_of_two(["one", "two"]);
    let key = PrivateKey::from(made.private_key());
    let issuer = LeafIssuer::new(LeafOptions {
        authority: Authority::new(vec![der.clone()], &key).unwrap(),
        lifetime: DEFAULT_LIFETIME,
        capacity: 1,
        clients: None,
        tickets: Tickets::none(),
    })
    .unwrap();
    let name = host("10.0.0.7");
    let server = issuer.tls_server(&name, None, ClientAuth::None, SystemTime::now());
    let mut roots = RootCertStore::empty();
    roots.add(der).unwrap();
    shake(server.unwrap().config, Arc::new(roots), &name, None).unwrap();
}

#[test]
fn leaf_of_a_rotated_ca_is_verified_by_who_knows_either() {
    let dir = tempfile::tempdir().unwrap();
    let options = InitOptions {
        apiserver: vec!["10.0.0.1".to_owned()],
        server: None,
        service_ips: vec![DEFAULT_SERVICE_IP],
        service_cidrs: Vec::new(),
        nodes: Vec::new(),
        gateway: Vec::new(),
        agents: Vec::new(),
    };
    let at = |name: &str| FileRef::new("egressCA", dir.path().join("pki").join(name));
    let pki = at("").path;
    init(&pki, &Source::Options(Box::new(options)), false).unwrap();
    let old = CaBundle::load(at("egress-ca.crt")).unwrap().roots;
    for _ in 0..4 {
        let tree = Tree::open(&pki, None).unwrap();
        tree.rotate("egress-ca", Step::Next, RenewedKey::Kept, &[])
            .unwrap();
        let chain = at("egress-ca-chain.crt");
        let issuer = LeafIssuer::new(LeafOptions {
            authority: Authority::load(&chain, &at("egress-ca.key")).unwrap(),
            lifetime: DEFAULT_LIFETIME,
            capacity: 1,
            clients: None,
            tickets: Tickets::none(),
        })
        .unwrap();
        let name = host("10.0.0.7");
        let current = CaBundle::load(at("egress-ca.crt")).unwrap().roots;
        for roots in [&old, &current] {
            let server = issuer.tls_server(&name, None, ClientAuth::None, SystemTime::now());
            shake(server.unwrap().config, Arc::clone(roots), &name, None).unwrap();
        }
    }
}
