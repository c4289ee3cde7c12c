//! Go's TLS, of which every API server's and every kubelet's is made, where each side allows
//! X25519MLKEM768 alone: terminated, validated, and audited with the group on every leg.
//!
//! Needs Go 1.24: the toolchain that `EYESPLICE_GO` names, or `go`.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use eyesplice_dataplane::seam::{KeyExchange, Reason};
use eyesplice_proto::tls::Group;
use eyesplice_tests::pki::{Presented, pki};
use eyesplice_tests::skip::skipped;
use eyesplice_tests::stack::{Settings, Stack};
use eyesplice_tests::variant::{TCP_TLS13, can_run};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// As `kubelet` it serves /metrics and says where; as `apiserver` it asks for it through a gateway.
const PROGRAM: &str = r#"package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
)

func main() {
	role, dir := os.Args[1], os.Args[2]
	config := func(ca, own string) *tls.Config {
		pem, err := os.ReadFile(dir + "/" + ca)
		must(err)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		pair, err := tls.LoadX509KeyPair(dir+"/"+own+".crt", dir+"/"+own+".key")
		must(err)
		return &tls.Config{
			RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
			Certificates: []tls.Certificate{pair}, ServerName: "127.0.0.1",
			CurvePreferences: []tls.CurveID{tls.X25519MLKEM768},
		}
	}
	if role == "kubelet" {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		fmt.Println(listener.Addr())
		http.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.TLS.CurveID)
		})
		must(http.Serve(tls.NewListener(listener, config("clients.crt", "kubelet")), nil))
	}
	gateway, target := os.Args[3], os.Args[4]
	outer, err := tls.Dial("tcp", gateway, config("listeners.crt", "apiserver"))
	must(err)
	fmt.Fprintf(outer, "CONNECT %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", target)
	answer, err := http.ReadResponse(bufio.NewReader(outer), &http.Request{Method: "CONNECT"})
	must(err)
	inner := tls.Client(outer, config("egress.crt", "apiserver"))
	must(inner.Handshake())
	fmt.Fprintf(inner, "GET /metrics HTTP/1.1\r\nHost: %s\r\n\r\n", target)
	metrics, err := http.ReadResponse(bufio.NewReader(inner), nil)
	must(err)
	body, err := io.ReadAll(metrics.Body)
	must(err)
	fmt.Println(answer.StatusCode, outer.ConnectionState().CurveID,
		inner.ConnectionState().CurveID, string(body))
	must(inner.Close())
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
"#;

const NAME: &str = "go_peers_that_allow_the_hybrid_alone_are_terminated_and_audited";

/// The toolchain, if it is there and knows the group.
fn toolchain() -> Option<OsString> {
    let go = std::env::var_os("EYESPLICE_GO").unwrap_or_else(|| "go".into());
    let asked = Command::new(&go).args(["env", "GOVERSION"]).output().ok()?;
    let version = String::from_utf8(asked.stdout).ok()?;
    let minor = version.trim().strip_prefix("go1.")?.split('.').next()?;
    (minor.parse::<u32>().ok()? >= 24).then_some(go)
}

/// Ends with the test, however that ends.
struct Kubelet(Child);

impl Drop for Kubelet {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, dir: &Path) -> (Kubelet, String) {
    let mut kubelet = Command::new(program)
        .args([Path::new("kubelet"), dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    let said = kubelet.stdout.take().unwrap();
    let kubelet = Kubelet(kubelet);
    BufReader::new(said).read_line(&mut address).unwrap();
    (kubelet, address.trim().to_owned())
}

#[test]
fn go_peers_that_allow_the_hybrid_alone_are_terminated_and_audited() {
    if !Group::X25519MlKem768.is_built() {
        return skipped(NAME, "this build has no X25519MLKEM768");
    }
    if !can_run(NAME) {
        return;
    }
    let Some(go) = toolchain() else {
        return skipped(NAME, "no Go 1.24 here; EYESPLICE_GO names one");
    };
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("main.go"), PROGRAM).unwrap();
    let built = Command::new(&go)
        .args(["build", "-o", "peer", "main.go"])
        .current_dir(dir.path())
        .env("GO111MODULE", "off")
        .env("GOCACHE", at("cache"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{words}");
    let pki = pki();
    pki.clients.write(&at("clients.crt"), None);
    pki.listeners.write(&at("listeners.crt"), None);
    pki.egress.write(&at("egress.crt"), None);
    pki.api_server
        .write(&at("apiserver.crt"), &at("apiserver.key"));
    let kubelet = Presented::Good.identity(pki);
    kubelet.write(&at("kubelet.crt"), &at("kubelet.key"));

    let stack = Stack::start(TCP_TLS13, pki, &Settings::default());
    let (kubelet, target) = start(&at("peer"), dir.path());
    let api_server = stack.api_server(pki);
    let gateway = api_server.outer().unwrap().1.to_string();
    let asked = Command::new(at("peer"))
        .args(["apiserver", dir.path().to_str().unwrap(), &gateway, &target])
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&asked.stderr);
    assert!(asked.status.success(), "{words}");
    let said = String::from_utf8(asked.stdout).unwrap();
    let hybrid = "X25519MLKEM768";
    assert_eq!(said, format!("200 {hybrid} {hybrid} {hybrid}\n"));
    let record = stack.ended();
    assert_eq!(record.reason, Reason::Completed, "{record:?}");
    let group = Some(Group::X25519MlKem768);
    let expected = KeyExchange {
        listener: group,
        downstream: group,
        upstream: group,
    };
    assert_eq!(record.key_exchange, expected);
    drop(kubelet);
    stack.assert_nothing_held();
}
