//! Certificates that their role refuses, judged by openssl as well where it judges such things.

use super::*;
use crate::pki::testing::{Made, NOW, Recipe, authority, client};
use crate::testing::openssl;
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use time::Duration;

const SERVER: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ServerAuth;

/// A tree whose CA `ca` is one of tests, so that it can sign what is wrong.
fn site() -> (tempfile::TempDir, Made) {
    let dir = tempfile::tempdir().unwrap();
    let ca = authority("kubernetes").self_signed();
    fs::write(dir.path().join("t.crt"), ca.certificate.pem()).unwrap();
    fs::write(dir.path().join("t.key"), ca.key.serialize_pem()).unwrap();
    let sections = "authorities:\n  existing:\n  - {name: ca, certFile: t.crt, keyFile: t.key}\n";
    fs::set_permissions(dir.path().join("t.key"), fs::Permissions::from_mode(0o600)).unwrap();
    make_from(dir.path(), sections).unwrap();
    (dir, ca)
}

fn put(dir: &Path, name: &str, made: &Made) {
    fs::write(
        dir.join("pki").join(format!("{name}.crt")),
        made.certificate.pem(),
    )
    .unwrap();
    fs::write(
        dir.join("pki").join(format!("{name}.key")),
        made.key.serialize_pem(),
    )
    .unwrap();
}

/// The client certificate that the role `scheduler` wants, valid around now.
fn scheduler() -> Recipe {
    client("system:kube-scheduler")
}

#[test]
fn client_certificate_is_judged_as_openssl_judges_it() {
    let (dir, ca) = site();
    let stranger = authority("kubernetes").self_signed();
    let named = authority("other").self_signed();
    let usages = |usages: &[KeyUsagePurpose]| Recipe {
        usages: usages.to_vec(),
        ..scheduler()
    };
    let extended = |extended: &[ExtendedKeyUsagePurpose]| Recipe {
        extended: extended.to_vec(),
        ..scheduler()
    };
    let day = Duration::days(1);
    let shifted = OffsetDateTime::now_utc() - NOW;
    let valid = |from, to| scheduler().valid(shifted + from, shifted + to);
    let table = [
        (scheduler().signed_by(&ca), None),
        (valid(-day * 2, -day).signed_by(&ca), Some("expired")),
        (valid(day, day * 9).signed_by(&ca), Some("is valid from")),
        (
            scheduler().signed_by(&stranger),
            Some("is signed by another key"),
        ),
        (
            scheduler().signed_by(&named),
            Some("is not signed by a CA of ca.crt"),
        ),
        (scheduler().self_signed(), Some("is signed by itself")),
        (
            extended(&[SERVER]).signed_by(&ca),
            Some("has no extended key usage clientAuth"),
        ),
        (
            usages(&[KeyUsagePurpose::KeyCertSign]).signed_by(&ca),
            Some("may not sign handshakes"),
        ),
    ];
    for (made, expected) in table {
        put(dir.path(), "scheduler", &made);
        let flaws = flaws(dir.path());
        let of_file: Vec<&String> = flaws
            .iter()
            .filter(|flaw| flaw.starts_with("scheduler.crt: error"))
            .collect();
        match expected {
            None => assert!(of_file.is_empty(), "{of_file:?}"),
            Some(part) => {
                assert!(
                    of_file.iter().any(|flaw| flaw.contains(part)),
                    "{part}: {of_file:?}"
                );
            }
        }
        let arguments = [
            "verify",
            "-purpose",
            "sslclient",
            "-CAfile",
            "ca.crt",
            "scheduler.crt",
        ];
        match openssl(dir.path(), &arguments) {
            Some((good, text)) => assert_eq!(good, expected.is_none(), "{expected:?}: {text}"),
            None => {
                eprintln!("SKIPPED: client_certificate_is_judged_as_openssl_judges_it: no openssl");
            }
        }
    }
}

