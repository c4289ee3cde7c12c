//! A gateway whose certificates all come from an authority: real processes over loopback.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

const AUTHORITY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: '127.0.0.1:0', tlsCertFile: pki/apiserver.crt, tlsPrivateKeyFile: pki/apiserver.key}
authentication: {clientCAFile: pki/ca.crt, bootstrapTokenDir: tokens}
store: {path: authority.redb}
signers:
- {signerName: eyesplice.dev/gateway-client, certFile: pki/ca.crt, keyFile: pki/ca.key}
- {signerName: eyesplice.dev/serving, certFile: pki/ca.crt, keyFile: pki/ca.key}
- {signerName: eyesplice.dev/egress-leaf, certFile: pki/egress-ca.crt, keyFile: pki/egress-ca.key}
approval:
  inventoryFile: pki/inventory.yaml
  gateways: [{name: gw, addresses: [127.0.0.1]}]
admin: {address: '127.0.0.1:0'}
";

const GATEWAY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
identity:
  name: gw
  server: https://SERVER
  caFile: pki/ca.crt
  tokenFile: token
  dir: identity
  issuerCAFile: pki/ca.crt
listeners:
- name: uds
  unix: {path: egress.sock}
- name: mtls
  tcp:
    address: '127.0.0.1:0'
    tlsFromAuthority: {names: [127.0.0.1]}
    clientCAFile: pki/egress-client-ca.crt
egress:
  rules:
  - {name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], action: terminate, protocol: kubelet}
  - {name: web, cidrs: [127.0.0.0/8], ports: [10443], action: terminate, protocol: opaque, upstream: {caFile: pki/ca.crt}}
  - {name: echo, cidrs: [127.0.0.1/32], action: splice}
  insecureAllowTargets: [127.0.0.0/8]
egressCA: {fromAuthority: true, caFile: pki/egress-ca.crt}
kubelet:
  caFile: pki/kubelet-serving-ca.crt
  clientFromAuthority: true
  apiserverClientCAFile: pki/ca.crt
timeouts: {dial: 50ms, verdict: 20s}
engine: {workers: 1}
admin: {address: '127.0.0.1:0'}
audit: {path: audit.log}
";

/// Asks until the answer has these words.
fn until(address: &str, path: &str, words: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = get(address, path);
        if answer.contains(words) {
            return answer;
        }
        assert!(Instant::now() < end, "no {words:?} in {answer}");
    }
}

fn connect(dir: &Path, target: &str) -> UnixStream {
    let mut stream = UnixStream::connect(dir.join("egress.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    )
    .unwrap();
    stream
}

fn refusal(dir: &Path, target: &str) -> String {
    let mut answer = String::new();
    connect(dir, target).read_to_string(&mut answer).unwrap();
    answer
}

/// Sends one byte through a stream that somebody echoes.
fn echoes(stream: &mut UnixStream, byte: u8) {
    stream.write_all(&[byte]).unwrap();
    let mut back = [0];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, [byte]);
}

/// Echoes on every connection, for as long as the test lives.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (&stream, &stream);
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
    address
}

/// Runs a command of ours to its end.
fn eyesplice(args: &[&str]) -> String {
    let output = Command::new(EYESPLICE).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The authority of a gateway that must know its port before it listens.
const OWN: &str = "127.0.75.1";

/// A PKI with an authority at this address, and a bootstrap token for gateways.
fn prepare(dir: &Path, authority: &str) -> String {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let server = "https://127.0.0.1:6443";
    let node = "worker-3=127.0.0.7";
    let (pki, tokens) = (path("pki"), path("tokens"));
    eyesplice(&[
        "pki",
        "init",
        &pki,
        "--apiserver",
        authority,
        "--server",
        server,
        "--node",
        node,
    ]);
    let group = "system:bootstrappers:eyesplice:gateways";
    let token = eyesplice(&[
        "token",
        "bootstrap",
        "create",
        "--dir",
        &tokens,
        "--groups",
        group,
    ]);
    token.trim().to_owned()
}

#[test]
fn gateway_is_a_client_of_the_authority_inside_of_it() {
    if !kernel_can() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let token = prepare(dir, OWN);
    std::fs::write(dir.join("token"), token).unwrap();
    std::fs::set_permissions(dir.join("token"), PermissionsExt::from_mode(0o600)).unwrap();
    // Free a moment ago, at an address where nobody else listens.
    let free = TcpListener::bind((OWN, 0)).unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let own = GATEWAY.replace("SERVER", &address) + "authority: {configFile: authority.yaml}\n";
    let inventory = "kubelet:\n  inventoryFile: pki/inventory.yaml\n";
    let own = own.replace("kubelet:\n", inventory);
    std::fs::write(dir.join("gateway.yaml"), own).unwrap();
    let file = dir.join("gateway.yaml");
    let check = || {
        Command::new(EYESPLICE)
            .arg("check")
            .arg(&file)
            .output()
            .unwrap()
    };
    // Its authority has no configuration yet: neither the check nor the start succeeds.
    assert!(!check().status.success());
    let mut failed = Running::start("gateway", dir, "gateway.yaml");
    assert_eq!(failed.wait().code(), Some(1));
    let authority = AUTHORITY.replacen("127.0.0.1:0", &address, 1);
    std::fs::write(dir.join("authority.yaml"), authority).unwrap();
    let told = check();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success(), "{text}");
    assert!(text.contains("authority in the same process"), "{text}");
    // Before the first certificate it knows the nodes all the same.
    let warnings = String::from_utf8(told.stderr).unwrap();
    assert!(warnings.contains("is not there yet"), "{warnings}");
    assert!(text.contains("1 nodes in the inventory"), "{text}");

    let mut gateway = Running::start("gateway", dir, "gateway.yaml");
    let admin = gateway.address("admin endpoint listens");
    gateway.event("engine runs");
    let metrics = get(&admin, "/metrics");
    for line in [
        r#"eyesplice_authority_signatures_total{signer="eyesplice.dev/serving",result="signed"} 1"#,
        r#"eyesplice_certificate_expiry_timestamp_seconds{name="listen.tlsCertFile""#,
        r#"eyesplice_certificate_expiry_timestamp_seconds{name="identity""#,
        "eyesplice_authority_config_last_reload_successful 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    let mut names: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all, "no metric is there twice");
    let answer = refusal(dir, "127.0.0.7:10443");
    assert!(!answer.contains("no certificate for"), "{answer}");

    // A configuration of the authority that is wrong leaves its old one, and the gateway, alone.
    std::fs::write(dir.join("authority.yaml"), "kind: Nonsense").unwrap();
    let words = "eyesplice_authority_config_last_reload_successful 0";
    let metrics = until(&admin, "/metrics", words);
    assert!(
        metrics.contains("eyesplice_config_last_reload_successful 1"),
        "{metrics}"
    );
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait().success());
}

