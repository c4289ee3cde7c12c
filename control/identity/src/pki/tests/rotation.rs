//! The rotation of a CA: every stage works with the one before and the one after it.

use super::*;
use crate::pem::{self, FileRef};
use crate::pki::tests::faulty::{After, Faulty};
use std::path::PathBuf;

pub(super) const ALL: [&str; 6] = [
    "ca",
    "kubelet-serving-ca",
    "front-proxy-ca",
    "etcd/ca",
    "egress-ca",
    "egress-client-ca",
];

pub(super) fn step(dir: &Path, name: &str, step: Step) -> Result<Rotated, PkiError> {
    tree(dir).rotate(name, step, RenewedKey::Kept, &[])
}

/// Everything that is wrong, but for the warnings that a rotation is under way.
pub(super) fn errors(dir: &Path) -> Vec<String> {
    let mut flaws = flaws(dir);
    flaws.retain(|flaw| !flaw.contains("is being rotated"));
    flaws
}

/// Copies the tree, as those have it who did not load their files again yet.
fn copy(dir: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for sub in ["pki", "pki/etcd"] {
        fs::create_dir(to.path().join(sub)).unwrap();
        for entry in fs::read_dir(dir.join(sub)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.path().join(sub).join(entry.file_name())).unwrap();
            }
        }
    }
    to
}

/// Whether everything that `holder` presents is verified by what `verifier` trusts.
fn works(holder: &Path, verifier: &Path) -> Vec<String> {
    let mixed = copy(verifier);
    let mut broken = Vec::new();
    for row in tree(holder).inspect(SystemTime::now()) {
        let presented = holder.join("pki").join(&row.file);
        match row.kind {
            Kind::Authority | Kind::KeyPair => {}
            // A kubeconfig is judged with the CA that it embeds.
            Kind::Kubeconfig => {
                let checked = crate::kubeconfig::check(
                    &presented,
                    &crate::kubeconfig::CheckOptions::at(SystemTime::now()),
                );
                let server = verifier.join("pki/apiserver.crt");
                let server = pem::certificates(&FileRef::new("f", server)).unwrap();
                let flaw = crate::kubeconfig::judge_server(
                    &checked.authorities,
                    &server,
                    SystemTime::now(),
                );
                broken.extend(flaw.map(|flaw| format!("{}: {flaw}", row.file)));
            }
            _ => {
                let to = mixed.path().join("pki").join(&row.file);
                fs::copy(&presented, &to).unwrap();
                fs::copy(presented.with_extension("key"), to.with_extension("key")).unwrap();
            }
        }
    }
    let chains = errors(mixed.path()).into_iter();
    // Kubeconfigs of the mixture embed what its other half has; they were judged above.
    broken.extend(chains.filter(|flaw| !flaw.contains(".kubeconfig: ")));
    broken
}

#[test]
fn rotation_stages_work_with_their_neighbours() {
    for name in ALL {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        let old = read(dir.path(), &format!("{name}.crt"));
        let mut before = copy(dir.path());
        for (expected, blocks) in [
            (Stage::TrustBoth, 2),
            (Stage::Reissued, 2),
            (Stage::OldDropped, 1),
            (Stage::Idle, 1),
        ] {
            let rotated = step(dir.path(), name, Step::Next).unwrap();
            assert_eq!(rotated.stage, expected, "{name}");
            assert_eq!(errors(dir.path()), [] as [String; 0], "{name} {expected}");
            let bundle = read(dir.path(), &format!("{name}.crt"));
            assert_eq!(bundle.matches("BEGIN").count(), blocks, "{name} {expected}");
            let after = copy(dir.path());
            for (holder, verifier) in [(&before, &after), (&after, &before)] {
                let broken = works(holder.path(), verifier.path());
                assert_eq!(broken, [] as [String; 0], "{name} {expected}");
            }
            before = after;
        }
        assert_ne!(read(dir.path(), &format!("{name}.crt")), old);
        assert!(
            !dir.path().join("pki/rotation").exists(),
            "something is left"
        );
        // The old CA is gone: what it signed is refused.
        let (good, text) = match openssl(dir.path(), &["version"]) {
            None => {
                eprintln!("SKIPPED: rotation_stages_work_with_their_neighbours: no openssl");
                continue;
            }
            Some(_) => {
                fs::write(dir.path().join("old.crt"), &old).unwrap();
                let leaf = format!("{}.crt", leaf_of(name));
                openssl(dir.path(), &["verify", "-CAfile", "../old.crt", &leaf]).unwrap()
            }
        };
        assert!(!good, "{text}");
    }
}

/// A certificate that the CA signs.
pub(super) fn leaf_of(name: &str) -> &'static str {
    match name {
        "ca" => "admin",
        "kubelet-serving-ca" => "kubelet-worker-1",
        "front-proxy-ca" => "front-proxy-client",
        "etcd/ca" => "etcd/server",
        "egress-ca" => "egress-server",
        _ => "egress-client",
    }
}

