use super::*;
use crate::check::check;
use crate::config::{Config, Document};
use crate::leaf::ClientAuth;
use eyesplice_identity::pki;
use eyesplice_identity::pki::InitOptions;
use eyesplice_proto::target::Host;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const FULL: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock}
- name: mtls
  tcp:
    address: \"127.0.0.1:0\"
    tlsCertFile: egress-server.crt
    tlsPrivateKeyFile: egress-server.key
    clientCAFile: egress-client-ca.crt
    allowedNames: [kube-apiserver-egress]
egress:
  rules:
  - {name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], action: terminate}
  - name: web
    cidrs: [10.0.0.0/8]
    ports: [443]
    action: terminate
    protocol: opaque
    upstream: {caFile: ca.crt}
  - name: pinned
    cidrs: [10.0.0.0/8]
    ports: [80]
    action: originate
    upstream: {spkiSHA256: [47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=]}
  - {name: rest, cidrs: [10.0.0.0/8], action: splice}
egressCA: {certFile: egress-ca.crt, keyFile: egress-ca.key}
kubelet:
  caFile: kubelet-serving-ca.crt
  clientCertFile: eyesplice-kubelet-client.crt
  clientKeyFile: eyesplice-kubelet-client.key
  apiserverClientCAFile: ca.crt
  inventoryFile: inventory.yaml
";

/// A directory with a PKI and a configuration.
pub(crate) fn site(config: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let init = InitOptions {
        apiserver: Vec::new(),
        server: None,
        service_ips: vec![pki::DEFAULT_SERVICE_IP],
        service_cidrs: Vec::new(),
        nodes: vec![
            "worker-1=10.0.0.1".parse().unwrap(),
            "worker-2=10.0.0.2".parse().unwrap(),
        ],
        gateway: Vec::new(),
        agents: Vec::new(),
    };
    pki::init(dir.path(), &pki::Source::Options(Box::new(init)), true).unwrap();
    std::fs::write(dir.path().join("gateway.yaml"), config).unwrap();
    dir
}

/// Loads what [`site`] made.
pub(crate) fn load(dir: &Path) -> (Config, Result<Material, MaterialErrors>) {
    let config = Config::load(&dir.join("gateway.yaml")).unwrap().config;
    let material = Material::load(&config, SystemTime::now());
    (config, material)
}

#[test]
fn load_full_configuration_gives_every_part() {
    let dir = site(FULL);
    let (_, material) = load(dir.path());
    let material = material.unwrap();
    assert_eq!(material.warnings, Vec::<String>::new());
    assert_eq!(
        material
            .listeners
            .keys()
            .map(|name| &**name)
            .collect::<Vec<_>>(),
        ["mtls"]
    );
    let own: Vec<bool> = material.targets.iter().map(Option::is_some).collect();
    assert_eq!(own, [false, true, true, false]);
    let kubelet = material.kubelet.unwrap();
    let node = "10.0.0.2".parse::<Host>().unwrap();
    let inventory = kubelet.inventory.unwrap();
    assert_eq!(
        inventory.node_of(&node).map(|name| &**name),
        Some("worker-2")
    );
    let fields: Vec<&str> = material
        .certificates
        .iter()
        .map(|c| c.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "listeners[1].tcp.tlsCertFile",
            "listeners[1].tcp.clientCAFile",
            "kubelet.apiserverClientCAFile",
            "egressCA.certFile",
            "kubelet.caFile",
            "kubelet.clientCertFile",
            "egress.rules[1].upstream.caFile",
        ]
    );
    let soon = SystemTime::now() + Duration::from_secs(300 * 86_400);
    assert!(
        material
            .certificates
            .iter()
            .all(|certificate| certificate.not_after > soon)
    );
}

#[test]
fn load_servers_give_tickets_unless_they_are_off_or_the_kernel_seals() {
    for (more, lifetime) in [
        ("", Some(3600)),
        ("timeouts: {sessionTicket: 5m}\n", Some(300)),
        ("timeouts: {sessionTicket: 0s}\n", None),
        ("engine: {ktls: auto}\n", None),
    ] {
        let dir = site(&format!("{FULL}{more}"));
        let material = load(dir.path()).1.unwrap();
        let listener = &material.listeners["mtls"];
        assert!(listener.config.alpn_protocols.is_empty());
        let host = "10.0.0.1".parse().unwrap();
        let issuer = material.issuer.unwrap();
        let leaf = |auth| {
            issuer
                .tls_server(&host, None, auth, SystemTime::now())
                .unwrap()
        };
        let (kubelet, pod) = (leaf(ClientAuth::Required), leaf(ClientAuth::None));
        for (tls, asks) in [(listener, true), (&kubelet, true), (&pod, false)] {
            let config = &tls.config;
            assert!(config.enable_secret_extraction && !config.session_storage.can_cache());
            assert_eq!(config.send_tls13_tickets, usize::from(lifetime.is_some()));
            let given = config
                .ticketer
                .enabled()
                .then(|| config.ticketer.lifetime());
            assert_eq!(given, lifetime, "{more}");
            let judge = tls.clients.as_ref().unwrap();
            assert_eq!(judge.client_auth_mandatory(), asks);
        }
    }
}

