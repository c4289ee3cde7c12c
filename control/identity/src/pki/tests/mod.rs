//! What `pki init` writes, judged by other programs' rules where they are at hand.

mod authorities;
mod crash;
mod crossing;
mod documents;
mod external;
pub(in crate::pki) mod faulty;
mod kubeadm;
mod manifests;
mod renewal;
mod roles;
mod rotation;
mod stacks;
mod verdicts;

use super::options::OptionProblem;
use super::*;
use data_encoding::BASE64;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Makes the tree below `dir` that the tests are about.
fn make(dir: &Path) -> Result<InitReport, PkiError> {
    make_of(dir, options(), false)
}

fn make_of(dir: &Path, options: InitOptions, force: bool) -> Result<InitReport, PkiError> {
    init(&dir.join("pki"), &Source::Options(Box::new(options)), force)
}

fn options() -> InitOptions {
    InitOptions {
        apiserver: vec!["10.0.0.1".to_owned(), "cp.example".to_owned()],
        server: Some("https://api.example:6443/".to_owned()),
        service_ips: vec![DEFAULT_SERVICE_IP],
        service_cidrs: Vec::new(),
        nodes: vec![
            "worker-1=10.0.0.7,fd00::7,w1.example".parse().unwrap(),
            "worker-2=10.0.0.8".parse().unwrap(),
        ],
        gateway: vec!["10.0.0.1".to_owned()],
        agents: Vec::new(),
    }
}

/// Makes the tree below `dir` from a document with these sections.
fn make_from(dir: &Path, sections: &str) -> Result<InitReport, PkiError> {
    let file = dir.join("config.yaml");
    let head = "apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\n";
    fs::write(&file, format!("{head}{sections}")).unwrap();
    init(&dir.join("pki"), &Source::Config(file), false)
}

fn tree(dir: &Path) -> Tree {
    Tree::open(&dir.join("pki"), None).unwrap()
}

/// What `pki verify` would print, at `now`.
fn flaws_at(dir: &Path, now: SystemTime) -> Vec<String> {
    let mut lines = Vec::new();
    for row in tree(dir).inspect(now) {
        let line = |flaw: &Flaw| format!("{}: {}: {flaw}", row.file, flaw.severity().as_str());
        lines.extend(row.flaws.iter().map(line));
    }
    lines
}

fn flaws(dir: &Path) -> Vec<String> {
    flaws_at(dir, SystemTime::now())
}

/// Runs openssl in the tree, and says whether it was content; absent if there is none.
fn openssl(dir: &Path, arguments: &[&str]) -> Option<(bool, String)> {
    let mut command = Command::new("openssl");
    let out = command
        .current_dir(dir.join("pki"))
        .args(arguments)
        .output()
        .ok()?;
    let text = [out.stdout, out.stderr].concat();
    Some((
        out.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join("pki").join(name)).unwrap()
}

fn der(dir: &Path, name: &str) -> Vec<u8> {
    pem_der(&read(dir, name))
}

fn pem_der(text: &str) -> Vec<u8> {
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    BASE64.decode(body.as_bytes()).unwrap()
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => IpAddr::from(v4).to_string(),
                Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string(),
            },
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn init_writes_the_layout_with_its_modes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let report = make(root).unwrap();
    let mut on_disk = Vec::new();
    for (prefix, dir) in [("", "pki"), ("etcd/", "pki/etcd")] {
        let entries = fs::read_dir(root.join(dir)).unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
        on_disk.extend(files.map(|entry| format!("{prefix}{}", entry.file_name().display())));
    }
    on_disk.sort();
    let mut reported = report.files.clone();
    reported.sort();
    assert_eq!(on_disk, reported);
    for name in [
        "ca.crt",
        "kubelet-serving-ca.key",
        "front-proxy-client.crt",
        "egress-server.crt",
        "egress-client.crt",
        "eyesplice-kubelet-client.crt",
        "kubelet-worker-1.crt",
        "kubelet-client-worker-2.crt",
        "etcd/ca.crt",
        "etcd/server.key",
        "etcd/peer.crt",
        "etcd/healthcheck-client.crt",
        "apiserver-etcd-client.crt",
        "controller-manager-server.crt",
        "super-admin.kubeconfig",
        "kube-proxy.kubeconfig",
        "sa.key",
        "sa.pub",
        "pki.yaml",
        "admin.kubeconfig",
        "kubelet-worker-2.kubeconfig",
        "inventory.yaml",
    ] {
        assert!(
            reported.iter().any(|file| file == name),
            "{name} is missing"
        );
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path().join("pki")), 0o700);
    for name in reported {
        let secret = name.ends_with(".key") || name.ends_with(".kubeconfig");
        let expected = if secret { 0o600 } else { 0o644 };
        assert_eq!(
            mode(&dir.path().join("pki").join(&name)),
            expected,
            "{name}"
        );
    }
}

