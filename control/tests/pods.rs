//! An agent that is a pod: its token becomes the certificate of its node's agent, which carries
//! streams until it is revoked. Authority, gateway and agent are processes; the API server is
//! scripted.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use child::{EYESPLICE, PATIENCE, Running, get, kernel_can};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::pem::{self, FileRef};
use eyesplice_identity::testing::apiserver::ScriptedApiServer;
use eyesplice_identity::testing::pods::{answer, token};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

const AUTHORITY: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen:
  {address: '127.0.0.1:0', tlsCertFile: pki/apiserver.crt, tlsPrivateKeyFile: pki/apiserver.key}
authentication:
  tokenReview: {server: 'https://REVIEW', caFile: review-ca.crt, tokenFile: review-token}
store: {path: authority.redb}
signers:
- {signerName: eyesplice.dev/agent-client, certFile: pki/tunnel-ca.crt, keyFile: pki/tunnel-ca.key}
approval:
  inventoryFile: pki/inventory.yaml
  agents:
    {namespace: eyesplice, serviceAccount: agents, audience: tunnel.example, denyFile: deny.yaml}
admin: {address: '127.0.0.1:0'}
";

const GATEWAY: &str = "\
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
tunnel: {nodeAgents: true, denyFile: deny.yaml}
egress:
  insecureAllowTargets: [127.0.0.0/8]
  rules:
  - {name: echo, cidrs: [127.0.0.0/8], action: splice, via: tunnel}
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
";

const AGENT: &str = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AgentConfig
identity:
  server: https://AUTHORITY
  caFile: pki/ca.crt
  tokenFile: token
  dir: own
  issuerCAFile: pki/tunnel-ca.crt
gateways: {addresses: ['GATEWAY'], caFile: pki/egress-ca.crt}
allow: {kubelet: {port: PORT}}
engine: {workers: 1}
admin: {address: '127.0.0.1:0'}
audit: {path: agent-audit.log}
";

fn eyesplice(args: &[&str], dir: &Path) -> String {
    let output = Command::new(EYESPLICE)
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// Echoes on every connection, for as long as the test lives.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (&stream, &stream);
                let _ = std::io::copy(&mut reader, &mut writer);
            });
        }
    });
    port
}

/// A cluster of one node, `worker-3`, whose pods come with tokens.
struct Site {
    place: tempfile::TempDir,
    authority: Running,
    gateway: Running,
    gateway_admin: String,
    port: u16,
}