#[test]
fn load_every_bad_file_is_told_at_once() {
    let dir = site(FULL);
    let file = |name: &str| dir.path().join(name);
    std::fs::remove_file(file("egress-server.crt")).unwrap();
    std::fs::copy(file("ca.key"), file("eyesplice-kubelet-client.key")).unwrap();
    std::fs::copy(file("egress-client.crt"), file("egress-ca.crt")).unwrap();
    std::fs::write(file("inventory.yaml"), "nodes: 5").unwrap();
    let error = load(dir.path()).1.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.0.len(), 4, "{text}");
    for part in [
        "the files of the configuration have 4 errors",
        "listeners[0]",
        "egress-server.crt (listeners[1].tcp.tlsCertFile): does not exist",
        "(kubelet.clientKeyFile): does not belong to the certificate",
        "egressCA: ",
        "kubelet.inventoryFile: ",
    ] {
        assert_eq!(
            text.contains(part),
            part != "listeners[0]",
            "{part}\n{text}"
        );
    }
}

#[test]
fn load_key_that_everybody_can_read_is_a_warning() {
    let dir = site(FULL);
    for name in [
        "egress-server.key",
        "eyesplice-kubelet-client.key",
        "egress-ca.key",
    ] {
        let mode = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(dir.path().join(name), mode).unwrap();
    }
    let warnings = load(dir.path()).1.unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[0].ends_with("is readable by all users (mode 0644); chmod 0600"));
}

#[test]
fn files_are_all_that_load_reads() {
    let dir = site(FULL);
    let (config, _) = load(dir.path());
    for file in config.files() {
        if file.ends_with("gateway.yaml") {
            continue;
        }
        let kept = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(
            load(dir.path()).1.is_err(),
            "{} is not read",
            file.display()
        );
        std::fs::write(&file, kept).unwrap();
    }
    assert!(load(dir.path()).1.is_ok());
}

const FRONT: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: kubectl
  front:
    address: \"127.0.0.1:0\"
    tlsCertFile: apiserver.crt
    tlsPrivateKeyFile: apiserver.key
    clientCAFile: ca.crt
