//! Chains that are verified by who knows the old CA alone, by who knows the new one alone, and by who
//! knows both.

use super::rotation::{ALL, errors, leaf_of, step};
use super::*;
use crate::certificate::CertificateFacts;
use crate::pem::{self, FileRef, Role};
use crate::verify::chain::chain;
use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, anchor_from_trusted_cert};

const STAGES: [Stage; 4] = [
    Stage::TrustBoth,
    Stage::Reissued,
    Stage::OldDropped,
    Stage::Idle,
];

/// What a file of the tree holds.
fn certificates(dir: &Path, name: &str) -> Vec<CertificateDer<'static>> {
    pem::certificates(&FileRef::new("test", dir.join("pki").join(name))).unwrap()
}

fn facts(der: &CertificateDer<'_>) -> CertificateFacts {
    CertificateFacts::read(der).unwrap()
}

/// Whether somebody who trusts `anchors` alone takes what is presented.
fn trusts(anchors: &[CertificateDer<'static>], presented: &[CertificateDer<'static>]) -> bool {
    let anchors: Vec<_> = anchors
        .iter()
        .map(|der| anchor_from_trusted_cert(der).unwrap())
        .collect();
    let facts = facts(&presented[0]);
    let role = if facts.usage.server {
        Role::Server
    } else {
        Role::Client
    };
    let leaf = EndEntityCert::try_from(&presented[0]).unwrap();
    let now = UnixTime::now();
    chain(&anchors, &leaf, &presented[1..], now, role, &facts).is_ok()
}

/// The same by openssl, which follows only roots unless told otherwise; absent without it.
fn openssl_trusts(
    dir: &Path,
    anchors: &[CertificateDer<'static>],
    presented: &[CertificateDer<'static>],
) -> Option<bool> {
    fs::write(dir.join("anchors.pem"), pem::encode(anchors)).unwrap();
    fs::write(dir.join("presented.pem"), pem::encode(presented)).unwrap();
    let strict = ["verify", "-x509_strict", "-partial_chain"];
    let files = [
        "-CAfile",
        "../anchors.pem",
        "-untrusted",
        "../presented.pem",
    ];
    let asked = [&strict[..], &files, &["../presented.pem"]].concat();
    openssl(dir, &asked).map(|(good, _)| good)
}

/// A leaf that was presented at some point, and whether who knows only the new CA takes it.
struct Presented {
    when: String,
    chain: Vec<CertificateDer<'static>>,
    by_new: bool,
}

fn judge(dir: &Path, presented: &[Presented], old: &[CertificateDer<'static>]) {
    let new = vec![certificates(dir, "rotation.new").remove(0)];
    let both = [old, &new].concat();
    for one in presented {
        for (whom, anchors, expected) in [
            ("old", old, true),
            ("new", &new, one.by_new),
            ("both", &both, true),
        ] {
            let told = format!("{} to who trusts {whom}", one.when);
            assert_eq!(trusts(anchors, &one.chain), expected, "{told}");
            match openssl_trusts(dir, anchors, &one.chain) {
                Some(good) => assert_eq!(good, expected, "{told}, by openssl"),
                None => eprintln!("SKIPPED: crossing by openssl: no openssl on this machine"),
            }
        }
    }
}

#[test]
fn chain_of_every_stage_is_taken_by_who_knows_either_ca() {
    for name in ALL {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        let leaf = format!("{}.crt", leaf_of(name));
        let old = certificates(dir.path(), &format!("{name}.crt"));
        let mut presented = Vec::new();
        let mut look = |when: String, by_new: bool| {
            let chain = certificates(dir.path(), &leaf);
            assert_eq!(chain.len(), if by_new { 2 } else { 1 }, "{when}");
            presented.push(Presented {
                when,
                chain,
                by_new,
            });
        };
        look(format!("{name} before"), false);
        for stage in STAGES {
            assert_eq!(step(dir.path(), name, Step::Next).unwrap().stage, stage);
            assert_eq!(errors(dir.path()), [] as [String; 0], "{name} {stage}");
            look(format!("{name} {stage}"), stage != Stage::TrustBoth);
            if stage == Stage::Reissued {
                // Back, and on again: what the old CA signs then is taken by who knows the new one.
                step(dir.path(), name, Step::Undo).unwrap();
                assert_eq!(errors(dir.path()), [] as [String; 0], "{name} undone");
                look(format!("{name} undone"), true);
                step(dir.path(), name, Step::Next).unwrap();
            }
        }
        fs::copy(
            dir.path().join(format!("pki/{name}.crt")),
            dir.path().join("pki/rotation.new"),
        )
        .unwrap();
        judge(dir.path(), &presented, &old);
    }
}

#[test]
fn cross_certificate_has_the_new_cas_name_and_key_and_the_old_cas_end() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let old = facts(&certificates(dir.path(), "ca.crt")[0]);
    step(dir.path(), "ca", Step::Next).unwrap();
    step(dir.path(), "ca", Step::Next).unwrap();
    let chain = certificates(dir.path(), "ca-chain.crt");
    let (new, cross) = (facts(&chain[0]), facts(&chain[1]));
    assert_eq!(chain.len(), 2);
    assert_eq!(cross.subject, new.subject);
    assert_eq!(cross.issuer, old.subject);
    assert_eq!(cross.spki, new.spki);
    assert_eq!(cross.not_after, old.not_after);
    assert!(cross.authority && cross.usage.sign_certificates);
    assert_ne!(cross.serial, new.serial);
    let leaf = certificates(dir.path(), "apiserver.crt");
    assert_eq!(leaf[1..], chain[1..]);
    let embedded = read(dir.path(), "admin.kubeconfig");
    let own = BASE64.encode(read(dir.path(), "admin.crt").as_bytes());
    assert!(embedded.contains(&own), "the kubeconfig has no chain");
}

#[test]
fn cross_certificate_is_kept_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    for _ in 0..4 {
        let early = step(dir.path(), "ca", Step::Forget);
        assert!(early.is_ok() || early.unwrap_err().to_string().contains("--next first"));
        step(dir.path(), "ca", Step::Next).unwrap();
    }
    let renew = || {
        let all = Selection::All;
        tree(dir.path()).renew(&all, RenewedKey::Kept).unwrap();
        certificates(dir.path(), "apiserver.crt").len()
    };
    assert_eq!(renew(), 2);
    assert_eq!(certificates(dir.path(), "etcd/server.crt").len(), 1);
    let forgotten = step(dir.path(), "ca", Step::Forget).unwrap();
    assert_eq!(forgotten.written.files, ["ca-chain.crt"]);
    assert_eq!(renew(), 1);
    assert_eq!(errors(dir.path()), [] as [String; 0]);
}

#[test]
fn chain_after_many_rotations_leads_to_the_first_ca_and_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let mut before = Vec::new();
    for rotation in 1..=5 {
        before.push(certificates(dir.path(), "etcd/ca.crt"));
        for _ in STAGES {
            step(dir.path(), "etcd/ca", Step::Next).unwrap();
        }
        let chain = certificates(dir.path(), "etcd/server.crt");
        assert_eq!(chain.len(), 1 + rotation.min(3));
        let taken = before.iter().map(|ca| trusts(ca, &chain));
        let expected: Vec<bool> = (0..rotation).map(|age| rotation - age <= 3).collect();
        assert_eq!(taken.collect::<Vec<_>>(), expected, "{rotation}");
    }
}