#[test]
fn certificate_of_another_role_is_named() {
    let (dir, ca) = site();
    let is_ca = Recipe {
        is_ca: IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
        ..scheduler()
    };
    let masters = Recipe {
        organizations: vec!["system:masters"],
        ..scheduler()
    };
    let table = [
        (
            client("system:kube-proxy"),
            "is for CN=system:kube-proxy, its role is CN=system:kube-sch",
        ),
        (
            masters,
            "is for CN=system:kube-scheduler,O=system:masters, its role is",
        ),
        (is_ca, "may sign others as a CA"),
    ];
    for (recipe, expected) in table {
        put(dir.path(), "scheduler", &recipe.signed_by(&ca));
        let flaws = flaws(dir.path());
        assert!(
            flaws.iter().any(|flaw| flaw.contains(expected)),
            "{expected}: {flaws:#?}"
        );
        assert!(
            flaws
                .iter()
                .any(|flaw| flaw.starts_with("scheduler.kubeconfig: error: embeds another")),
            "{flaws:#?}"
        );
    }
}

#[test]
fn server_certificate_must_cover_its_names_and_no_others() {
    let (dir, ca) = site();
    let made = Recipe {
        names: vec!["localhost", "evil.example"],
        extended: vec![SERVER],
        ..client("kube-scheduler")
    };
    put(dir.path(), "scheduler-server", &made.signed_by(&ca));
    let flaws = flaws(dir.path());
    assert_eq!(
        flaws,
        [
            "scheduler-server.crt: error: does not cover 127.0.0.1; renew it, which adds its role's \
             names",
            "scheduler-server.crt: warning: covers evil.example, which its role does not have; \
             issue it again without it",
        ]
    );
}

#[test]
fn ca_is_judged_as_one() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let leaf = client("front-proxy-ca").self_signed();
    put(dir.path(), "front-proxy-ca", &leaf);
    let flaws_of = |dir: &Path| -> Vec<String> {
        let all = flaws(dir).into_iter();
        all.filter(|flaw| flaw.starts_with("front-proxy-ca.crt"))
            .collect()
    };
    let found = flaws_of(dir.path());
    assert!(
        found
            .iter()
            .any(|flaw| flaw.contains("is no CA that may sign")),
        "{found:#?}"
    );
    // Somebody edited the file: the signature is not its own any more.
    let mut forged = authority("front-proxy-ca").self_signed().der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let text = crate::pem::encode(&[forged.into()]);
    fs::write(dir.path().join("pki/front-proxy-ca.crt"), text).unwrap();
    let found = flaws_of(dir.path());
    assert!(
        found
            .iter()
            .any(|flaw| flaw.contains("is not signed by its own key")),
        "{found:#?}"
    );
    fs::remove_file(dir.path().join("pki/ca.key")).unwrap();
    let flaws = flaws(dir.path());
    assert!(
        flaws
            .iter()
            .any(|flaw| flaw.starts_with("ca.crt: warning: the CA's key is not here")),
        "{flaws:#?}"
    );
}

#[test]
fn expired_ca_is_told_of_all_that_it_signed() {
    let dir = tempfile::tempdir().unwrap();
    make_from(
        dir.path(),
        "lifetimes: {authorities: 48h, certificates: 24h}\n",
    )
    .unwrap();
    let later = SystemTime::now() + std::time::Duration::from_secs(72 * 3600);
    let flaws = flaws_at(dir.path(), later);
    let of = |name: &str| flaws.iter().filter(|flaw| flaw.starts_with(name)).count();
    assert_eq!(of("ca.crt: error: expired"), 1, "{flaws:#?}");
    assert_eq!(of("admin.crt: error: expired"), 1, "{flaws:#?}");
    assert!(
        flaws
            .iter()
            .any(|flaw| flaw.contains("has expired; issue it again")),
        "{flaws:#?}"
    );
}

