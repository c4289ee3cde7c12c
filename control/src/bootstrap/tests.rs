//! A node that joins by a real authority, and each thing that can be in its way.

use super::*;
use eyesplice_authority::testing::{Served, Site};
use eyesplice_identity::pem::{FileRef, Role};
use eyesplice_identity::pki::testing::{Recipe, client};
use eyesplice_identity::testing::openssl;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fs;
use std::path::Path;
use time::Duration as Span;

const TOKEN: &str = "abcdef.0123456789abcdef";

fn put_token(site: &Site) {
    fs::create_dir(site.path("tokens")).unwrap();
    site.write(
        "tokens/bootstrap-token-abcdef.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: bootstrap-token-abcdef, namespace: \
         kube-system}\ntype: bootstrap.kubernetes.io/token\nstringData: {token-id: abcdef, \
         token-secret: 0123456789abcdef, usage-bootstrap-authentication: \"true\", \
         auth-extra-groups: \"system:bootstrappers:kubeadm:default-node-token\"}\n",
    );
    site.write("token", &format!("{TOKEN}\n"));
}

async fn bench() -> (Site, Served, Options) {
    let site = Site::new();
    put_token(&site);
    let served = Served::start(&site).await;
    let options = Options {
        server: format!("https://{}", served.address),
        node: "w".to_owned(),
        token_file: site.path("token"),
        ca_file: Some(site.path("server-ca.crt")),
        ca_pin: None,
        dir: site.path("node"),
        timeout: Duration::from_secs(60),
    };
    (site, served, options)
}

fn pin(site: &Site) -> String {
    let facts = CertificateFacts::read(&site.server_ca.der()).unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, &facts.spki);
    format!("sha256:{}", data_encoding::HEXLOWER.encode(hash.as_ref()))
}

/// A pair that is `past` of its hundred hours old.
fn put_pair(site: &Site, past: i64) {
    let now = OffsetDateTime::now_utc();
    let made = Recipe {
        organizations: vec!["system:nodes"],
        not_before: now - Span::hours(past),
        not_after: now + Span::hours(100 - past),
        ..client("system:node:w")
    }
    .signed_by(&site.ca);
    fs::create_dir(site.path("node")).unwrap();
    let pair = format!("{}{}", made.certificate.pem(), made.key.serialize_pem());
    site.write("node/node-client.pem", &pair);
}

fn requesters(served: &Served) -> Vec<String> {
    served.asked().into_iter().map(|(who, _)| who).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_becomes_a_certificate_and_a_kubeconfig_once() {
    let (site, served, options) = bench().await;
    let joined = once(&options, SystemTime::now()).await.unwrap();
    assert!(!joined.unchanged);
    assert_eq!(requesters(&served), ["system:bootstrap:abcdef"]);
    let file = FileRef::new("pair", &joined.pair);
    let pair = pem::Credential::load(file.clone(), &file, Role::Client).unwrap();
    assert!(pair.leaf.subject.is_node("w"));
    let kubeconfig = fs::read_to_string(&joined.kubeconfig).unwrap();
    assert!(kubeconfig.contains(&options.server), "{kubeconfig}");
    assert!(kubeconfig.contains("node-client.pem") && kubeconfig.contains("ca.crt"));
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&joined.pair), mode(&site.path("node"))),
        (0o600, 0o700)
    );

    let again = once(&options, SystemTime::now()).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(requesters(&served).len(), 1, "nothing was asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pin_alone_finds_the_ca() {
    let (site, _served, mut options) = bench().await;
    options.ca_file = None;
    options.ca_pin = Some(pin(&site));
    once(&options, SystemTime::now()).await.unwrap();
    let facts = CertificateFacts::read(&site.server_ca.der()).unwrap();
    let hash = eyesplice_identity::pins::SpkiHash::of(&facts.spki);
    for other in [
        format!("sha256:{hash}"),
        format!("sha256/{hash}"),
        format!("sha256//{hash}"),
    ] {
        assert_eq!(trust::parse_pin(&other).unwrap(), hash, "{other}");
    }
    trust::parse_pin(&hash.to_string()).unwrap_err();
    let ca = fs::read_to_string(site.path("node/ca.crt")).unwrap();
    assert_eq!(
        ca.replace('\r', ""),
        site.server_ca.certificate.pem().replace('\r', "")
    );
}

