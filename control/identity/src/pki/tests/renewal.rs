//! Issuing what is missing, and signing again what is there.

use super::*;
use crate::certificate::CertificateFacts;
use time::Duration;

fn facts(dir: &Path, name: &str) -> CertificateFacts {
    CertificateFacts::read(&der(dir, name)).unwrap()
}

#[test]
fn issue_makes_what_is_missing_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let before = facts(dir.path(), "admin.crt").serial;
    for name in [
        "apiserver.crt",
        "etcd/server.crt",
        "etcd/server.key",
        "apiserver.key",
    ] {
        fs::remove_file(dir.path().join("pki").join(name)).unwrap();
    }
    let written = tree(dir.path())
        .issue(&[], &Added::default(), false)
        .unwrap();
    let expected = [
        "apiserver.key",
        "apiserver.crt",
        "etcd/server.key",
        "etcd/server.crt",
    ];
    assert_eq!(written.files, expected);
    assert_eq!(flaws(dir.path()), [] as [String; 0]);
    assert_eq!(facts(dir.path(), "admin.crt").serial, before);
    assert!(
        tree(dir.path())
            .issue(&[], &Added::default(), false)
            .unwrap()
            .files
            .is_empty()
    );
}

#[test]
fn issue_of_an_agent_makes_a_ca_of_agents_alone_and_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    assert!(!dir.path().join("tunnel-ca.crt").exists());
    let agents = |names: &[&str]| Added {
        agents: names.iter().map(|name| name.parse().unwrap()).collect(),
        ..Added::default()
    };
    tree(dir.path())
        .issue(&[], &agents(&["edge-1"]), false)
        .unwrap();
    assert_eq!(flaws(dir.path()), [] as [String; 0]);
    let leaf = facts(dir.path(), "agent-edge-1.crt");
    assert_eq!(
        leaf.subject.to_string(),
        "CN=eyesplice:agent:edge-1,O=eyesplice:agents"
    );
    assert_eq!(leaf.issuer.to_string(), "CN=tunnel-ca");
    assert!(leaf.usage.client && !leaf.usage.server);
    let ca = read(dir.path(), "tunnel-ca.crt");
    tree(dir.path())
        .issue(&[], &agents(&["edge-2"]), false)
        .unwrap();
    assert_eq!(read(dir.path(), "tunnel-ca.crt"), ca, "the CA stays");
    let long = "x".repeat(49);
    for bad in ["", ".x", "a b", "a:b", &long] {
        assert!(bad.parse::<AgentName>().is_err(), "{bad}");
    }
}

#[test]
fn issue_for_break_glass_makes_a_ca_of_its_own_and_a_short_certificate() {
    for layout in ["separate", "single"] {
        let dir = tempfile::tempdir().unwrap();
        make_from(dir.path(), &format!("authorities: {{layout: {layout}}}\n")).unwrap();
        let added = Added {
            break_glass: vec!["oidc:jane".parse().unwrap()],
            ..Added::default()
        };
        tree(dir.path()).issue(&[], &added, false).unwrap();
        assert_eq!(flaws(dir.path()), [] as [String; 0]);
        let leaf = facts(dir.path(), "break-glass-oidc:jane.crt");
        assert_eq!(
            leaf.subject.to_string(),
            "CN=oidc:jane,O=eyesplice.dev/break-glass"
        );
        assert_eq!(leaf.issuer.to_string(), "CN=break-glass-ca");
        assert!(leaf.usage.client && !leaf.usage.server);
        let life = leaf.not_after - leaf.not_before;
        assert_eq!(life, Duration::hours(8) + BACKDATE);
        let pki = dir.path().join("pki");
        assert!(pki.join("break-glass-oidc:jane.kubeconfig").exists());
        let later = SystemTime::now() + std::time::Duration::from_secs(10 * 3600);
        assert_eq!(
            flaws_at(dir.path(), later),
            [] as [String; 0],
            "it is meant to expire"
        );
        // The next one takes its place, from the same CA; nothing else ever does.
        let ca = read(dir.path(), "break-glass-ca.crt");
        tree(dir.path()).issue(&[], &added, false).unwrap();
        let next = facts(dir.path(), "break-glass-oidc:jane.crt");
        assert_ne!(next.serial, leaf.serial);
        assert_eq!(read(dir.path(), "break-glass-ca.crt"), ca);
        for selection in [Selection::All, Selection::Due] {
            tree(dir.path())
                .renew(&selection, RenewedKey::Kept)
                .unwrap();
        }
        fs::remove_file(pki.join("break-glass-oidc:jane.crt")).unwrap();
        tree(dir.path())
            .issue(&[], &Added::default(), false)
            .unwrap();
        assert!(!pki.join("break-glass-oidc:jane.crt").exists());
    }
    for bad in ["", ".x", "a b", "a/b", &"x".repeat(65)] {
        assert!(bad.parse::<BreakGlassUser>().is_err(), "{bad}");
    }
}

#[test]
fn issue_of_a_node_becomes_part_of_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let mut added = Added {
        nodes: vec!["worker-9=10.0.0.99".parse().unwrap()],
        users: vec!["jane=dev,ops".parse().unwrap()],
        agents: Vec::new(),
        break_glass: Vec::new(),
    };
    tree(dir.path()).issue(&[], &added, false).unwrap();
    assert_eq!(flaws(dir.path()), [] as [String; 0]);
    assert_eq!(
        facts(dir.path(), "kubelet-worker-9.crt").names,
        ["10.0.0.99", "worker-9"]
    );
    assert_eq!(
        facts(dir.path(), "user-jane.crt").subject.organizations,
        ["dev", "ops"]
    );
    assert!(read(dir.path(), "inventory.yaml").contains("worker-9"));
    added.users.clear();
    let again = tree(dir.path()).issue(&[], &added, false).unwrap_err();
    assert!(
        again.to_string().contains("node worker-9 is given twice"),
        "{again}"
    );
}