#[test]
fn files_that_are_broken_are_named() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    let pki = dir.path().join("pki");
    fs::write(pki.join("apiserver.crt"), "junk").unwrap();
    fs::write(pki.join("scheduler.key"), read(dir.path(), "admin.key")).unwrap();
    fs::remove_file(pki.join("etcd/peer.crt")).unwrap();
    fs::remove_file(pki.join("etcd/server.key")).unwrap();
    fs::set_permissions(pki.join("sa.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(pki.join("sa.pub"), read(dir.path(), "admin.key")).unwrap();
    fs::write(pki.join("kube-proxy.kubeconfig"), "kind: Config\n").unwrap();
    let flaws = flaws(dir.path());
    for expected in [
        "apiserver.crt: error: ",
        "scheduler.crt: error: ",
        "etcd/peer.crt: error: ",
        "etcd/server.crt: error: ",
        "sa.key: error: may be read by others (mode 0644)",
        "kube-proxy.kubeconfig: error: has no current-context",
    ] {
        assert!(
            flaws.iter().any(|flaw| flaw.starts_with(expected)),
            "{expected}: {flaws:#?}"
        );
    }
    for expected in [
        "holds no CERTIFICATE block",
        "does not belong to",
        "does not exist",
    ] {
        assert!(
            flaws.iter().any(|flaw| flaw.contains(expected)),
            "{expected}: {flaws:#?}"
        );
    }
}

#[test]
fn weak_key_or_signature_is_an_error() {
    if !openssl::present("weak certificates of a tree") {
        return;
    }
    let (dir, ca) = site();
    let pair = (ca.certificate.pem(), ca.key.serialize_pem());
    let signed = |key: &[u8], options: &[&str]| {
        let request = openssl::request(key, "/CN=system:kube-scheduler", &[]);
        let ca = (pair.0.as_bytes(), pair.1.as_bytes());
        openssl::signed(&request, ca, options)
    };
    let strong = openssl::key("RSA", &["rsa_keygen_bits:2048"]);
    let weak = openssl::key("RSA", &["rsa_keygen_bits:1024"]);
    let at = |suffix: &str| dir.path().join("pki").join(format!("scheduler.{suffix}"));
    for (key, options, words) in [
        (&strong, "-sha1", "is signed by ECDSA with SHA-1"),
        (&weak, "-sha256", "has an RSA key of 1024 bits"),
    ] {
        fs::write(at("key"), key).unwrap();
        fs::write(at("crt"), signed(key, &[options])).unwrap();
        let flaws = flaws(dir.path());
        let told = |flaw: &String| flaw.starts_with("scheduler.crt: error") && flaw.contains(words);
        assert!(flaws.iter().any(told), "{words}: {flaws:?}");
    }
}

#[test]
fn mode_is_blamed_on_the_file_that_has_it() {
    let dir = tempfile::tempdir().unwrap();
    make(dir.path()).unwrap();
    tree(dir.path())
        .rotate("front-proxy-ca", Step::Next, RenewedKey::Kept, &[])
        .unwrap();
    assert_eq!(
        flaws(dir.path()),
        [
            "front-proxy-ca.crt: warning: is being rotated, stage trust-both; go on with pki rotate-ca"
        ]
    );
    let pki = dir.path().join("pki");
    for (file, mode, expected) in [
        (
            ".",
            0o777,
            ".: error: may be changed by others (mode 0777); set it to 0755",
        ),
        (
            "etcd",
            0o770,
            "etcd: error: may be changed by others (mode 0770); set it to 0750",
        ),
        (
            "ca.key",
            0o640,
            "ca.key: error: may be read by others (mode 0640); set it to 0600",
        ),
        (
            "etcd/peer.key",
            0o604,
            "etcd/peer.key: error: may be read by others (mode 0604)",
        ),
        (
            "ca.crt",
            0o666,
            "ca.crt: error: may be changed by others (mode 0666); set it to 0644",
        ),
        (
            "pki.yaml",
            0o664,
            "pki.yaml: error: may be changed by others (mode 0664)",
        ),
        (
            "inventory.yaml",
            0o646,
            "inventory.yaml: error: may be changed by others",
        ),
        (
            "sa.pub",
            0o666,
            "sa.pub: error: may be changed by others (mode 0666)",
        ),
        (
            "sa.key",
            0o644,
            "sa.key: error: may be read by others (mode 0644)",
        ),
        (
            "admin.kubeconfig",
            0o644,
            "admin.kubeconfig: error: may be read by others (mode 0644)",
        ),
        (
            "rotation",
            0o707,
            "rotation: error: may be changed by others (mode 0707)",
        ),
        (
            "rotation/front-proxy-ca/old.key",
            0o660,
            "rotation/front-proxy-ca/old.key: error: may be read by others (mode 0660)",
        ),
    ] {
        let path = pki.join(file);
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let found = flaws(dir.path());
        let errors: Vec<&String> = found.iter().filter(|flaw| flaw.contains("error")).collect();
        assert_eq!(errors.len(), 1, "{file}: {found:#?}");
        assert!(errors[0].starts_with(expected), "{expected}: {errors:#?}");
        fs::set_permissions(&path, before).unwrap();
    }
}