- name: tokens
  front: {address: \"127.0.0.1:0\", tlsCertFile: apiserver.crt, tlsPrivateKeyFile: apiserver.key}
- name: nodes
  apiserver: {address: \"127.0.0.1:0\", proxyProtocol: true}
apiservers:
  servers: [\"https://10.0.0.1:6443\"]
  caFile: ca.crt
  clientCertFile: eyesplice-kubelet-client.crt
  clientKeyFile: eyesplice-kubelet-client.key
front:
  frontProxyClientCertFile: front-proxy-client.crt
  frontProxyClientKeyFile: front-proxy-client.key
";

#[test]
fn load_front_gives_tls_users_and_both_of_our_identities() {
    let dir = site(FRONT);
    let material = load(dir.path()).1.unwrap();
    assert_eq!(material.warnings, Vec::<String>::new());
    for name in ["kubectl", "tokens"] {
        let tls = &material.listeners[name];
        assert_eq!(tls.config.alpn_protocols, [b"http/1.1"]);
        let clients = tls.clients.as_ref().unwrap();
        assert!(clients.offer_client_auth() && !clients.client_auth_mandatory());
    }
    assert!(!material.listeners.contains_key("nodes"));
    let users: Vec<&str> = material.users.keys().map(|name| &**name).collect();
    assert_eq!(users, ["kubectl"]);
    let api_servers = material.apiservers.unwrap();
    assert!(api_servers.proxy_client.is_some());
    assert!(api_servers.own.client_auth_cert_resolver.has_certs());
}

#[test]
fn files_of_a_front_are_all_read_and_each_that_is_wrong_is_told_at_once() {
    let dir = site(FRONT);
    let (config, _) = load(dir.path());
    let key = |file: &str| dir.path().join(file);
    for file in config.files() {
        if file.ends_with("gateway.yaml") {
            continue;
        }
        let kept = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let loaded = load(dir.path()).1;
        assert!(loaded.is_err(), "{} is not read", file.display());
        std::fs::write(&file, kept).unwrap();
    }
    for (from, to) in [
        ("apiserver.crt", "front-proxy-client.crt"),
        ("apiserver.key", "front-proxy-client.key"),
    ] {
        std::fs::copy(key(from), key(to)).unwrap();
    }
    std::fs::write(key("ca.crt"), "junk").unwrap();
    let errors = load(dir.path()).1.unwrap_err().to_string();
    for field in [
        "(listeners[0].front.clientCAFile): holds no CERTIFICATE block",
        "(apiservers.caFile): holds no CERTIFICATE block",
        "(front.frontProxyClientCertFile): ",
    ] {
        assert!(errors.contains(field), "{field}\n{errors}");
    }
}

#[test]
fn ca_for_break_glass_in_a_file_of_its_own_is_told_from_one_that_is_its_own() {
    let text = format!(
        "{FRONT}  shortWay: {{admission: trusted}}
  breakGlass:
    clientCAFile: glass.crt
    vantage: {{address: \"10.9.0.4:8131\", caFile: ca.crt}}
    kubeletCacheAuthorizedTTL: 8h
    allow: [{{name: sre, groups: [sre], streams: [exec], namespaces: [shop]}}]
kubelet:
  caFile: kubelet-serving-ca.crt
  clientCertFile: eyesplice-kubelet-client.crt
  clientKeyFile: eyesplice-kubelet-client.key
  apiserverClientCAFile: ca.crt
egress: {{rules: [{{name: kubelets, cidrs: [10.0.0.0/8], action: splice}}]}}
"
    );
    let dir = site(&text);
    let glass = dir.path().join("glass.crt");
    std::fs::copy(dir.path().join("ca.crt"), &glass).unwrap();
    let errors = load(dir.path()).1.unwrap_err().to_string();
    let told = "front.breakGlass.clientCAFile: a CA in it is in apiservers.caFile as well";
    assert!(errors.contains(told), "{errors}");
    std::fs::copy(dir.path().join("egress-client-ca.crt"), &glass).unwrap();
    load(dir.path()).1.unwrap();
}

#[test]
fn check_front_is_summed_up() {
    let dir = site(FRONT);
    let report = check(&dir.path().join("gateway.yaml"), SystemTime::now()).unwrap();
    assert_eq!(report.warnings, Vec::<String>::new());
    let text = report.to_string();
    for line in [
        "  kubectl: front 127.0.0.1:0 for users with tokens or certificates\n",
        "  tokens: front 127.0.0.1:0 for users with tokens\n",
        "  nodes: apiserver 127.0.0.1:0 spliced, with PROXY protocol\n",
        "API servers, leastStreams:\n  10.0.0.1:6443\n",
        "  front.frontProxyClientCertFile: CN=front-proxy-client",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("rules"), "{text}");
    assert!(!text.contains("past API servers"), "{text}");
}

#[test]
fn check_short_way_is_summed_up_by_the_streams_that_may_take_it() {
    for (fields, streams) in [
        ("{}", "logs alone"),
        ("{admission: trusted}", "exec, attach, portForward and logs"),
    ] {
        let dir = site(&format!(
            "{FRONT}  shortWay: {fields}\nkubelet:\n  caFile: kubelet-serving-ca.crt\n  \
             clientCertFile: eyesplice-kubelet-client.crt\n  \
             clientKeyFile: eyesplice-kubelet-client.key\n  apiserverClientCAFile: ca.crt\n\
             egress: {{rules: [{{name: r, cidrs: [10.0.0.0/8], action: splice}}]}}\n"
        ));
        let report = check(&dir.path().join("gateway.yaml"), SystemTime::now()).unwrap();
        assert_eq!(report.warnings, Vec::<String>::new());
        let (text, line) = (report.to_string(), format!("past API servers: {streams}\n"));
        assert!(text.contains(&line), "{line}\n{text}");
    }
}

#[test]
fn check_good_site_is_summed_up() {
    let dir = site(FULL);
    let file = dir.path().join("gateway.yaml");
    let report = check(&file, SystemTime::now()).unwrap();
    // What is spliced and originated for the UNIX listener; nothing else is amiss.
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("pinned (originate), rest (splice)"));
    let text = report.to_string();
    for line in [
        "gateway.yaml is valid\n",
        "  mtls: tcp 127.0.0.1:0 with mutual TLS\n",
        "  kubelets: terminate (kubelet) 10.0.0.0/8; ports 10250\n",
        "  anything else: deny\n",
        "kubelets: verification enforce, 2 nodes in the inventory\n",
        "  egressCA.certFile: CN=",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    assert!(
        check(&file, SystemTime::now())
            .unwrap_err()
            .to_string()
            .contains("ca.crt")
    );
}
