//! Go's TLS client, of which every API server's is made, against our tickets: without a session cache,
//! which neither kube-apiserver nor client-go sets, it asks for no ticket and gets none; with one it
//! resumes.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice::tickets::{DEFAULT_LIFETIME, Tickets};
use eyesplice_identity::verify::client_verifier;
use eyesplice_proto::tls::Session;
use eyesplice_proto::tls::provider;
use eyesplice_tests::pki::{Identity, Leaf, pki};
use eyesplice_tests::skip::skipped;
use eyesplice_tests::wait::eventually;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Connects three times, says whether each resumed, and reads what the server says to its end.
const PROGRAM: &str = r#"package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	address, dir, version, cached := os.Args[1], os.Args[2], os.Args[3], os.Args[4] == "cached"
	ca, err := os.ReadFile(dir + "/ca.crt")
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	own, err := tls.LoadX509KeyPair(dir+"/client.crt", dir+"/client.key")
	must(err)
	number, err := strconv.ParseUint(version, 16, 16)
	must(err)
	config := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MaxVersion: uint16(number)}
	if cached {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	for i := 0; i < 3; i++ {
		conn, err := tls.Dial("tcp", address, config)
		must(err)
		said, err := io.ReadAll(conn)
		must(err)
		fmt.Println(conn.ConnectionState().DidResume, string(said))
		conn.Close()
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

struct Server {
    config: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Server {
    fn new() -> Self {
        let pki = pki();
        let identity: Identity = pki.listeners.issue(&Leaf::server(&["127.0.0.1"]));
        let key = provider::shared()
            .key_provider
            .load_private_key(identity.key())
            .unwrap();
        let certified = Arc::new(CertifiedKey::new(identity.chain.clone(), key));
        let clients = client_verifier(pki.clients.roots(), &[]).unwrap();
        let mut config = ServerConfig::builder_with_provider(provider::shared())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_client_cert_verifier(Arc::clone(&clients))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certified))));
        let tickets = Tickets::new(DEFAULT_LIFETIME).unwrap();
        tickets.apply(&mut config, &certified, "test");
        config.enable_secret_extraction = true;
        Self {
            config: Arc::new(config),
            clients,
        }
    }

    /// Serves one client to the end; returns whether it got a ticket behind the handshake, and resumed.
    fn serve(&self, mut socket: TcpStream) -> (bool, bool) {
        let clients = Arc::clone(&self.clients);
        let mut session = Session::server_of(Arc::clone(&self.config), Some(clients)).unwrap();
        let mut buffer = vec![0; 256 * 1024];
        while session.is_handshaking() {
            let kept = session.pending_len();
            let got = socket.read(&mut buffer[kept..kept + 32 * 1024]).unwrap();
            assert_ne!(got, 0, "client left");
            let result = session.receive(&mut buffer[..kept + got]);
            socket.write_all(&session.take_outgoing()).unwrap();
            result.unwrap();
        }
        let seen = (session.has_ticket(), session.is_resumed());
        let sealed = session.seal(b"hello", &mut buffer).unwrap();
        socket.write_all(&buffer[..sealed]).unwrap();
        let end = session.close(&mut buffer).unwrap();
        socket.write_all(&buffer[..end]).unwrap();
        // Its own close_notify, and its end.
        while !matches!(socket.read(&mut buffer), Ok(0) | Err(_)) {}
        seen
    }
}

/// Runs the program; what each of its connections was for the server, and what it said itself.
fn visits(go: &Path, dir: &Path, version: &str, cache: &str) -> (Vec<(bool, bool)>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let client = Command::new(go)
        .args([&address, dir.to_str().unwrap(), version, cache])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let server = Server::new();
    let seen = (0..3).map(|_| {
        let next = || listener.accept().ok();
        server.serve(eventually(next, || "the Go client".into()).0)
    });
    let seen = seen.collect();
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success());
    (seen, String::from_utf8(output.stdout).unwrap())
}

#[test]
fn go_client_gets_tickets_only_if_it_keeps_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("main.go"), PROGRAM).unwrap();
    let built = Command::new("go")
        .args(["build", "-o", "client", "main.go"])
        .current_dir(dir.path())
        .env("GO111MODULE", "off")
        .env("GOCACHE", at("cache"))
        .output();
    let Ok(built) = built else {
        skipped(
            "go_client_gets_tickets_only_if_it_keeps_sessions",
            "no go here",
        );
        return;
    };
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{words}");
    pki().listeners.write(&at("ca.crt"), None);
    pki().api_server.write(&at("client.crt"), &at("client.key"));
    for version in ["0304", "0303"] {
        let tls13 = version == "0304";
        let (seen, said) = visits(&at("client"), dir.path(), version, "none");
        assert_eq!(seen, [(false, false); 3], "{version}");
        assert_eq!(said, "false hello\n".repeat(3));
        let (seen, said) = visits(&at("client"), dir.path(), version, "cached");
        // With TLS 1.2 a ticket is part of the handshake.
        let expected = [(tls13, false), (tls13, true), (tls13, true)];
        assert_eq!(seen, expected, "{version}");
        assert_eq!(said, "false hello\ntrue hello\ntrue hello\n");
    }
}
