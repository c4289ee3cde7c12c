//! The life of `eyesplice bootstrap --keep` as a service manager sees it.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;

use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use tokio::net::TcpSocket;

#[test]
fn keep_without_a_server_tries_on_and_ends_cleanly_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    let made = Command::new(child::EYESPLICE)
        .args(["pki", "init"])
        .arg(&pki)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let token = dir.path().join("token");
    std::fs::write(&token, "abcdef.0123456789abcdef").unwrap();
    // Bound, so that nobody else gets the port, and not listening.
    let port = TcpSocket::new_v4().unwrap();
    port.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = port.local_addr().unwrap();
    let node = dir.path().join("node");
    let mut keep = Command::new(child::EYESPLICE)
        .args(["bootstrap", "--keep", "--log-format", "json"])
        .args(["--node", "w", "--server", &format!("https://{nobody}")])
        .arg("--token-file")
        .arg(&token)
        .arg("--ca-file")
        .arg(pki.join("ca.crt"))
        .arg("--dir")
        .arg(&node)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(keep.stderr.take().unwrap()).lines();
    let tried = log.find_map(|line| {
        let event: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        (event["message"] == "no client certificate; trying again").then_some(event)
    });
    let tried = tried.expect("it says that it failed");
    assert_eq!(tried["cause"], "network", "{tried}");
    child::signal(&keep, Signal::SIGTERM);
    let rest = std::thread::spawn(move || log.map_while(Result::ok).collect::<Vec<_>>());
    assert!(child::ended(&mut keep).success());
    let rest = rest.join().unwrap().join("\n");
    assert!(rest.contains("stopping"), "{rest}");
    let left = std::fs::read_dir(&node).unwrap().count();
    assert_eq!(left, 0, "nothing half-written stays");
}