#[test]
fn gateway_lives_on_what_an_authority_gives_it() {
    if !kernel_can() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let token = prepare(dir, "127.0.0.1");
    std::fs::write(path("authority.yaml"), AUTHORITY).unwrap();
    let mut authority = Running::start("authority", dir, "authority.yaml");
    let address = authority.address("authority listens");
    std::fs::write(path("gateway.yaml"), GATEWAY.replace("SERVER", &address)).unwrap();

    // Without a token it waits, is not ready, and says why.
    let gateway = Running::start("gateway", dir, "gateway.yaml");
    let admin = gateway.address("admin endpoint listens");
    let told = gateway.event("there is no certificate yet; the request is tried again");
    assert_eq!(told["part"], "token", "{told}");
    let waits = "[-]certificates failed: identity: token: ";
    let ready = until(&admin, "/readyz", waits);
    assert!(ready.starts_with("HTTP/1.1 500 "), "{ready}");
    std::fs::write(path("token"), token).unwrap();
    gateway.signal(Signal::SIGHUP);
    gateway.event("engine runs");
    let ready = get(&admin, "/readyz?verbose");
    assert!(ready.contains("[+]certificates ok"), "{ready}");

    // A node has a leaf, so that the dial is what fails; another address has none.
    let answer = refusal(dir, "127.0.0.7:10443");
    assert!(!answer.contains("no certificate for"), "{answer}");
    let answer = refusal(dir, "127.0.0.9:10443");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("no certificate for 127.0.0.9 from the authority"),
        "{answer}"
    );
    assert!(answer.contains("is no node's in the inventory"), "{answer}");
    let metrics = get(&admin, "/metrics");
    for line in [
        r#"eyesplice_certificate_requests_total{signer="eyesplice.dev/gateway-client",result="issued"} 1"#,
        r#"eyesplice_certificate_requests_total{signer="eyesplice.dev/serving",result="issued"} 1"#,
        r#"eyesplice_certificate_requests_total{signer="eyesplice.dev/egress-leaf",result="issued"} 1"#,
        r#"eyesplice_certificate_requests_total{signer="eyesplice.dev/egress-leaf",result="refused"} 1"#,
        r#"eyesplice_certificate_expiry_timestamp_seconds{name="listeners[1].tcp.tlsFromAuthority""#,
        r#"eyesplice_certificate_expiry_timestamp_seconds{name="kubelet.clientFromAuthority""#,
        r#"eyesplice_certificate_expiry_timestamp_seconds{name="identity""#,
        "eyesplice_leaves_held 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    // A certificate is swapped under a live stream.
    let mut stream = connect(dir, &echo());
    let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
    let mut head = vec![0; established.len()];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head, established);
    echoes(&mut stream, 1);
    let serving = path("identity/serving-mtls.pem");
    let before = std::fs::read(&serving).unwrap();
    std::fs::remove_file(&serving).unwrap();
    gateway.signal(Signal::SIGHUP);
    gateway.event("certificate was issued by the authority");
    gateway.event("configuration reloaded; in force for new streams");
    assert_ne!(std::fs::read(&serving).unwrap(), before);
    echoes(&mut stream, 2);

    // Without the authority everything goes on, leaves too.
    authority.child.kill().unwrap();
    authority.wait();
    gateway.signal(Signal::SIGHUP);
    gateway.event("configuration reloaded; in force for new streams");
    echoes(&mut stream, 3);
    let answer = refusal(dir, "127.0.0.7:10443");
    assert!(!answer.contains("no certificate for"), "{answer}");
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));
}