#[test]
fn init_certificates_have_kubeadms_fields() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let apiserver = der(dir.path(), "apiserver.crt");
    let (_, apiserver) = X509Certificate::from_der(&apiserver).unwrap();
    assert_eq!(apiserver.subject().to_string(), "CN=kube-apiserver");
    assert_eq!(apiserver.issuer().to_string(), "CN=kubernetes");
    assert_eq!(
        names_of(&apiserver),
        [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
            "127.0.0.1",
            "10.96.0.1",
            "api.example",
            "10.0.0.1",
            "cp.example",
        ]
    );
    let kubelet = der(dir.path(), "kubelet-worker-1.crt");
    let (_, kubelet) = X509Certificate::from_der(&kubelet).unwrap();
    assert_eq!(
        kubelet.subject().to_string(),
        "O=system:nodes, CN=system:node:worker-1"
    );
    assert_eq!(kubelet.issuer().to_string(), "CN=kubelet-serving-ca");
    assert_eq!(
        names_of(&kubelet),
        ["10.0.0.7", "fd00::7", "w1.example", "worker-1"]
    );
    let usage = kubelet.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth && !usage.any);
    assert!(!kubelet.is_ca());
    let validity = kubelet.validity();
    let lifetime = validity.not_after.timestamp() - validity.not_before.timestamp();
    assert_eq!(lifetime, 365 * 86_400 + 300);

    let ca = der(dir.path(), "ca.crt");
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    assert!(ca.is_ca());
    assert!(ca.key_usage().unwrap().unwrap().value.key_cert_sign());
    assert_eq!(names_of(&ca), ["kubernetes"]);
    let admin = der(dir.path(), "admin.crt");
    let (_, admin) = X509Certificate::from_der(&admin).unwrap();
    assert_eq!(
        admin.subject().to_string(),
        "O=kubeadm:cluster-admins, CN=kubernetes-admin"
    );
    assert!(
        admin
            .extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .client_auth
    );
    assert_ne!(admin.raw_serial(), kubelet.raw_serial());
}

#[test]
fn init_certificates_verify_by_openssl() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: init_certificates_verify_by_openssl: no openssl on this machine");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let pki = dir.path().join("pki");
    for (ca, leaf, purpose) in [
        ("ca", "apiserver", "sslserver"),
        ("ca", "apiserver-kubelet-client", "sslclient"),
        ("ca", "admin", "sslclient"),
        ("ca", "controller-manager", "sslclient"),
        ("ca", "scheduler", "sslclient"),
        ("ca", "eyesplice-kubelet-client", "sslclient"),
        ("ca", "kubelet-client-worker-1", "sslclient"),
        ("kubelet-serving-ca", "kubelet-worker-1", "sslserver"),
        ("kubelet-serving-ca", "kubelet-worker-2", "sslserver"),
        ("front-proxy-ca", "front-proxy-client", "sslclient"),
        ("egress-ca", "egress-server", "sslserver"),
        ("egress-client-ca", "egress-client", "sslclient"),
        ("etcd/ca", "etcd/server", "sslserver"),
        ("etcd/ca", "etcd/server", "sslclient"),
        ("etcd/ca", "etcd/peer", "sslserver"),
        ("etcd/ca", "etcd/peer", "sslclient"),
        ("etcd/ca", "etcd/healthcheck-client", "sslclient"),
        ("etcd/ca", "apiserver-etcd-client", "sslclient"),
        ("ca", "controller-manager-server", "sslserver"),
    ] {
        let out = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .arg(pki.join(format!("{ca}.crt")))
            .arg(pki.join(format!("{leaf}.crt")))
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{leaf}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    let of_key = Command::new("openssl")
        .args(["pkey", "-pubout", "-in"])
        .arg(pki.join("sa.key"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&of_key.stdout),
        read(dir.path(), "sa.pub")
    );
}

#[test]
fn init_kubeconfig_embeds_certificate_and_key() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let text = read(dir.path(), "kubelet-worker-1.kubeconfig");
    let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let user = &config["users"][0];
    assert_eq!(cluster["server"], "https://api.example:6443");
    assert_eq!(user["name"], "system:node:worker-1");
    assert_eq!(config["current-context"], config["contexts"][0]["name"]);
    let embedded = |value: &serde_json::Value| {
        String::from_utf8(BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()).unwrap()
    };
    assert_eq!(
        embedded(&cluster["certificate-authority-data"]),
        read(dir.path(), "ca.crt")
    );
    assert_eq!(
        embedded(&user["user"]["client-certificate-data"]),
        read(dir.path(), "kubelet-client-worker-1.crt")
    );
    assert_eq!(
        embedded(&user["user"]["client-key-data"]),
        read(dir.path(), "kubelet-client-worker-1.key")
    );
}

