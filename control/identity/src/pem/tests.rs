//! Files, good and bad.

use super::*;
use crate::pki::testing::{Made, NOW, Recipe, authority, client, kubelet, now};
use crate::testing::openssl;
use rcgen::KeyUsagePurpose;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;
use time::Duration as Span;

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> FileRef {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        FileRef::new(format!("kubelet.{name}"), path)
    }

    fn certificate(&self, made: &Made) -> FileRef {
        self.write("certFile", &made.certificate.pem())
    }

    fn key(&self, made: &Made) -> FileRef {
        self.write("keyFile", &made.key.serialize_pem())
    }
}

fn fault<T: fmt::Debug>(result: Result<T, PemError>) -> Fault {
    result.unwrap_err().fault
}

#[test]
fn credential_of_a_matching_pair_is_ready() {
    let files = Files::new();
    let ca = authority("ca").self_signed();
    let own = client("eyesplice").signed_by(&ca);
    let chain = files.write("certFile", &(own.certificate.pem() + &ca.certificate.pem()));
    let credential = Credential::load(chain, &files.key(&own), Role::Client).unwrap();
    assert_eq!(credential.certified.cert, [own.der(), ca.der()]);
    assert_eq!(credential.leaf.subject.to_string(), "CN=eyesplice");
    assert_eq!(credential.notes(now()), None);
    let debug = format!("{credential:?}");
    assert!(
        debug.contains("CN=eyesplice") && !debug.contains("certified"),
        "{debug}"
    );
}

#[test]
fn credential_may_be_one_file_with_both() {
    let files = Files::new();
    let own = kubelet().self_signed();
    let both = files.write("both", &(own.key.serialize_pem() + &own.certificate.pem()));
    Credential::load(both.clone(), &both, Role::Server).unwrap();
}

#[test]
fn credential_that_does_not_fit_says_why() {
    let files = Files::new();
    let (own, other) = (client("a").self_signed(), client("b").self_signed());
    let certificate = files.certificate(&own);
    let error = Credential::load(certificate.clone(), &files.key(&other), Role::Client);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("keyFile (kubelet.keyFile): does not belong to the certificate in "));
    assert!(text.contains("certFile (kubelet.certFile)"), "{text}");
    let key = files.key(&own);
    let error = Credential::load(certificate, &key, Role::Server)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("certificate CN=a has no extended key usage serverAuth"),
        "{error}"
    );
    let serving = kubelet().self_signed();
    let fault = fault(Credential::load(
        files.certificate(&serving),
        &files.key(&serving),
        Role::Client,
    ));
    assert!(
        matches!(fault, Fault::WrongUsage(_, Role::Client)),
        "{fault}"
    );
}

#[test]
fn file_faults_name_file_field_and_remedy() {
    let files = Files::new();
    let own = client("a").self_signed();
    let key = own.key.serialize_pem();
    let missing = FileRef::new("kubelet.caFile", files.0.path().join("missing"));
    let error = CaBundle::load(missing).unwrap_err().to_string();
    assert!(
        error.contains("missing (kubelet.caFile): does not exist; create it"),
        "{error}"
    );
    let directory = FileRef::new("kubelet.caFile", files.0.path());
    assert!(matches!(
        fault(CaBundle::load(directory)),
        Fault::Unreadable(_)
    ));
    for (text, expected) in [
        ("", "holds no CERTIFICATE block"),
        (key.as_str(), "holds no CERTIFICATE block"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "damaged PEM block"),
        (
            "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
            "damaged PEM block",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1 is no X.509 certificate",
        ),
    ] {
        let error = CaBundle::load(files.write("caFile", text))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    let large = files.write("caFile", &" ".repeat((1 << 20) + 1));
    assert!(matches!(fault(CaBundle::load(large)), Fault::TooLarge(_)));
}

#[test]
fn file_that_may_not_be_read_says_so() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: file_that_may_not_be_read_says_so: root may read everything");
        return;
    }
    let files = Files::new();
    let key = files.write("keyFile", "");
    fs::set_permissions(&key.path, fs::Permissions::from_mode(0o000)).unwrap();
    assert!(matches!(fault(PrivateKey::load(&key)), Fault::Forbidden(_)));
}