impl Site {
    fn start(review: &ScriptedApiServer) -> Self {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path();
        let init = ["pki", "init", "pki", "--apiserver", "127.0.0.1"];
        let more = ["--node", "worker-3=127.0.0.1", "--agent", "edge-1"];
        eyesplice(&[&init[..], &more].concat(), dir);
        let nobody = ["tunnel", "revoke", "nobody", "--deny-file", "deny.yaml"];
        eyesplice(&nobody, dir);
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
        write("review-ca.crt", &review.ca.certificate.pem());
        write("review-token", "our-own-token\n");
        let secret = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(dir.join("review-token"), secret).unwrap();
        let address = review.address.to_string();
        write("authority.yaml", &AUTHORITY.replace("REVIEW", &address));
        write("gateway.yaml", GATEWAY);
        let authority = Running::start("authority", dir, "authority.yaml");
        let gateway = Running::start("gateway", dir, "gateway.yaml");
        let gateway_admin = gateway.address("admin endpoint listens");
        let agents = gateway.address("listens for agents with mutual TLS");
        let port = echo();
        let config = AGENT
            .replace("AUTHORITY", &authority.address("authority listens"))
            .replace("GATEWAY", &agents)
            .replace("PORT", &port.to_string());
        write("agent.yaml", &config);
        Self {
            place,
            authority,
            gateway,
            gateway_admin,
            port,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn agent(&self) -> Running {
        let mut agent = Command::new(EYESPLICE);
        agent
            .args(["agent", "--log-format", "json"])
            .args([
                "--node-name",
                "worker-3",
                "--node-ip",
                "127.0.0.1",
                "--config",
            ])
            .arg(self.path("agent.yaml"));
        Running::of(&mut agent)
    }

    fn connect(&self) -> (String, UnixStream) {
        let mut stream = UnixStream::connect(self.path("egress.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let target = format!("127.0.0.1:{}", self.port);
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        (String::from_utf8(head).unwrap(), stream)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_is_the_agent_of_its_node_by_its_token_until_it_is_revoked() {
    if !kernel_can() {
        return;
    }
    let review = ScriptedApiServer::start(answer).await;
    let site = Site::start(&review);
    let pair = site.path("own/agent-client.pem");

    // Before its token is there it waits, is not ready, and says why.
    let mut agent = site.agent();
    let admin = agent.address("admin endpoint listens");
    until("the agent says what it lacks", || {
        get(&admin, "/readyz").contains("[-]certificates failed: identity: token: ")
    });
    assert!(get(&admin, "/livez").starts_with("HTTP/1.1 200 "));
    let of = |account: &str| token("tunnel.example", account, "agent-worker-3");
    // Somebody else's token is none.
    std::fs::write(site.path("token"), of("default:agents")).unwrap();
    agent.signal(Signal::SIGHUP);
    until("the agent says that it is not known", || {
        get(&admin, "/readyz").contains("does not accept the token of this pod")
    });
    let told = site.authority.event("request is not authenticated");
    let error = told["error"].as_str().unwrap();
    assert!(
        error.contains("\"system:serviceaccount:default:agents\", not of"),
        "{error}"
    );
    assert!(!pair.exists());
    std::fs::write(site.path("token"), of("eyesplice:agents")).unwrap();
    agent.signal(Signal::SIGHUP);
    until("the agent holds its gateway", || {
        get(&admin, "/readyz").starts_with("HTTP/1.1 200 ")
    });
    let chain = pem::certificates(&FileRef::new("test", &pair)).unwrap();
    let facts = CertificateFacts::read(&chain[0]).unwrap();
    let subject = "CN=eyesplice:agent:node:worker-3,O=eyesplice:agents";
    assert_eq!(facts.subject.to_string(), subject);

    let (head, mut stream) = site.connect();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stream.write_all(b"x").unwrap();
    let mut back = [0];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"x");
    let status = ["tunnel", "status", "--admin", &site.gateway_admin];
    let shown = eyesplice(&status, site.place.path());
    assert!(shown.contains("\nnode:worker-3  serving "), "{shown}");

    // Renewed by itself, under a live stream.
    std::fs::remove_file(&pair).unwrap();
    agent.signal(Signal::SIGHUP);
    until("there is another certificate", || pair.exists());
    agent.event("configuration reloaded; in force for new streams");
    stream.write_all(b"y").unwrap();
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"y");

    let revoke = [
        "tunnel",
        "revoke",
        "node:worker-3",
        "--config",
        "gateway.yaml",
    ];
    eyesplice(&revoke, site.place.path());
    let ended = site.gateway.event("stream ended");
    assert_eq!(
        (&ended["reason"], &ended["via"]),
        (&"revoked".into(), &"node:worker-3".into())
    );
    assert!(matches!(stream.read(&mut back), Ok(0) | Err(_)));
    until("the agent is not ready", || {
        get(&admin, "/readyz").contains("[-]gateways failed")
    });
    // It gets no other certificate.
    site.authority
        .event("configuration reloaded; in force for new streams");
    std::fs::remove_file(&pair).unwrap();
    agent.signal(Signal::SIGHUP);
    let refused = r#"requests_total{signer="eyesplice.dev/agent-client",result="refused"}"#;
    until("the authority refuses it", || {
        get(&admin, "/metrics").contains(refused)
    });
    assert!(!pair.exists());
    agent.signal(Signal::SIGTERM);
    assert!(agent.wait().success());
}
