//! The document: read with every mistake at once, written so that it reads the same.

use super::*;
use crate::document::{Document, Loaded};
use crate::pki::render::render;
use crate::pki::spec::Spec;
use proptest::prelude::{any, proptest};
use time::Duration;

const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: PKIConfig\n";

const FULL: &str = "\
cluster: {name: prod, domain: c.example, server: 'https://[fd00::1]:8443/', serviceIPs: [10.1.0.1, fd01::1]}
names:
  apiserver: [10.0.0.1, cp.example]
  controllers: [10.0.0.2]
  gateway: [gw.example]
etcd:
- {name: cp-1, addresses: [10.0.0.1]}
- {name: cp-2, addresses: [10.0.0.2, cp-2.example]}
nodes:
- {name: worker-1, addresses: [10.0.0.11]}
users:
- {name: jane@example.com, groups: [dev, ops]}
authorities:
  layout: separate
  parent: {certFile: root.crt, keyFile: /root.key}
  existing:
  - {name: etcd/ca, certFile: e.crt, keyFile: e.key}
keys: {algorithm: ECDSA-P384}
lifetimes: {authorities: 48h, certificates: 90m}
";

fn errors(text: &str) -> Vec<String> {
    let error = Spec::parse(&format!("{HEAD}{text}"), Path::new("p.yaml")).unwrap_err();
    error.errors.iter().map(ToString::to_string).collect()
}

#[test]
fn document_of_nothing_has_every_default() {
    let Loaded {
        config: spec,
        warnings,
    } = Spec::parse(HEAD, Path::new("p.yaml")).unwrap();
    assert_eq!(spec.cluster.server.to_string(), "https://127.0.0.1:6443");
    assert_eq!(spec.lifetimes.certificates, Duration::days(365));
    assert_eq!(spec.etcd[0].name, "etcd");
    assert_eq!(warnings, []);
}

