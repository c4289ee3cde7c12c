//! A gateway and an agent as processes: a kubelet that only the agent reaches, what is refused,
//! revocation, reload and drain.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use eyesplice_identity::pem::{CaBundle, Credential, FileRef, Role};
use eyesplice_proto::tls::provider;
use nix::sys::signal::Signal;
use rustls::pki_types::ServerName;
use rustls::server::NoClientAuth;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

type Tls = StreamOwned<ClientConnection, UnixStream>;

/// A gateway, an agent of it, and a kubelet that the gateway reaches through the agent alone.
struct Site {
    dir: tempfile::TempDir,
    gateway: Running,
    gateway_admin: String,
    agent: Running,
    agent_admin: String,
    /// The port of the kubelet.
    kubelet: u16,
}

impl Site {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = dir.path().join("pki");
        let init = [
            "pki",
            "init",
            "--node",
            "worker-3=127.0.0.1",
            "--agent",
            "edge-1",
        ];
        let made = Command::new(EYESPLICE)
            .args(init)
            .arg(&pki)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let kubelet = serve_kubelet(&pki);
        let deny = dir.path().join("deny.yaml");
        let nobody = ["tunnel", "revoke", "nobody", "--deny-file"];
        let made = Command::new(EYESPLICE)
            .args(nobody)
            .arg(&deny)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        std::fs::write(dir.path().join("gateway.yaml"), gateway_config()).unwrap();
        let gateway = Running::start("gateway", dir.path(), "gateway.yaml");
        let gateway_admin = gateway.address("admin endpoint listens");
        let address = gateway.address("listens for agents with mutual TLS");
        gateway.event("engine runs");
        let config = agent_config(&address, kubelet);
        std::fs::write(dir.path().join("agent.yaml"), config).unwrap();
        let agent = Running::start("agent", dir.path(), "agent.yaml");
        let agent_admin = agent.address("admin endpoint listens");
        let site = Self {
            dir,
            gateway,
            gateway_admin,
            agent,
            agent_admin,
            kubelet,
        };
        until("the agent holds its gateway", || {
            get(&site.agent_admin, "/readyz").starts_with("HTTP/1.1 200 ")
        });
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Asks the gateway for a port of 127.0.0.1; gives the status line and the connection.
    fn connect(&self, port: u16) -> (String, UnixStream) {
        let mut stream = UnixStream::connect(self.path("egress.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let target = format!("127.0.0.1:{port}");
        write!(
            stream,
            "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
        )
        .unwrap();
        (head(&mut stream), stream)
    }

    /// A connection to the kubelet as the API server has it.
    fn kubelet(&self) -> Tls {
        let (head, stream) = self.connect(self.kubelet);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let pki = self.path("pki");
        let own = credential(&pki, "apiserver-kubelet-client", Role::Client);
        let roots = CaBundle::load(FileRef::new("test", pki.join("egress-ca.crt")))
            .unwrap()
            .roots;
        let config = ClientConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(own));
        let name = ServerName::try_from("127.0.0.1").unwrap();
        StreamOwned::new(
            ClientConnection::new(Arc::new(config), name).unwrap(),
            stream,
        )
    }

    fn tunnel(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(EYESPLICE);
        command
            .arg("tunnel")
            .args(arguments)
            .current_dir(self.dir.path());
        command.output().unwrap()
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        thread::yield_now();
    }
}

fn credential(pki: &Path, name: &str, role: Role) -> SingleCertAndKey {
    let file = |end: &str| FileRef::new("test", pki.join(format!("{name}.{end}")));
    let loaded = Credential::load(file("crt"), &file("key"), role).unwrap();
    SingleCertAndKey::from(loaded.certified)
}

/// Reads byte by byte: what follows belongs to somebody else.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// One request on a connection that is kept.
fn ask(stream: &mut Tls) -> std::io::Result<String> {
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: kubelet\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut status = String::new();
    while reader.read_line(&mut line)? > 2 {
        if status.is_empty() {
            status.clone_from(&line);
        }
        line.clear();
    }
    if status.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut body = [0; 2];
    reader.read_exact(&mut body)?;
    Ok(format!(
        "{} {}",
        status.trim(),
        String::from_utf8_lossy(&body)
    ))
}

/// The begin of a log that has no end.
const FOLLOWED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n";

/// Follows a log.
fn follow(stream: &mut Tls) {
    let path = "/containerLogs/default/web/nginx?follow=true";
    write!(stream, "GET {path} HTTP/1.1\r\nHost: kubelet\r\n\r\n").unwrap();
    assert!(head(stream).starts_with("HTTP/1.1 200 "));
    let mut line = [0; 10];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"5\r\nline\n\r\n");
}