#[test]
fn private_key_must_be_one_and_readable() {
    let files = Files::new();
    let own = client("a").self_signed();
    let key = own.key.serialize_pem();
    let load = |text: &str| PrivateKey::load(&files.write("keyFile", text));
    let good = load(&format!("# a comment\n{}{key}", own.certificate.pem())).unwrap();
    assert_eq!(format!("{good:?}"), "PrivateKey(redacted)");
    assert!(matches!(fault(load("")), Fault::NoKey));
    assert!(matches!(fault(load(&own.certificate.pem())), Fault::NoKey));
    assert!(matches!(
        fault(load(&format!("{key}{key}"))),
        Fault::SeveralKeys(2)
    ));
    assert!(matches!(fault(load(&key[..key.len() / 2])), Fault::Damaged));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert!(matches!(fault(load(&encrypted)), Fault::EncryptedKey));
    let label = "RSA PRIVATE KEY";
    let old = format!(
        "-----BEGIN {label}-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
         -----END {label}-----\n"
    );
    assert!(matches!(fault(load(&old)), Fault::EncryptedKey));
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let pair = Credential::load(
        files.certificate(&own),
        &files.write("keyFile", nonsense),
        Role::Client,
    );
    assert!(matches!(fault(pair), Fault::UnsupportedKey));
}

#[test]
fn private_key_of_every_format_matches_its_certificate() {
    let files = Files::new();
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: private_key_of_every_format_matches_its_certificate: no openssl");
        return;
    }
    let openssl = |arguments: &[&str]| {
        let directory = files.0.path();
        let out = Command::new("openssl")
            .current_dir(directory)
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    };
    let generators: [(&str, &[&str]); 6] = [
        (
            "BEGIN RSA PRIVATE KEY",
            &["genrsa", "-traditional", "-out", "key", "2048"],
        ),
        (
            "BEGIN PRIVATE KEY",
            &["genpkey", "-algorithm", "RSA", "-out", "key"],
        ),
        // With an EC PARAMETERS block before it.
        (
            "BEGIN EC PRIVATE KEY",
            &["ecparam", "-name", "prime256v1", "-genkey", "-out", "key"],
        ),
        (
            "BEGIN EC PRIVATE KEY",
            &["ecparam", "-name", "secp384r1", "-genkey", "-out", "key"],
        ),
        (
            "BEGIN PRIVATE KEY",
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                "key",
            ],
        ),
        (
            "BEGIN PRIVATE KEY",
            &["genpkey", "-algorithm", "ED25519", "-out", "key"],
        ),
    ];
    for (label, generate) in generators {
        openssl(generate);
        openssl(&[
            "req", "-x509", "-key", "key", "-subj", "/CN=x", "-days", "2", "-out", "crt",
        ]);
        let path = files.0.path().join("key");
        assert!(
            fs::read_to_string(&path).unwrap().contains(label),
            "{generate:?}"
        );
        let key = FileRef::new("f", path);
        let certificate = FileRef::new("f", files.0.path().join("crt"));
        Credential::load(certificate.clone(), &key, Role::Server).unwrap();
        // And it can be the egress CA: `req -x509` makes CAs.
        crate::pki::Authority::load(&certificate, &key).unwrap();
    }
}