#[test]
fn document_that_was_written_reads_the_same() {
    let file = Path::new("/etc/x/p.yaml");
    let spec = Spec::parse(&format!("{HEAD}{FULL}"), file).unwrap().config;
    let text = render(&spec);
    let again = Spec::parse(&text, Path::new("/elsewhere/p.yaml"))
        .unwrap()
        .config;
    assert_eq!(format!("{spec:?}"), format!("{again:?}"));
    assert_eq!(render(&again), text);
    for part in [
        "lifetimes:\n  authorities: \"48h\"\n  breakGlass: \"8h\"\n  certificates: \"90m\"\n",
        "https://[fd00::1]:8443",
        "ECDSA-P384",
        "\"/root.key\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn document_tells_all_mistakes_at_once_with_their_places() {
    let errors = errors(
        "cluster: {server: 'http://x', serviceIPs: [name], zone: 1}\n\
         names: {apiserver: [10.0.0.300]}\n\
         etcd:\n- {name: a}\n\
         nodes:\n- {name: w, addresses: [10.0.0.1]}\n- {name: w, addresses: [10.0.0.2]}\n\
         - {name: serving-ca, addresses: [10.0.0.3]}\n- {name: UP, addresses: [10.0.0.4]}\n\
         users:\n- {name: 'a/b'}\n- {name: x, groups: ['a,b']}\n\
         authorities: {layout: many, existing: [{name: kubelet-ca, certFile: a, keyFile: b}]}\n\
         keys: {algorithm: RSA-1024}\n\
         lifetimes: {certificates: 1s}\nnode: []\n",
    );
    for expected in [
        "cluster.server (line 3",
        "cluster.serviceIPs[0] (line 3, column 44): \"name\" is no IP address",
        "cluster.zone (line 3",
        "names.apiserver[0] (line 4",
        "etcd[0].addresses (line 6",
        "node w is given twice",
        "kubelet-serving-ca.crt would be written twice",
        "nodes[3].name (line 11",
        "user name \"a/b\"",
        "group \"a,b\" of user x",
        "authorities.layout (line 15",
        "there is no CA kubelet-ca; the CAs are ca, kubelet-serving-ca",
        "keys.algorithm (line 16",
        "lifetimes.certificates (line 17",
        "node (line 18, column 1): is not a known field; did you mean `nodes`?",
    ] {
        let found = errors
            .iter()
            .filter(|error| error.contains(expected))
            .count();
        assert_eq!(found, 1, "{expected}: {errors:#?}");
    }
    assert_eq!(errors.len(), 15, "{errors:#?}");
}

#[test]
fn document_warns_of_what_trusts_too_much() {
    let text = "authorities: {layout: single}\nusers: [{name: x, groups: ['system:masters']}]\n";
    let warnings = Spec::parse(&format!("{HEAD}{text}"), Path::new("p.yaml"))
        .unwrap()
        .warnings;
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(warnings[0].contains("authorities.layout") && warnings[1].contains("system:masters"));
}

#[test]
fn document_of_every_prefix_never_panics() {
    let text = format!("{HEAD}{FULL}");
    for end in 0..text.len() {
        drop(Spec::parse(&text[..end], Path::new("p.yaml")));
    }
}

proptest! {
    #[test]
    fn document_of_any_text_never_panics(text in any::<String>()) {
        drop(Spec::parse(&text, Path::new("p.yaml")));
        drop(Spec::parse(&format!("{HEAD}nodes: {text}\n"), Path::new("p.yaml")));
    }
}

#[test]
fn document_is_found_in_the_tree_or_named() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let pki = dir.path().join("pki");
    let text = read(dir.path(), "pki.yaml");
    fs::remove_file(pki.join("pki.yaml")).unwrap();
    let error = Tree::open(&pki, None).unwrap_err().to_string();
    assert!(
        error.contains("has no pki.yaml; name the document by --config"),
        "{error}"
    );
    let elsewhere = dir.path().join("p.yaml");
    fs::write(&elsewhere, text).unwrap();
    let tree = Tree::open(&pki, Some(&elsewhere)).unwrap();
    assert!(
        tree.inspect(SystemTime::now())
            .iter()
            .all(|row| row.flaws.is_empty())
    );
    let error = Tree::open(&dir.path().join("absent"), None).unwrap_err();
    assert!(
        matches!(error, PkiError::File(FileError::Io { .. })),
        "{error}"
    );
}

#[test]
fn tree_of_gateways_has_only_what_they_and_agents_hold() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = tempfile::tempdir().unwrap();
    make(cluster.path()).unwrap();
    let ca = cluster.path().join("pki/ca");
    let sections = format!(
        "scope: gateway\nagents: [edge-1]\nnodes:\n- {{name: worker-1, addresses: [10.0.0.7]}}\n\
         authorities:\n  existing:\n  - {{name: ca, certFile: {0}.crt, keyFile: {0}.key}}\n",
        ca.display()
    );
    let mut files = make_from(dir.path(), &sections).unwrap().files;
    files.sort();
    let expected = [
        "agent-edge-1.crt",
        "agent-edge-1.key",
        "ca-chain.crt",
        "ca.crt",
        "egress-ca-chain.crt",
        "egress-ca.crt",
        "egress-ca.key",
        "egress-client-ca-chain.crt",
        "egress-client-ca.crt",
        "egress-client-ca.key",
        "egress-client.crt",
        "egress-client.key",
        "egress-server.crt",
        "egress-server.key",
        "eyesplice-kubelet-client.crt",
        "eyesplice-kubelet-client.key",
        "inventory.yaml",
        "pki.yaml",
        "tunnel-ca-chain.crt",
        "tunnel-ca.crt",
        "tunnel-ca.key",
    ];
    assert_eq!(files, expected);
    let rows = tree(dir.path()).inspect(SystemTime::now());
    let flaws: Vec<_> = rows.iter().flat_map(|row| &row.flaws).collect();
    assert!(flaws.is_empty(), "{flaws:?}");
}

#[test]
fn tree_of_gateways_needs_the_cluster_that_it_is_for() {
    let errors = errors("scope: gateway\n");
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("does not name its CA"), "{errors:?}");
}