#[test]
fn rotation_is_undone_from_every_stage() {
    for stages in 1..=3 {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path()).unwrap();
        let old = (read(dir.path(), "ca.crt"), read(dir.path(), "ca.key"));
        for _ in 0..stages {
            step(dir.path(), "ca", Step::Next).unwrap();
        }
        for left in (0..stages).rev() {
            let before = copy(dir.path());
            let stage = step(dir.path(), "ca", Step::Undo).unwrap().stage;
            let expected = [Stage::Idle, Stage::TrustBoth, Stage::Reissued][left];
            assert_eq!(stage, expected);
            assert_eq!(errors(dir.path()), [] as [String; 0], "{stage}");
            let after = copy(dir.path());
            for (holder, verifier) in [(&before, &after), (&after, &before)] {
                assert_eq!(
                    works(holder.path(), verifier.path()),
                    [] as [String; 0],
                    "{stage}"
                );
            }
        }
        assert_eq!(
            (read(dir.path(), "ca.crt"), read(dir.path(), "ca.key")),
            old
        );
        let error = step(dir.path(), "ca", Step::Undo).unwrap_err();
        assert!(error.to_string().contains("nothing to undo"), "{error}");
    }
}

#[test]
fn rotation_keeps_keys_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let key = read(dir.path(), "admin.key");
    step(dir.path(), "ca", Step::Next).unwrap();
    step(dir.path(), "ca", Step::Next).unwrap();
    assert_eq!(read(dir.path(), "admin.key"), key);
    tree(dir.path())
        .rotate("ca", Step::Undo, RenewedKey::New, &[])
        .unwrap();
    assert_ne!(read(dir.path(), "admin.key"), key);
    assert_eq!(errors(dir.path()), [] as [String; 0]);
}

#[test]
fn rotation_step_is_refused_while_something_depends_on_what_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let pki = dir.path().join("pki");
    let outside = |name: &str| {
        let to = dir.path().join(name.replace('/', "-"));
        fs::copy(pki.join(name), &to).unwrap();
        to
    };
    let (bundle, leaf) = (outside("ca.crt"), outside("admin.crt"));
    let config = outside("scheduler.kubeconfig");
    let go = |also: &[PathBuf]| tree(dir.path()).rotate("ca", Step::Next, RenewedKey::Kept, also);
    let refused = |also: &PathBuf| {
        let error = go(std::slice::from_ref(also)).unwrap_err();
        assert!(matches!(error, PkiError::Depends { .. }), "{error}");
        assert!(
            error.to_string().contains(&also.display().to_string()),
            "{error}"
        );
        error.to_string()
    };
    go(&[]).unwrap();
    // Somebody outside does not trust the new CA yet.
    assert!(refused(&bundle).starts_with("cannot let the new CA sign of ca: "));
    refused(&config);
    let stale = fs::read(&config).unwrap();
    let current = fs::read(pki.join("scheduler.kubeconfig")).unwrap();
    fs::write(pki.join("scheduler.kubeconfig"), &stale).unwrap();
    let error = go(&[]).unwrap_err().to_string();
    assert!(error.contains("scheduler.kubeconfig (1 in all)"), "{error}");
    fs::write(pki.join("scheduler.kubeconfig"), current).unwrap();
    let both = fs::read(pki.join("ca.crt")).unwrap();
    fs::write(pki.join("ca.crt"), fs::read(&bundle).unwrap()).unwrap();
    let error = go(&[]).unwrap_err().to_string();
    assert!(error.contains(": ca.crt (1 in all)"), "{error}");
    fs::write(pki.join("ca.crt"), both).unwrap();
    go(std::slice::from_ref(&leaf)).unwrap();
    // Somebody outside, or in the tree, still shows what the old CA signed.
    assert!(refused(&leaf).starts_with("cannot drop the old CA of ca: "));
    refused(&config);
    fs::copy(&leaf, pki.join("admin.crt")).unwrap();
    let error = go(&[]).unwrap_err().to_string();
    assert!(error.contains("ca: admin.crt (1 in all)"), "{error}");
    let admin = Selection::Names(vec!["admin".to_owned()]);
    tree(dir.path()).renew(&admin, RenewedKey::Kept).unwrap();
    assert_eq!(go(&[]).unwrap().stage, Stage::OldDropped);
    let error = go(&[dir.path().join("absent")]);
    assert_eq!(
        error.unwrap().stage,
        Stage::Idle,
        "the last step takes nothing away"
    );
}

#[test]
fn new_ca_is_not_dropped_while_it_signed_something() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    step(dir.path(), "ca", Step::Next).unwrap();
    step(dir.path(), "ca", Step::Next).unwrap();
    let by_new = fs::read(dir.path().join("pki/admin.crt")).unwrap();
    step(dir.path(), "ca", Step::Undo).unwrap();
    fs::write(dir.path().join("pki/admin.crt"), by_new).unwrap();
    let error = step(dir.path(), "ca", Step::Undo).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot drop the new CA of ca: admin.crt"),
        "{error}"
    );
}