#[test]
fn bundle_takes_authorities_only() {
    let files = Files::new();
    let (a, b) = (authority("a").self_signed(), authority("b").self_signed());
    let pem = |made: &Made| made.certificate.pem();
    let bundle = CaBundle::load(files.write("caFile", &(pem(&a) + &pem(&b)))).unwrap();
    assert_eq!(bundle.roots.len(), 2);
    assert_eq!(bundle.certificates[1].subject.to_string(), "CN=b");
    let leaf = kubelet().self_signed();
    let error = CaBundle::load(files.write("caFile", &(pem(&a) + &pem(&leaf)))).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("certificate 2 (CN=system:node:worker-3,"),
        "{error}"
    );
    let usages = vec![KeyUsagePurpose::DigitalSignature];
    let unsigned = Recipe {
        usages,
        ..authority("c")
    }
    .self_signed();
    let bundle = CaBundle::load(files.write("caFile", &pem(&unsigned)));
    assert!(matches!(fault(bundle), Fault::BadAnchor(1, _)));
}

#[test]
fn notes_tell_what_is_or_will_be_invalid() {
    let files = Files::new();
    let day = Span::days(1);
    let load = |recipe: Recipe| {
        let made = recipe.self_signed();
        CaBundle::load(files.write("caFile", &made.certificate.pem()))
            .unwrap()
            .notes(now())
    };
    assert_eq!(load(authority("a").valid(-day, day * 8)), []);
    for (recipe, expected) in [
        (
            authority("a").valid(-day * 2, -day),
            "CN=a expired 2026-11-21T08:00:00Z; replace it",
        ),
        (
            authority("a").valid(-day, day * 6),
            "CN=a expires 2026-11-28T08:00:00Z; renew it",
        ),
        (
            authority("a").valid(day, day * 9),
            "CN=a is valid from 2026-11-23T08:00:00Z; check",
        ),
    ] {
        let notes = load(recipe);
        assert_eq!(notes.len(), 1);
        let text = notes[0].to_string();
        assert!(
            text.contains("caFile (kubelet.caFile): certificate "),
            "{text}"
        );
        assert!(text.contains(expected), "{text}");
    }
    let late = client("x").valid(-day * 2, -day).self_signed();
    let credential =
        Credential::load(files.certificate(&late), &files.key(&late), Role::Client).unwrap();
    let note = credential.notes(now()).unwrap();
    assert_eq!(note.kind, NoteKind::Expired((NOW - day).into()));
}

#[test]
fn weak_keys_and_signatures_are_refused_by_file_and_remedy() {
    if !openssl::present("weak certificates in files") {
        return;
    }
    let files = Files::new();
    let write = |name: &str, pem: &[u8]| files.write(name, std::str::from_utf8(pem).unwrap());
    let weak = openssl::key("RSA", &["rsa_keygen_bits:1024"]);
    let root = openssl::self_signed(&weak, "/CN=root", &[]);
    let error = CaBundle::load(write("caFile", &root))
        .unwrap_err()
        .to_string();
    let expected =
        "caFile (kubelet.caFile): certificate 1 (CN=root) has an RSA key of 1024 bits; make";
    assert!(error.contains(expected), "{error}");

    let key = openssl::key("RSA", &["rsa_keygen_bits:2048"]);
    let root = openssl::self_signed(&key, "/CN=root", &["-sha1"]);
    CaBundle::load(write("caFile", &root)).unwrap();
    let key_file = write("keyFile", &key);
    let request = openssl::request(&key, "/CN=leaf", &[]);
    let load = |leaf: &[u8]| Credential::load(write("certFile", leaf), &key_file, Role::Client);
    load(&openssl::signed(&request, (&root, &key), &["-sha256"])).unwrap();
    let leaf = openssl::signed(&request, (&root, &key), &["-sha1"]);
    let error = load(&leaf).unwrap_err().to_string();
    let expected = "certFile): certificate 1 (CN=leaf) is signed by SHA-1 with RSA; have it signed";
    assert!(error.contains(expected), "{error}");

    let weak_file = write("weakKey", &weak);
    let request = openssl::request(&weak, "/CN=leaf", &[]);
    let leaf = write("certFile", &openssl::signed(&request, (&root, &key), &[]));
    let error = Credential::load(leaf, &weak_file, Role::Client).unwrap_err();
    assert!(
        matches!(error.fault, Fault::Weak { number: 1, .. }),
        "{error}"
    );
}