/// A kubelet whose every other answer is `ok`, for as long as the test runs.
fn serve_kubelet(pki: &Path) -> u16 {
    let config = ServerConfig::builder_with_provider(provider::shared())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(NoClientAuth))
        .with_cert_resolver(Arc::new(credential(pki, "kubelet-worker-3", Role::Server)));
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            thread::spawn(move || {
                // A connection that ends is the test's business.
                while matches!(stream.fill_buf(), Ok(bytes) if !bytes.is_empty()) {
                    if head(&mut stream).contains("follow=true") {
                        stream.write_all(FOLLOWED).unwrap();
                        stream.flush().unwrap();
                        continue;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream
                        .write_all(answer)
                        .and_then(|()| stream.flush())
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn gateway_config() -> String {
    "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {path: egress.sock}
- name: agents
  tunnel:
    address: '127.0.0.1:0'
    tlsCertFile: pki/egress-server.crt
    tlsPrivateKeyFile: pki/egress-server.key
    clientCAFile: pki/tunnel-ca.crt
tunnel:
  agents:
  - {name: edge-1, nodes: [worker-3]}
  denyFile: deny.yaml
egress:
  insecureAllowTargets: [127.0.0.0/8]
  rules:
  - {name: kubelets, cidrs: [127.0.0.0/8], action: terminate, via: tunnel}
kubelet:
  caFile: pki/kubelet-serving-ca.crt
  clientCertFile: pki/eyesplice-kubelet-client.crt
  clientKeyFile: pki/eyesplice-kubelet-client.key
  apiserverClientCAFile: pki/ca.crt
  inventoryFile: pki/inventory.yaml
egressCA: {certFile: pki/egress-ca.crt, keyFile: pki/egress-ca.key}
engine: {workers: 1}
admin: {address: '127.0.0.1:0'}
audit: {path: gateway-audit.log}
"
    .to_owned()
}

fn agent_config(gateway: &str, kubelet: u16) -> String {
    format!(
        "\
apiVersion: eyesplice.dev/v1alpha1
kind: AgentConfig
identity: {{certFile: pki/agent-edge-1.crt, keyFile: pki/agent-edge-1.key}}
gateways: {{addresses: ['{gateway}'], caFile: pki/egress-ca.crt}}
allow: {{kubelet: {{address: 127.0.0.1, port: {kubelet}}}}}
engine: {{workers: 1}}
admin: {{address: '127.0.0.1:0'}}
audit: {{path: agent-audit.log}}
timeouts: {{drain: 60s}}
"
    )
}

#[test]
fn kubelet_behind_an_agent_is_terminated_until_the_agent_is_revoked() {
    if !kernel_can() {
        return;
    }
    let mut site = Site::start();
    let mut stream = site.kubelet();
    assert_eq!(ask(&mut stream).unwrap(), "HTTP/1.1 200 OK ok");
    // What the gateway allows and the agent does not.
    let (head, _) = site.connect(1);
    assert!(!head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(
        head.contains("agent edge-1: ") && head.contains("is a loopback address"),
        "{head}"
    );

    let status = site.tunnel(&["status", "--admin", &site.gateway_admin]);
    let shown = String::from_utf8(status.stdout).unwrap();
    assert!(
        shown.starts_with("AGENT ") && shown.contains("\nedge-1  serving "),
        "{shown}"
    );
    let status = site.tunnel(&["status", "--json", "--admin", &site.agent_admin]);
    let report: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert!(report["gateways"][0]["since"].is_string(), "{report}");
    let diag = site.tunnel(&[
        "diag",
        "--config",
        "agent.yaml",
        "--admin",
        &site.agent_admin,
    ]);
    let shown = String::from_utf8(diag.stdout).unwrap();
    for part in [
        "[+]gateways ok",
        "kind: AgentConfig",
        "eyesplice_tunnel_gateways_wanted 1",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    follow(&mut stream);
    let revoked = site.tunnel(&["revoke", "edge-1", "--config", "gateway.yaml"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let ended = loop {
        let ended = site.gateway.event("stream ended");
        if ended["reason"] != "denied" {
            break ended;
        }
    };
    assert_eq!(
        (&ended["reason"], &ended["via"]),
        (&"revoked".into(), &"edge-1".into())
    );
    let mut rest = Vec::new();
    assert!(
        stream.read_to_end(&mut rest).is_err(),
        "a cut, and no end: {rest:?}"
    );
    until("the agent is not ready", || {
        get(&site.agent_admin, "/readyz").contains("[-]gateways failed")
    });
    let (head, _) = site.connect(site.kubelet);
    assert!(head.contains("no agent"), "{head}");

    site.agent.signal(Signal::SIGTERM);
    assert!(site.agent.wait().success());
    site.gateway.signal(Signal::SIGTERM);
    assert!(site.gateway.wait().success());
    let audit = std::fs::read_to_string(site.path("gateway-audit.log")).unwrap();
    let line = audit
        .lines()
        .find(|line| line.contains(r#""reason":"revoked""#))
        .unwrap();
    assert!(
        line.contains(r#""via":"edge-1""#) && line.contains(r#""node":"worker-3""#),
        "{line}"
    );
    let audit = std::fs::read_to_string(site.path("agent-audit.log")).unwrap();
    let kubelet = format!(r#""address":"127.0.0.1:{}""#, site.kubelet);
    let line = audit.lines().find(|line| line.contains(&kubelet)).unwrap();
    assert!(line.contains(r#""rule":"kubelet""#), "{line}");
    assert!(line.contains(r#""listener":"tunnel""#), "{line}");
}

#[test]
fn agent_reloads_for_new_streams_and_drains_with_the_old_ones() {
    if !kernel_can() {
        return;
    }
    let mut site = Site::start();
    let mut stream = site.kubelet();
    assert_eq!(ask(&mut stream).unwrap(), "HTTP/1.1 200 OK ok");
    let config = std::fs::read_to_string(site.path("agent.yaml")).unwrap();
    let port = format!("port: {}", site.kubelet);
    std::fs::write(site.path("agent.yaml"), config.replace(&port, "port: 1")).unwrap();
    site.agent
        .event("configuration reloaded; in force for new streams");
    let (head, _) = site.connect(site.kubelet);
    assert!(head.contains("is a loopback address"), "{head}");
    assert_eq!(
        ask(&mut stream).unwrap(),
        "HTTP/1.1 200 OK ok",
        "a live stream stays"
    );
    std::fs::write(site.path("agent.yaml"), "kind: AgentConfig").unwrap();
    site.agent
        .event("configuration not reloaded; the last good state stays in force");
    assert!(get(&site.agent_admin, "/readyz").starts_with("HTTP/1.1 200 "));
    std::fs::write(site.path("agent.yaml"), &config).unwrap();
    site.agent
        .event("configuration reloaded; in force for new streams");
    assert_eq!(ask(&mut site.kubelet()).unwrap(), "HTTP/1.1 200 OK ok");

    site.agent.signal(Signal::SIGTERM);
    site.agent
        .event("draining; a second signal closes all streams at once");
    until("the gateway knows", || {
        let status = site.tunnel(&["status", "--json", "--admin", &site.gateway_admin]);
        let report: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        report["agents"][0]["draining"] == true
    });
    assert_eq!(
        ask(&mut stream).unwrap(),
        "HTTP/1.1 200 OK ok",
        "it runs on"
    );
    let (head, _) = site.connect(site.kubelet);
    assert!(!head.starts_with("HTTP/1.1 200"), "{head}");
    drop(stream);
    assert!(site.agent.wait().success());
    site.gateway.signal(Signal::SIGTERM);
    assert!(site.gateway.wait().success());
}