#[test]
fn rotation_step_interrupted_anywhere_is_repeated_or_was_made() {
    for after in [After::Recovery, After::Nothing] {
        for at in (0..6).chain((6..).step_by(17)) {
            let dir = tempfile::tempdir().unwrap();
            make(dir.path()).unwrap();
            let mut tripped = false;
            let mut stages = vec![Stage::Idle];
            for _ in 0..12 {
                let mut tree = tree(dir.path());
                let disk = Faulty::new(at, after);
                if !tripped {
                    tree.disk = Box::new(std::rc::Rc::clone(&disk));
                }
                let before = tree.rotation("etcd/ca").unwrap();
                let result = tree.rotate("etcd/ca", Step::Next, RenewedKey::New, &[]);
                tripped = disk.tripped();
                assert_eq!(result.is_err(), tripped, "step {at} of {before}");
                assert_eq!(
                    errors(dir.path()),
                    [] as [String; 0],
                    "step {at} of {before}"
                );
                let now = super::tree(dir.path()).rotation("etcd/ca").unwrap();
                let next = [
                    Stage::Idle,
                    Stage::TrustBoth,
                    Stage::Reissued,
                    Stage::OldDropped,
                ];
                let place = next.iter().position(|stage| *stage == before).unwrap();
                assert!(
                    now == before || now == next[(place + 1) % 4],
                    "{before} to {now}"
                );
                stages.push(now);
                if now == Stage::Idle && stages.contains(&Stage::OldDropped) {
                    break;
                }
            }
            assert_eq!(stages.last(), Some(&Stage::Idle), "step {at}: {stages:?}");
            assert!(!dir.path().join("pki/rotation/etcd").exists());
            if !tripped && stages.len() == 5 && at > 6 {
                break;
            }
        }
    }
}

#[test]
fn rotation_of_an_intermediate_stays_below_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    if !authorities::rsa_root(dir.path()) {
        eprintln!("SKIPPED: rotation_of_an_intermediate_stays_below_its_parent: no openssl");
        return;
    }
    let parent = "authorities: {layout: single, parent: {certFile: root.crt, keyFile: root.key}}\n";
    make_from(dir.path(), parent).unwrap();
    for _ in 0..4 {
        step(dir.path(), "ca", Step::Next).unwrap();
        assert_eq!(errors(dir.path()), [] as [String; 0]);
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
    }
}

#[test]
fn rotation_of_what_is_not_ours_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    for name in ["admin", "nobody", "../ca"] {
        let error = step(dir.path(), name, Step::Next).unwrap_err();
        assert!(matches!(error, PkiError::NoSuchAuthority(_)), "{error}");
    }
    fs::create_dir_all(dir.path().join("pki/rotation/ca")).unwrap();
    fs::write(dir.path().join("pki/rotation/ca/stage"), "half\n").unwrap();
    let error = step(dir.path(), "ca", Step::Next).unwrap_err();
    assert!(
        error.to_string().contains("holds no stage of a rotation"),
        "{error}"
    );
    let other = tempfile::tempdir().unwrap();
    let pki = dir.path().join("pki").display().to_string();
    let sections = format!(
        "authorities: {{existing: [{{name: ca, certFile: {pki}/ca.crt, keyFile: {pki}/ca.key}}]}}\n"
    );
    make_from(other.path(), &sections).unwrap();
    let error = step(other.path(), "ca", Step::Next).unwrap_err();
    assert!(error.to_string().contains("is rotated there"), "{error}");
}

#[test]
fn certificates_issued_during_a_rotation_are_by_whom_its_stage_says() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    for stage in 0..4 {
        step(dir.path(), "ca", Step::Next).unwrap();
        let added = Added {
            users: vec![format!("user-{stage}").parse().unwrap()],
            ..Added::default()
        };
        tree(dir.path()).issue(&[], &added, false).unwrap();
        tree(dir.path())
            .renew(&Selection::All, RenewedKey::New)
            .unwrap();
        assert_eq!(errors(dir.path()), [] as [String; 0], "{stage}");
    }
}

#[test]
fn certificate_for_break_glass_that_is_gone_is_in_the_way_of_no_rotation() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let added = Added {
        break_glass: vec!["jane".parse().unwrap()],
        ..Added::default()
    };
    tree(dir.path()).issue(&[], &added, false).unwrap();
    let certificate = dir.path().join("pki/break-glass-jane.crt");
    fs::remove_file(&certificate).unwrap();
    for name in ["break-glass-ca", "ca"] {
        for _ in 0..4 {
            step(dir.path(), name, Step::Next).unwrap();
        }
    }
    assert!(!certificate.exists());
}
