//! CAs of every kind: algorithms, one for all, intermediates, and those that existed before.

use super::*;
use eyesplice_proto::causes::chain;

/// Verifies every certificate of the tree by openssl; gives what it has against them.
fn openssl_refuses(dir: &Path) -> Option<Vec<String>> {
    let mut refused = Vec::new();
    for row in tree(dir).inspect(SystemTime::now()) {
        let Some(authority) = &row.authority else {
            continue;
        };
        let purposes: &[&str] = match row.kind {
            Kind::Server => &["sslserver"],
            Kind::Client => &["sslclient"],
            Kind::Peer => &["sslserver", "sslclient"],
            _ => &["any"],
        };
        for purpose in purposes {
            let strict = [
                "verify",
                "-x509_strict",
                "-partial_chain",
                "-purpose",
                purpose,
            ];
            let files = ["-CAfile", authority, "-untrusted", &row.file, &row.file];
            let (good, text) = openssl(dir, &[&strict[..], &files].concat())?;
            if !good {
                refused.push(text);
            }
        }
    }
    Some(refused)
}

fn good_by_both(dir: &Path, test: &str) {
    assert_eq!(flaws(dir), [] as [String; 0]);
    match openssl_refuses(dir) {
        Some(refused) => assert_eq!(refused, [] as [String; 0]),
        None => eprintln!("SKIPPED: {test}: no openssl on this machine"),
    }
}

#[test]
fn keys_of_every_algorithm_make_a_good_tree() {
    for algorithm in ["ECDSA-P256", "ECDSA-P384", "Ed25519"] {
        let dir = tempfile::tempdir().unwrap();
        let sections = format!(
            "keys: {{algorithm: {algorithm}}}\nnodes: [{{name: w, addresses: [10.0.0.1]}}]\n\
             users: [{{name: jane, groups: [dev, ops, qa]}}]\n"
        );
        make_from(dir.path(), &sections).unwrap();
        good_by_both(dir.path(), "keys_of_every_algorithm_make_a_good_tree");
        // Other programs must read the keys, not only verify what they signed.
        for key in ["ca.key", "admin.key", "sa.key"] {
            if let Some((good, text)) = openssl(dir.path(), &["pkey", "-noout", "-in", key]) {
                assert!(good, "{algorithm}: {text}");
            }
        }
        let user = der(dir.path(), "user-jane.crt");
        let facts = crate::certificate::CertificateFacts::read(&user).unwrap();
        assert_eq!(facts.subject.organizations, ["dev", "ops", "qa"]);
    }
}

#[test]
fn single_layout_has_one_ca_for_all() {
    let dir = tempfile::tempdir().unwrap();
    make_from(dir.path(), "authorities: {layout: single}\n").unwrap();
    assert!(!dir.path().join("pki/front-proxy-ca.crt").exists());
    assert!(!dir.path().join("pki/etcd/ca.crt").exists());
    good_by_both(dir.path(), "single_layout_has_one_ca_for_all");
    let rows = tree(dir.path()).inspect(SystemTime::now());
    let authorities: Vec<_> = rows.into_iter().filter_map(|row| row.authority).collect();
    assert!(authorities.iter().all(|authority| authority == "ca.crt"));
}

/// Makes an RSA root, as people have them; its name has two organizational units.
pub(super) fn rsa_root(dir: &Path) -> bool {
    fs::create_dir_all(dir.join("pki")).unwrap();
    let subject = "/O=Corp/OU=one/OU=two/CN=Corp Root";
    let arguments = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "../root.key",
    ];
    let rest = ["-out", "../root.crt", "-days", "3000", "-subj", subject];
    // What RFC 5280, section 4.2.1.3, demands, and openssl leaves to its user.
    let usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    openssl(dir, &[&arguments[..], &rest, &usage].concat()).is_some_and(|(good, _)| good)
}

#[test]
fn parent_of_rsa_signs_intermediates_that_are_trusted_alone() {
    let dir = tempfile::tempdir().unwrap();
    if !rsa_root(dir.path()) {
        eprintln!("SKIPPED: parent_of_rsa_signs_intermediates_that_are_trusted_alone: no openssl");
        return;
    }
    let parent = "authorities: {parent: {certFile: root.crt, keyFile: root.key}}\n";
    make_from(dir.path(), parent).unwrap();
    good_by_both(
        dir.path(),
        "parent_of_rsa_signs_intermediates_that_are_trusted_alone",
    );
    assert_eq!(
        read(dir.path(), "ca.crt").matches("BEGIN").count(),
        1,
        "the root is not trusted"
    );
    // Whoever trusts the root alone finds the way, too.
    let leaf = ["apiserver.crt", "apiserver.crt"];
    let root = [
        "verify",
        "-x509_strict",
        "-CAfile",
        "../root.crt",
        "-untrusted",
    ];
    let (good, text) = openssl(dir.path(), &[&root[..], &leaf].concat()).unwrap();
    assert!(good, "{text}");
    tree(dir.path())
        .renew(&Selection::All, RenewedKey::New)
        .unwrap();
    good_by_both(
        dir.path(),
        "parent_of_rsa_signs_intermediates_that_are_trusted_alone",
    );
    let (good, text) = openssl(dir.path(), &[&root[..], &leaf].concat()).unwrap();
    assert!(good, "after the renewal: {text}");
}

#[test]
fn existing_rsa_ca_signs_and_keeps_its_key_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    if !rsa_root(dir.path()) {
        eprintln!("SKIPPED: existing_rsa_ca_signs_and_keeps_its_key_where_it_is: no openssl");
        return;
    }
    let sections = "authorities:\n  existing:\n\
                    \x20 - {name: ca, certFile: root.crt, keyFile: root.key}\n";
    let key = fs::read_to_string(dir.path().join("root.key")).unwrap();
    make_from(dir.path(), sections).unwrap();
    assert!(!dir.path().join("pki/ca.key").exists());
    assert_eq!(
        fs::read_to_string(dir.path().join("root.key")).unwrap(),
        key
    );
    good_by_both(
        dir.path(),
        "existing_rsa_ca_signs_and_keeps_its_key_where_it_is",
    );
    tree(dir.path())
        .renew(&Selection::All, RenewedKey::New)
        .unwrap();
    good_by_both(
        dir.path(),
        "existing_rsa_ca_signs_and_keeps_its_key_where_it_is",
    );
}

#[test]
fn existing_ca_that_is_none_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki").display().to_string();
    for (certificate, key, expected) in [
        (
            "admin.crt",
            "admin.key",
            "CN=kubernetes-admin,O=kubeadm:cluster-admins is no CA",
        ),
        (
            "ca.crt",
            "sa.key",
            "the key does not belong to the CA CN=kubernetes",
        ),
        ("ca.crt", "absent.key", "does not exist"),
        ("sa.key", "sa.key", "holds no CERTIFICATE block"),
    ] {
        let sections = format!(
            "authorities:\n  existing:\n  - {{name: ca, certFile: {pki}/{certificate}, \
             keyFile: {pki}/{key}}}\n"
        );
        let error = make_from(other.path(), &sections).unwrap_err();
        let text = chain(&error);
        assert!(
            text.starts_with("cannot sign by the CA ca") && text.contains(expected),
            "{text}"
        );
        assert!(!other.path().join("pki").exists(), "{certificate}");
    }
}