#[test]
fn pinned_ca_with_a_weak_key_is_refused() {
    if !openssl::present("pinned_ca_with_a_weak_key_is_refused") {
        return;
    }
    let judged = |bits: &str| {
        let key = openssl::key("RSA", &[bits]);
        let ca = openssl::self_signed(&key, "/CN=ca", &[]);
        let ca = CertificateDer::from_pem_slice(&ca).unwrap();
        let facts = CertificateFacts::read(&ca).unwrap();
        let pin = eyesplice_identity::pins::SpkiHash::of(&facts.spki);
        let none = std::sync::Arc::new(rustls::RootCertStore::empty());
        trust::pinned(Some(pin), vec![ca], "https://api:6443", none).map(|_| ())
    };
    judged("rsa_keygen_bits:2048").unwrap();
    let text = judged("rsa_keygen_bits:1024").unwrap_err().to_string();
    assert!(
        text.starts_with("the CA of https://api:6443 that has the pin has an RSA key of 1024 bits"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_renewed_with_itself_and_after_its_end_with_the_token() {
    for (past, requester) in [(95, "system:node:w"), (101, "system:bootstrap:abcdef")] {
        let (site, served, options) = bench().await;
        put_pair(&site, past);
        let joined = once(&options, SystemTime::now()).await.unwrap();
        assert!(!joined.unchanged);
        assert_eq!(requesters(&served), [requester], "{past}");
    }
    let (site, served, options) = bench().await;
    put_pair(&site, 50);
    assert!(once(&options, SystemTime::now()).await.unwrap().unchanged);
    assert!(requesters(&served).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_told_by_the_part_that_failed() {
    let (site, _served, good) = bench().await;
    // Bound, so that nobody else gets the port, and not listening.
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = closed.local_addr().unwrap();
    site.write("wrong", "abcdef.aaaaaaaaaaaaaaaa");
    site.write("nonsense", "hello");
    type Spoil = fn(&mut Options, &Site);
    let table: [(Spoil, &str, &str); 9] = [
        (
            |o, s| o.token_file = s.path("wrong"),
            "token or expiry",
            "does not accept the bootstrap token",
        ),
        (
            |o, s| o.token_file = s.path("nonsense"),
            "token",
            "holds no bootstrap token",
        ),
        (
            |o, s| o.token_file = s.path("none"),
            "token",
            "cannot use --token-file",
        ),
        (
            |o, s| o.ca_file = Some(s.path("ca.crt")),
            "CA pin",
            "is not trusted",
        ),
        (
            |o, _| o.ca_pin = Some(format!("sha256:{}", "0".repeat(64))),
            "CA pin",
            "no CA of",
        ),
        (
            |o, _| o.ca_pin = Some("sha256:12".to_owned()),
            "CA pin",
            "is not a pin",
        ),
        (|o, _| o.ca_file = None, "CA pin", "give --ca-file"),
        (
            |o, _| o.node = "W".to_owned(),
            "command line",
            "--node \"W\"",
        ),
        (
            |o, _| o.server = "http://x".to_owned(),
            "command line",
            "--server \"http://x\"",
        ),
    ];
    for (spoil, cause, words) in table {
        let mut options = good.clone();
        spoil(&mut options, &site);
        let error = once(&options, SystemTime::now()).await.unwrap_err();
        assert_eq!(error.cause(), cause, "{error}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    }
    let mut options = good.clone();
    options.server = format!("https://{nobody}");
    let error = once(&options, SystemTime::now()).await.unwrap_err();
    assert_eq!(error.cause(), "network", "{error}");
    let mut options = good;
    options.ca_file = None;
    options.ca_pin = Some(format!("sha256:{}", "0".repeat(64)));
    let error = once(&options, SystemTime::now()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the connection is intercepted"), "{text}");
    assert!(text.contains(&pin(&site)), "{text}");
    // What it says can be given.
    options.ca_pin = Some(pin(&site));
    once(&options, SystemTime::now()).await.unwrap();
    fs::remove_dir_all(site.path("node")).unwrap();
    let written = fs::read_dir(site.path("node")).map_or(0, Iterator::count);
    assert_eq!(written, 0, "nothing was written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dry_run_looks_at_every_part_and_changes_nothing() {
    let (site, served, mut options) = bench().await;
    let findings = diagnose(&options, SystemTime::now()).await;
    let parts: Vec<&str> = findings.iter().map(|finding| finding.part).collect();
    assert_eq!(
        parts,
        ["token", "expiry", "CA pin", "network", "clock", "approval"]
    );
    assert!(
        findings.iter().all(|finding| finding.outcome.is_ok()),
        "{findings:?}"
    );
    assert!(requesters(&served).is_empty() && !site.path("node").exists());

    site.write("wrong", "abcdef.aaaaaaaaaaaaaaaa");
    options.token_file = site.path("wrong");
    let findings = diagnose(&options, SystemTime::now()).await;
    let bad: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.outcome.is_err())
        .map(|finding| finding.part)
        .collect();
    assert_eq!(bad, ["token or expiry"]);
    let late = SystemTime::now() + Duration::from_secs(7200);
    let findings = diagnose(&options, late).await;
    let clock = findings
        .iter()
        .find(|finding| finding.part == "clock")
        .unwrap();
    assert!(clock.outcome.is_err(), "{clock:?}");
}