#[test]
fn issue_replaces_only_with_force() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let name = ["apiserver".to_owned()];
    let before = facts(dir.path(), "apiserver.crt").serial;
    let error = tree(dir.path())
        .issue(&name, &Added::default(), false)
        .unwrap_err();
    assert!(
        matches!(error, PkiError::File(FileError::Exists { .. })),
        "{error}"
    );
    assert_eq!(facts(dir.path(), "apiserver.crt").serial, before);
    tree(dir.path())
        .issue(&name, &Added::default(), true)
        .unwrap();
    assert_ne!(facts(dir.path(), "apiserver.crt").serial, before);
    let error = tree(dir.path())
        .issue(&["api".to_owned()], &Added::default(), true)
        .unwrap_err();
    assert!(error.to_string().contains("no certificate api;"), "{error}");
}

#[test]
fn renewal_keeps_subject_and_names_and_changes_the_key() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    // A name that the document no longer has, and one that it has gained.
    let document = dir.path().join("pki/pki.yaml");
    let text = fs::read_to_string(&document).unwrap();
    fs::write(
        &document,
        text.replace("\"cp.example\"", "\"cp-new.example\""),
    )
    .unwrap();
    let before = facts(dir.path(), "apiserver.crt");
    let written = tree(dir.path())
        .renew(
            &Selection::Names(vec!["apiserver.crt".to_owned()]),
            RenewedKey::New,
        )
        .unwrap();
    assert_eq!(written.files, ["apiserver.key", "apiserver.crt"]);
    let after = facts(dir.path(), "apiserver.crt");
    let mut expected = before.names.clone();
    expected.push("cp-new.example".to_owned());
    assert_eq!(after.names, expected);
    assert_eq!(after.subject, before.subject);
    assert_ne!(after.spki, before.spki);
    assert_ne!(after.serial, before.serial);
    let flaws = flaws(dir.path());
    let own: Vec<&String> = flaws
        .iter()
        .filter(|flaw| flaw.starts_with("apiserver.crt"))
        .collect();
    assert_eq!(
        own,
        [
            "apiserver.crt: warning: covers cp.example, which its role does not have; issue it again \
          without it"
        ]
    );
    // The only etcd member stands beside the API server.
    assert!(
        flaws
            .iter()
            .any(|flaw| flaw.starts_with("etcd/peer.crt: error: does not cover"))
    );
}

#[test]
fn renewal_keeps_an_rsa_key_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let rsa = ["genpkey", "-algorithm", "RSA", "-out", "admin.key"];
    if openssl(dir.path(), &rsa).is_none() {
        eprintln!("SKIPPED: renewal_keeps_an_rsa_key_when_asked: no openssl on this machine");
        return;
    }
    let key = read(dir.path(), "admin.key");
    assert!(
        flaws(dir.path())
            .iter()
            .any(|flaw| flaw.contains("does not belong to"))
    );
    let admin = Selection::Names(vec!["admin".to_owned()]);
    tree(dir.path()).renew(&admin, RenewedKey::Kept).unwrap();
    assert_eq!(read(dir.path(), "admin.key"), key);
    assert_eq!(flaws(dir.path()), [] as [String; 0]);
}

#[test]
fn renewal_of_what_is_due_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    make_from(dir.path(), "lifetimes: {certificates: 8760h}\n").unwrap();
    let due = |dir: &Path| {
        tree(dir)
            .renew(&Selection::Due, RenewedKey::New)
            .unwrap()
            .files
    };
    assert!(due(dir.path()).is_empty());
    // The role's subject, and a life of which a day is left.
    let day = Duration::days(1);
    let shifted = OffsetDateTime::now_utc() - testing::NOW;
    let made = testing::Recipe {
        organizations: vec!["kubeadm:cluster-admins"],
        ..testing::client("kubernetes-admin")
    };
    let made = made.valid(shifted - day * 300, shifted + day).self_signed();
    fs::write(dir.path().join("pki/admin.crt"), made.certificate.pem()).unwrap();
    fs::write(dir.path().join("pki/admin.key"), made.key.serialize_pem()).unwrap();
    assert_eq!(
        due(dir.path()),
        ["admin.key", "admin.crt", "admin.kubeconfig"]
    );
}

#[test]
fn renewal_of_a_ca_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let ca = Selection::Names(vec!["etcd/ca".to_owned()]);
    let error = tree(dir.path()).renew(&ca, RenewedKey::New).unwrap_err();
    assert!(
        error.to_string().contains("use pki rotate-ca etcd/ca"),
        "{error}"
    );
}

#[test]
fn renewal_never_outlives_its_ca() {
    let dir = tempfile::tempdir().unwrap();
    make_from(
        dir.path(),
        "lifetimes: {authorities: 24h, certificates: 8760h}\n",
    )
    .unwrap();
    let (ca, leaf) = (facts(dir.path(), "ca.crt"), facts(dir.path(), "admin.crt"));
    assert_eq!(ca.not_after, leaf.not_after);
    assert!(leaf.not_before >= ca.not_before);
}

#[test]
fn expired_ca_signs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let old = testing::authority("kubernetes")
        .valid(Duration::days(-3650), Duration::days(-3000))
        .self_signed();
    fs::write(dir.path().join("pki/ca.crt"), old.certificate.pem()).unwrap();
    fs::write(dir.path().join("pki/ca.key"), old.key.serialize_pem()).unwrap();
    let admin = Selection::Names(vec!["admin".to_owned()]);
    let error = tree(dir.path()).renew(&admin, RenewedKey::New).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("its CA CN=kubernetes expired 2018-"),
        "{error}"
    );
}