#[test]
fn init_overwrites_only_with_force() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    fs::create_dir(&pki).unwrap();
    fs::write(pki.join("sa.pub"), "mine").unwrap();
    let error = make(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("has sa.pub already (1 in all)") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(
        fs::read_dir(&pki).unwrap().count(),
        1,
        "something was written"
    );
    make_of(dir.path(), options(), true).unwrap();
    assert!(read(dir.path(), "sa.pub").contains("PUBLIC KEY"));
}

#[test]
fn init_that_cannot_write_one_file_writes_none() {
    let dir = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki");
    // A directory that is not empty cannot be renamed over.
    fs::create_dir_all(pki.join("ca.crt/x")).unwrap();
    let error = make_of(dir.path(), options(), true).unwrap_err();
    assert!(
        matches!(error, PkiError::File(FileError::Io { .. })),
        "{error}"
    );
    let left = fs::read_dir(&pki)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["ca.crt"]);
}

#[test]
fn init_names_all_wrong_options_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.apiserver.push("bad name".to_owned());
    options.gateway.push("10.0.0.300".to_owned());
    options.server = Some("http://api.example".to_owned());
    options.nodes.push("worker-1=10.0.0.9".parse().unwrap());
    options.nodes.push("worker-4=10.0.0.7".parse().unwrap());
    options.nodes.push("serving-ca=10.0.0.10".parse().unwrap());
    options
        .nodes
        .push("client-worker-2=10.0.0.11".parse().unwrap());
    let Err(PkiError::Options(problems)) = make_of(dir.path(), options, false) else {
        panic!("accepted")
    };
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    for expected in [
        "--apiserver \"bad name\" has the character ' '",
        "--gateway \"10.0.0.300\" ends in a number but is no IP address",
        "--server \"http://api.example\" is no URL",
        "node worker-1 is given twice",
        "address 10.0.0.7 belongs to both node worker-1 and node worker-4",
        "kubelet-serving-ca.crt would be written twice",
        "kubelet-client-worker-2.crt would be written twice",
    ] {
        assert!(
            texts.iter().any(|text| text.contains(expected)),
            "{expected}: {texts:#?}"
        );
    }
    assert_eq!(texts.len(), 7, "{texts:#?}");
    assert!(!dir.path().join("pki").exists());
}

#[test]
fn server_url_takes_https_with_a_host_only() {
    for (url, good) in [
        ("https://10.0.0.1:6443", true),
        ("https://[fd00::1]:6443/", true),
        ("https://[fd00::1]", true),
        ("https://api.example", true),
        ("https://", false),
        ("https://api.example:0", false),
        ("https://api.example:+1", false),
        ("https://api.example/path", false),
        ("https://user@api.example", false),
        ("https://[10.0.0.1]", false),
        ("https://[fd00::1]x", false),
        ("https://a\"b", false),
        ("http://api.example", false),
    ] {
        let options = InitOptions {
            server: Some(url.to_owned()),
            ..options()
        };
        match options.spec() {
            Ok(_) => assert!(good, "{url} was accepted"),
            Err(problems) => {
                assert!(!good, "{url}: {problems:?}");
                assert_eq!(problems, [OptionProblem::Server(url.to_owned())]);
            }
        }
    }
}

#[test]
fn server_url_defaults_to_the_first_apiserver() {
    let server = |apiserver: &[&str]| {
        let apiserver = apiserver.iter().map(|name| (*name).to_owned()).collect();
        let options = InitOptions {
            server: None,
            apiserver,
            ..options()
        };
        options
            .spec()
            .unwrap_or_else(|problems| panic!("{problems:?}"))
            .cluster
            .server
            .to_string()
    };
    assert_eq!(server(&[]), "https://127.0.0.1:6443");
    assert_eq!(server(&["cp.example"]), "https://cp.example:6443");
    assert_eq!(server(&["fd00::1"]), "https://[fd00::1]:6443");
}

#[test]
fn node_spec_says_what_is_wrong() {
    for (text, expected) in [
        (
            "worker-3",
            "node \"worker-3\" has no address; write NAME=IP",
        ),
        ("worker-3=", "has no address"),
        ("=10.0.0.1", "node name \"\" is empty"),
        (
            "Worker=10.0.0.1",
            "node name \"Worker\" has the character 'W'",
        ),
        (
            "worker-3=10.0.0.7,",
            "address \"\" of node worker-3 is empty",
        ),
        (
            "worker-3=10.0.0.7:10250",
            "address \"10.0.0.7:10250\" of node worker-3",
        ),
        ("worker-3=0.0.0.0", "is no address of one host"),
    ] {
        let error = text.parse::<NodeSpec>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let node: NodeSpec = "worker-3=10.0.0.7,W3.example,10.0.0.7".parse().unwrap();
    let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.7", "w3.example"]);
}