#[test]
fn chain_below_a_parent_leads_to_root_and_to_the_old_ca() {
    let dir = tempfile::tempdir().unwrap();
    if !authorities::rsa_root(dir.path()) {
        eprintln!("SKIPPED: chain_below_a_parent_leads_to_root_and_to_the_old_ca: no openssl");
        return;
    }
    let parent = "authorities: {parent: {certFile: root.crt, keyFile: root.key}}\n";
    make_from(dir.path(), parent).unwrap();
    let old = certificates(dir.path(), "ca.crt");
    let root = certificates(dir.path(), "../root.crt");
    for stage in STAGES {
        step(dir.path(), "ca", Step::Next).unwrap();
        assert_eq!(errors(dir.path()), [] as [String; 0], "{stage}");
        let leaf = certificates(dir.path(), "apiserver.crt");
        assert!(trusts(&old, &leaf) && trusts(&root, &leaf), "{stage}");
        // It follows the first issuer that fits, which leads to the root.
        let by_openssl = openssl_trusts(dir.path(), &root, &leaf);
        assert_eq!(by_openssl, Some(true), "{stage}");
    }
    // Renewed, it has the same behind it.
    let before = certificates(dir.path(), "apiserver.crt");
    let all = Selection::All;
    tree(dir.path()).renew(&all, RenewedKey::New).unwrap();
    assert_eq!(certificates(dir.path(), "apiserver.crt")[1..], before[1..]);
}

#[test]
fn tree_without_chain_files_is_rotated_and_gets_them() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    fs::remove_file(dir.path().join("pki/ca-chain.crt")).unwrap();
    assert_eq!(errors(dir.path()), [] as [String; 0]);
    for _ in STAGES {
        step(dir.path(), "ca", Step::Next).unwrap();
    }
    assert_eq!(certificates(dir.path(), "ca-chain.crt").len(), 2);
}

#[test]
fn chain_file_of_another_ca_is_told() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let other = read(dir.path(), "egress-ca.crt");
    fs::write(dir.path().join("pki/ca-chain.crt"), other).unwrap();
    let told = errors(dir.path());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("ca.crt: error: ca-chain.crt begins"),
        "{}",
        told[0]
    );
}
