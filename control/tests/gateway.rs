//! The life of `eyesplice gateway`: start, readiness, reload, drain, as a service manager sees it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

struct Gateway {
    dir: tempfile::TempDir,
    running: Running,
    notifications: UnixDatagram,
}

impl Gateway {
    /// Starts a gateway with a UNIX listener and an admin endpoint on a free port.
    fn start() -> Self {
        Self::of(CONFIG)
    }

    fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("pki");
        let made = Command::new(EYESPLICE)
            .args(["pki", "init"])
            .arg(&pki)
            .args(["--node", "worker-3=10.0.0.7"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let notify = dir.path().join("notify");
        let notifications = UnixDatagram::bind(&notify).unwrap();
        notifications.set_read_timeout(Some(PATIENCE)).unwrap();
        let config = dir.path().join("gateway.yaml");
        std::fs::write(&config, text).unwrap();
        let running = Running::of(
            Command::new(EYESPLICE)
                .args(["gateway", "--log-format", "json", "--log-level", "debug"])
                .arg("--config")
                .arg(&config)
                .env("NOTIFY_SOCKET", &notify),
        );
        Self {
            dir,
            running,
            notifications,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits for a notification that has this line.
    fn notified(&self, line: &str) {
        let mut buffer = [0; 4096];
        loop {
            let count = self
                .notifications
                .recv(&mut buffer)
                .unwrap_or_else(|_| panic!("no {line}"));
            let text = std::str::from_utf8(&buffer[..count]).unwrap();
            if text.lines().any(|each| each == line) {
                return;
            }
        }
    }
}

const CONFIG: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock, mode: '0600'}
egress:
  rules:
  - {name: kubelets, cidrs: [10.0.0.0/8], ports: [10250], action: terminate, protocol: kubelet}
kubelet:
  caFile: pki/kubelet-serving-ca.crt
  clientCertFile: pki/eyesplice-kubelet-client.crt
  clientKeyFile: pki/eyesplice-kubelet-client.key
  apiserverClientCAFile: pki/ca.crt
  apiserverClientNames: [kube-apiserver-kubelet-client]
  inventoryFile: pki/inventory.yaml
egressCA: {certFile: pki/egress-ca.crt, keyFile: pki/egress-ca.key}
timeouts: {drain: 20s}
engine: {workers: 1}
admin: {address: '127.0.0.1:0'}
audit: {path: audit.log}
";

#[test]
fn gateway_starts_reloads_and_drains() {
    if !kernel_can() {
        return;
    }
    let mut gateway = Gateway::start();
    let admin = gateway.running.event("admin endpoint listens");
    let admin = admin["address"].as_str().unwrap().to_owned();
    gateway.notified("READY=1");
    assert!(get(&admin, "/livez").starts_with("HTTP/1.1 200 "));
    let ready = get(&admin, "/readyz?verbose");
    assert!(ready.contains("[+]listeners ok"), "{ready}");
    let metrics = get(&admin, "/metrics");
    for line in [
        "eyesplice_config_generation 1",
        "eyesplice_config_last_reload_successful 1",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(
        metrics.contains("eyesplice_certificate_expiry_timestamp_seconds{"),
        "{metrics}"
    );
    assert!(metrics.contains("eyesplice_probe{"), "{metrics}");

    // A refused CONNECT is counted and audited.
    let mut stream = UnixStream::connect(gateway.path("egress.sock")).unwrap();
    write!(
        stream,
        "CONNECT 127.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let ended = gateway.running.event("stream ended");
    assert_eq!(ended["reason"], "denied", "{ended}");

    // A changed file, then a bad one, then SIGHUP with the good one.
    let config = gateway.path("gateway.yaml");
    std::fs::write(&config, CONFIG.replace("10.0.0.0/8", "10.1.0.0/16")).unwrap();
    let event = gateway
        .running
        .event("configuration reloaded; in force for new streams");
    assert_eq!(event["generation"], 2);
    std::fs::write(&config, "kind: Nonsense").unwrap();
    gateway
        .running
        .event("configuration not reloaded; the last good state stays in force");
    assert!(get(&admin, "/metrics").contains("eyesplice_config_last_reload_successful 0"));
    assert!(get(&admin, "/readyz").starts_with("HTTP/1.1 200 "));
    std::fs::write(&config, CONFIG.replace("drain: 20s", "drain: 21s")).unwrap();
    gateway
        .running
        .event("configuration reloaded; in force for new streams");
    gateway.running.signal(Signal::SIGHUP);
    gateway.notified("RELOADING=1");
    gateway.notified("READY=1");

    gateway.running.signal(Signal::SIGTERM);
    gateway.notified("STOPPING=1");
    assert!(gateway.running.wait().success());
    let stale = UnixStream::connect(gateway.path("egress.sock")).unwrap_err();
    assert_eq!(
        stale.kind(),
        ErrorKind::ConnectionRefused,
        "the file stays for the service manager, which may have the socket; this one has not"
    );
    let audit = std::fs::read_to_string(gateway.path("audit.log")).unwrap();
    assert!(audit.contains(r#""reason":"denied""#), "{audit}");
}

const FRONT: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: kubectl
  front:
    address: '127.0.0.1:0'
    tlsCertFile: pki/apiserver.crt
    tlsPrivateKeyFile: pki/apiserver.key
    clientCAFile: pki/ca.crt
- name: nodes
  apiserver: {address: '127.0.0.1:0'}
apiservers: {servers: ['https://127.0.0.1:1'], caFile: pki/ca.crt, healthInterval: 100ms}
front:
  frontProxyClientCertFile: pki/front-proxy-client.crt
  frontProxyClientKeyFile: pki/front-proxy-client.key
engine: {workers: 1}
admin: {address: '127.0.0.1:0'}
audit: {path: audit.log}
";

#[test]
fn gateway_of_clients_alone_starts_and_looks_at_its_api_servers() {
    if !kernel_can() {
        return;
    }
    let mut gateway = Gateway::of(FRONT);
    let admin = gateway.running.address("admin endpoint listens");
    let front = gateway
        .running
        .event("listens for clients of the Kubernetes API");
    assert_eq!(front["certificates"], true, "{front}");
    assert!(!front["address"].as_str().unwrap().ends_with(":0"));
    gateway.notified("READY=1");
    let left = gateway
        .running
        .event("API server is left alone until it is well again; see apiservers");
    assert_eq!(left["server"], "127.0.0.1:1", "{left}");
    assert!(left["error"].as_str().unwrap().contains("cannot connect"));
    let down = "eyesplice_apiserver_up{server=\"127.0.0.1:1\"} 0";
    let end = Instant::now() + PATIENCE;
    while !get(&admin, "/metrics").contains(down) {
        assert!(Instant::now() < end, "no {down}");
    }
    gateway.running.signal(Signal::SIGTERM);
    assert!(gateway.running.wait().success());
}

#[test]
fn second_signal_ends_a_drain_at_once() {
    if !kernel_can() {
        return;
    }
    let mut gateway = Gateway::start();
    gateway.notified("READY=1");
    // A stream that never ends: it may wait for the rest of its head for 30 s.
    let mut stream = UnixStream::connect(gateway.path("egress.sock")).unwrap();
    stream.write_all(b"CONNECT ").unwrap();
    gateway.running.signal(Signal::SIGTERM);
    gateway.notified("STOPPING=1");
    let asked = Instant::now();
    gateway.running.signal(Signal::SIGINT);
    assert!(gateway.running.wait().success());
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "the drain has 20 s"
    );
}

#[test]
fn start_that_fails_leaves_nothing_and_exits_1() {
    if !kernel_can() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("gateway.yaml");
    // No PKI: every missing file is named at once.
    std::fs::write(&config, CONFIG).unwrap();
    let output = Command::new(EYESPLICE)
        .args(["gateway", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for file in ["kubelet-serving-ca.crt", "egress-ca.crt", "inventory.yaml"] {
        assert!(stderr.contains(file), "{file}: {stderr}");
    }
    assert!(!dir.path().join("egress.sock").exists());
}
