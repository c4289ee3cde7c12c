//! A CA whose key is elsewhere: requests, what may be accepted for them, and what each stage says.

use super::crash::{snapshot, steps};
use super::*;
use crate::certificate::CertificateFacts;
use crate::pem::{self, PrivateKey};
use crate::pki::testing::{Made, Recipe, authority};
use crate::pki::tests::faulty::{After, Faulty};
use crate::pki::{key, name, request};
use eyesplice_proto::causes::chain;
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;
use std::path::PathBuf;
use time::Duration;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::X509Extension;

const REST: &str =
    "nodes: [{name: w, addresses: [10.0.0.9]}]\nusers: [{name: jane, groups: [ops, dev]}]\n";
const EXTERNAL: &str = "authorities:\n  existing:\n  - {name: ca, certFile: t.crt}\n";

/// A tree whose CA `ca` has its key elsewhere, and that CA.
fn site() -> (tempfile::TempDir, Elsewhere) {
    site_of(authority("corp").self_signed(), &[])
}

/// As [`site`], with these certificates behind the CA's in its file.
fn site_of(ca: Made, above: &[&Made]) -> (tempfile::TempDir, Elsewhere) {
    let dir = tempfile::tempdir().unwrap();
    let chain: Vec<_> = [&ca]
        .into_iter()
        .chain(above.iter().copied())
        .map(Made::der)
        .collect();
    fs::write(dir.path().join("t.crt"), pem::encode(&chain)).unwrap();
    make_from(dir.path(), &format!("{REST}{EXTERNAL}")).unwrap();
    (dir, Elsewhere::of(&ca))
}

/// The CA with its key.
struct Elsewhere(Authority);

impl Elsewhere {
    fn of(ca: &Made) -> Self {
        let key = PrivateKey::from(ca.private_key());
        Self(Authority::new(vec![ca.der()], &key).unwrap())
    }

    /// Signs what a request asks for.
    fn sign(&self, dir: &Path, name: &str) -> CertificateDer<'static> {
        self.sign_but(dir, name, None, |_| {})
    }

    /// Signs what a request asks for, but for these changes.
    fn sign_but(
        &self,
        dir: &Path,
        name: &str,
        subject: Option<Vec<u8>>,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let text = read(dir, &format!("{name}.csr"));
        let own = pem_der(&text);
        let (_, parsed) = X509CertificationRequest::from_der(&own).unwrap();
        let own = parsed.certification_request_info.subject.as_raw().to_vec();
        let mut asked = CertificateSigningRequestParams::from_pem(&text).unwrap();
        asked.params.serial_number = Some(random_serial().unwrap());
        asked.params.not_before = OffsetDateTime::now_utc() - BACKDATE;
        asked.params.not_after = OffsetDateTime::now_utc() + Duration::days(90);
        change(&mut asked.params);
        let subject = subject.unwrap_or(own);
        self.0
            .sign(&asked.params, &asked.public_key, Some(&subject))
            .unwrap()
    }

    /// Signs everything that waits, into one file.
    fn sign_all(&self, dir: &Path) -> PathBuf {
        let signed: Vec<_> = waiting(dir)
            .iter()
            .map(|name| self.sign(dir, name))
            .collect();
        put(dir, "signed.pem", &signed)
    }
}

/// Names of the roles that wait.
fn waiting(dir: &Path) -> Vec<String> {
    let pending = tree(dir).pending().into_iter();
    pending
        .map(|request| request.file.strip_suffix(".csr").unwrap().to_owned())
        .collect()
}

fn put(dir: &Path, name: &str, certificates: &[CertificateDer<'_>]) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, pem::encode(certificates)).unwrap();
    path
}

fn exists(dir: &Path, name: &str) -> bool {
    dir.join("pki").join(name).exists()
}

fn names(names: &[&str]) -> Selection {
    Selection::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

/// Everything accepted.
fn complete() -> (tempfile::TempDir, Elsewhere) {
    let (dir, ca) = site();
    let file = ca.sign_all(dir.path());
    tree(dir.path()).accept(&[file]).unwrap();
    (dir, ca)
}

#[test]
fn init_writes_keys_and_requests_for_an_external_ca_and_certificates_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let ca = authority("corp").self_signed();
    put(dir.path(), "t.crt", &[ca.der()]);
    let report = make_from(dir.path(), &format!("{REST}{EXTERNAL}")).unwrap();
    let pending: Vec<&str> = report
        .pending
        .iter()
        .map(|request| request.file.as_str())
        .collect();
    for name in [
        "apiserver",
        "admin",
        "user-jane",
        "kubelet-client-w",
        "eyesplice-kubelet-client",
    ] {
        let request = format!("{name}.csr");
        assert!(pending.contains(&request.as_str()), "{name}: {pending:?}");
        assert!(!exists(dir.path(), &format!("{name}.crt")), "{name}");
        let mode = |suffix: &str| {
            let file = dir.path().join(format!("pki/{name}.{suffix}"));
            fs::metadata(file).unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("key"), mode("csr")), (0o600, 0o644), "{name}");
    }
    assert!(
        report
            .pending
            .iter()
            .all(|request| request.authority == "ca")
    );
    assert_eq!(read(dir.path(), "ca.crt"), pem::encode(&[ca.der()]));
    for absent in [
        "ca.key",
        "ca-chain.crt",
        "admin.kubeconfig",
        "kubelet-w.kubeconfig",
    ] {
        assert!(!exists(dir.path(), absent), "{absent}");
    }
    for made in [
        "etcd/server.crt",
        "kubelet-w.crt",
        "front-proxy-ca-chain.crt",
        "egress-server.crt",
    ] {
        assert!(exists(dir.path(), made), "{made}");
    }
    let sorted = |mut files: Vec<String>| {
        files.sort();
        files
    };
    let on_disk = snapshot(dir.path()).into_keys();
    let root = dir.path().join("pki");
    let on_disk = on_disk.map(|path| path.strip_prefix(&root).unwrap().display().to_string());
    assert_eq!(sorted(report.files), sorted(on_disk.collect()));
    assert!(read(dir.path(), "pki.yaml").contains("t.crt\",\"name\":\"ca\"}"));
}

/// The extensions that a request may have, as they stand there: kind, criticality and value.
fn asked<'a>(extensions: &'a [X509Extension<'a>]) -> Vec<(String, bool, &'a [u8])> {
    let wanted = ["2.5.29.15", "2.5.29.17", "2.5.29.19", "2.5.29.37"];
    let each = extensions.iter();
    let each = each.map(|each| (each.oid.to_id_string(), each.critical, each.value));
    let mut each: Vec<_> = each
        .filter(|(oid, ..)| wanted.contains(&oid.as_str()))
        .collect();
    each.sort();
    each
}

#[test]
fn request_asks_for_exactly_what_a_certificate_of_ours_would_have() {
    let (dir, _) = site();
    let other = tempfile::tempdir().unwrap();
    make_from(other.path(), REST).unwrap();
    let waiting = waiting(dir.path());
    assert_eq!(waiting.len(), 12, "{waiting:?}");
    for name in waiting {
        let request = der(dir.path(), &format!("{name}.csr"));
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        request.verify_signature().unwrap();
        let certificate = der(other.path(), &format!("{name}.crt"));
        let (_, certificate) = X509Certificate::from_der(&certificate).unwrap();
        let info = &request.certification_request_info;
        let mut attributes = info.iter_attributes();
        let attribute = attributes.next().unwrap();
        let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute() else {
            panic!("{name}: {attribute:?}");
        };
        assert!(attributes.next().is_none(), "{name}");
        let subject = certificate.subject().as_raw();
        assert_eq!(info.subject.as_raw(), subject, "{name}");
        let extensions = asked(&requested.extensions);
        assert!(extensions.len() >= 3, "{name}: {extensions:?}");
        assert_eq!(extensions, asked(certificate.extensions()), "{name}");
    }
    let jane = der(dir.path(), "user-jane.csr");
    let (_, jane) = X509CertificationRequest::from_der(&jane).unwrap();
    let subject = jane.certification_request_info.subject.to_string();
    assert_eq!(subject, "O=ops, O=dev, CN=jane");
}

#[test]
fn accept_installs_certificates_and_kubeconfigs_in_place_of_the_requests() {
    let (dir, ca) = site();
    let all = waiting(dir.path());
    let (first, rest) = all.split_at(3);
    let signed = |names: &[String]| -> Vec<_> {
        names.iter().map(|name| ca.sign(dir.path(), name)).collect()
    };
    // Two files, one of them with the CA and with a certificate that the other one has, too.
    let mut one = signed(first);
    let mut two = signed(rest);
    two.push(one[0].clone());
    one.push(ca.0.certificate().clone());
    let files = [
        put(dir.path(), "1.pem", &one),
        put(dir.path(), "2.pem", &two),
    ];
    let accepted = tree(dir.path()).accept(&files).unwrap();
    assert_eq!(accepted.warnings, [] as [String; 0]);
    assert_eq!(accepted.written.pending, []);
    assert_eq!(flaws(dir.path()), [] as [String; 0]);
    for name in &all {
        assert!(exists(dir.path(), &format!("{name}.crt")), "{name}");
        assert!(!exists(dir.path(), &format!("{name}.csr")), "{name}");
    }
    assert_eq!(
        read(dir.path(), "apiserver.crt").matches("BEGIN").count(),
        1,
        "the root is not sent"
    );
    let jane = CertificateFacts::read(&der(dir.path(), "user-jane.crt")).unwrap();
    assert_eq!(jane.subject.organizations, ["ops", "dev"]);
    assert!(
        exists(dir.path(), "user-jane.kubeconfig") && exists(dir.path(), "kubelet-w.kubeconfig")
    );
    // Once more is no harm: whoever ran it did perhaps not hear of it.
    let before = snapshot(dir.path());
    tree(dir.path()).accept(&files).unwrap();
    assert_eq!(snapshot(dir.path()), before);
}

#[test]
fn accept_refuses_what_its_role_would_and_changes_nothing() {
    let (dir, ca) = site();
    let stranger = Elsewhere::of(&authority("corp").self_signed());
    let unknown = Elsewhere::of(&authority("other").self_signed());
    let dir = dir.path();
    let one = |der: CertificateDer<'static>| vec![der];
    let own = key::generate(key::KeyAlgorithm::EcdsaP256).unwrap();
    let foreign =
        rcgen::SubjectPublicKeyInfo::from_der(key::SigningKey::new(&own.key).unwrap().spki());
    let mut for_foreign = CertificateParams::default();
    for_foreign.serial_number = Some(random_serial().unwrap());
    let for_foreign = ca.0.sign(&for_foreign, &foreign.unwrap(), None).unwrap();
    let subject = |groups: &[&str], user: &str| {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        Some(name::encode(&groups, user))
    };
    let good = ca.sign(dir, "scheduler");
    let table = [
        (
            one(for_foreign),
            "is for none of the keys that await a certificate here; have the CA",
        ),
        (
            one(stranger.sign(dir, "apiserver")),
            "is signed by another key than that of the CA in ca.crt; ask the CA of ca.crt to sign",
        ),
        (
            one(unknown.sign(dir, "apiserver")),
            "is not signed by a CA of ca.crt; ask the CA",
        ),
        (
            one(ca.sign_but(dir, "apiserver", None, |params| {
                params
                    .subject_alt_names
                    .retain(|name| !format!("{name:?}").contains("10.96.0.1"));
            })),
            "does not cover 10.96.0.1, which apiserver must; ask the CA to take over the subject \
             alternative names of apiserver.csr",
        ),
        (
            one(ca.sign_but(dir, "user-jane", subject(&["ops"], "jane"), |_| {})),
            "is for CN=jane,O=ops, and user-jane is CN=jane,O=ops,O=dev; ask the CA for the whole \
             subject of user-jane.csr",
        ),
        (
            one(ca.sign_but(
                dir,
                "admin",
                subject(&["system:masters"], "kubernetes-admin"),
                |_| {},
            )),
            "O=system:masters, and admin is CN=kubernetes-admin,O=kubeadm:cluster-admins",
        ),
        (
            one(ca.sign_but(dir, "admin", None, |params| {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            })),
            "may sign others as a CA, which admin must not; ask the CA for CA:FALSE",
        ),
        (
            one(ca.sign_but(dir, "admin", None, |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            })),
            "has no extended key usage clientAuth, which admin must; ask the CA to take over that",
        ),
        (
            one(ca.sign_but(dir, "admin", None, |params| {
                params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            })),
            "may not sign handshakes; ask the CA to take over the key usage of admin.csr",
        ),
        (
            one(ca.sign_but(dir, "admin", None, |params| {
                params.not_after = OffsetDateTime::now_utc() - Duration::days(1);
            })),
            "has expired; have admin.csr signed again",
        ),
        (
            vec![good.clone(), ca.sign(dir, "scheduler")],
            "is for scheduler, and so is",
        ),
        (one(ca.0.certificate().clone()), "the files have CAs only"),
    ];
    let before = snapshot(dir);
    for (wrong, expected) in table {
        // What is right beside it is not taken either.
        let mut files = vec![put(dir, "wrong.pem", &wrong)];
        if !expected.contains("CAs only") {
            files.push(put(dir, "good.pem", std::slice::from_ref(&good)));
        }
        let error = tree(dir).accept(&files).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("nothing was accepted:\n  "), "{text}");
        assert!(text.contains(expected), "{expected}: {text}");
        assert_eq!(snapshot(dir), before, "{expected}");
    }
    let error = tree(dir).accept(&[dir.join("pki/admin.key")]).unwrap_err();
    assert!(
        error.to_string().contains("holds no CERTIFICATE block"),
        "{error}"
    );
    assert_eq!(snapshot(dir), before);
}

#[test]
fn accept_refuses_weak_keys_and_signatures() {
    use crate::testing::openssl;
    if !openssl::present("weak certificates from elsewhere") {
        return;
    }
    let made = authority("corp").self_signed();
    let pair = (made.certificate.pem(), made.key.serialize_pem());
    let (dir, _) = site_of(made, &[]);
    let dir = dir.path();
    let sign = |request: &[u8], digest: &str| {
        let options = [digest, "-copy_extensions", "copy"];
        openssl::signed(request, (pair.0.as_bytes(), pair.1.as_bytes()), &options)
    };
    let file = dir.join("signed.pem");
    fs::write(&file, sign(read(dir, "scheduler.csr").as_bytes(), "-sha1")).unwrap();
    let before = snapshot(dir);
    let error = tree(dir)
        .accept(std::slice::from_ref(&file))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is signed by ECDSA with SHA-1; have it signed with SHA-256"),
        "{error}"
    );
    assert_eq!(snapshot(dir), before);
    // A key that somebody put there.
    let weak = openssl::key("RSA", &["rsa_keygen_bits:1024"]);
    fs::write(dir.join("pki/scheduler.key"), &weak).unwrap();
    let request = openssl::request(&weak, "/CN=system:kube-scheduler", &[]);
    fs::write(&file, sign(&request, "-sha256")).unwrap();
    let before = snapshot(dir);
    let error = tree(dir).accept(&[file]).unwrap_err().to_string();
    assert!(
        error.contains("scheduler.key") && error.contains("is not supported"),
        "{error}"
    );
    assert_eq!(snapshot(dir), before);
}

#[test]
fn requests_that_openssl_signs_make_a_good_tree() {
    use crate::testing::openssl;
    if !openssl::present("requests that openssl signs") {
        return;
    }
    let ca = authority("corp").self_signed();
    let pair = (ca.certificate.pem(), ca.key.serialize_pem());
    let (dir, _) = site_of(ca, &[]);
    let dir = dir.path();
    let (certificate, key) = (
        openssl::file(pair.0.as_bytes()),
        openssl::file(pair.1.as_bytes()),
    );
    let arguments = [
        "x509",
        "-req",
        "-days",
        "30",
        "-copy_extensions",
        "copyall",
        "-CA",
        certificate.path().to_str().unwrap(),
        "-CAkey",
        key.path().to_str().unwrap(),
    ];
    let mut files = Vec::new();
    for name in waiting(dir) {
        let signed = openssl::run(&arguments, read(dir, &format!("{name}.csr")).as_bytes());
        files.push(dir.join(name.replace('/', "-")));
        fs::write(files.last().unwrap(), signed).unwrap();
    }
    tree(dir).accept(&files).unwrap();
    assert_eq!(flaws(dir), [] as [String; 0]);
    for (name, purpose) in [("apiserver", "sslserver"), ("user-jane", "sslclient")] {
        let file = format!("{name}.crt");
        let arguments = [
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            "ca.crt",
            &file,
        ];
        let (good, text) = openssl(dir, &arguments).unwrap();
        // The CA of tests has no key usage that the strict openssl wants of a CA's own certificate.
        assert!(
            good || !text.contains(&file) || text.contains("CA cert"),
            "{text}"
        );
    }
}

#[test]
fn renewal_keeps_key_and_certificate_until_the_next_one_is_accepted() {
    let (dir, ca) = complete();
    let dir = dir.path();
    let before = snapshot(dir);
    // Names that the role has gained are asked for.
    let document = dir.join("pki/pki.yaml");
    let text = fs::read_to_string(&document).unwrap();
    let more = text.replace("apiserver: []", "apiserver: [\"new.example\"]");
    fs::write(&document, more).unwrap();
    let written = tree(dir).renew(
        &names(&["apiserver", "admin", "etcd/server"]),
        RenewedKey::New,
    );
    let written = written.unwrap();
    let expected = [
        "apiserver.csr",
        "admin.csr",
        "etcd/server.key",
        "etcd/server.crt",
    ];
    assert_eq!(written.files, expected);
    assert_eq!(written.pending.len(), 2);
    for name in [
        "apiserver.crt",
        "apiserver.key",
        "admin.crt",
        "admin.key",
        "admin.kubeconfig",
    ] {
        assert_eq!(
            before[&dir.join("pki").join(name)],
            read(dir, name),
            "{name}"
        );
    }
    let waits: Vec<String> = flaws(dir)
        .into_iter()
        .filter(|flaw| flaw.contains(".csr"))
        .collect();
    let expected = [
        "apiserver.crt: warning: is to be replaced; have apiserver.csr signed by its CA, then pki accept",
        "admin.crt: warning: is to be replaced; have admin.csr signed by its CA, then pki accept",
    ];
    assert_eq!(waits, expected);
    // The certificate that is in use is not the next one.
    let error = tree(dir)
        .accept(&[dir.join("pki/admin.crt")])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is what admin.crt has already; give the one that was signed"),
        "{error}"
    );
    let file = ca.sign_all(dir);
    tree(dir).accept(&[file]).unwrap();
    assert_eq!(flaws(dir), [] as [String; 0]);
    let serial = |text: &str| CertificateFacts::read(&pem_der(text)).unwrap().serial;
    let old = &before[&dir.join("pki/apiserver.crt")];
    let new = read(dir, "apiserver.crt");
    assert_ne!(serial(old), serial(&new));
    assert!(
        CertificateFacts::read(&pem_der(&new))
            .unwrap()
            .names
            .contains(&"new.example".to_owned())
    );
    assert_eq!(before[&dir.join("pki/admin.key")], read(dir, "admin.key"));
    assert_ne!(
        before[&dir.join("pki/admin.kubeconfig")],
        read(dir, "admin.kubeconfig")
    );
}

#[test]
fn renewal_of_what_is_due_asks_once() {
    let (dir, ca) = complete();
    let dir = dir.path();
    let soon = ca_renewed(dir, &ca, "admin");
    tree(dir).accept(&[soon]).unwrap();
    let due = |dir: &Path| {
        tree(dir)
            .renew(&Selection::Due, RenewedKey::New)
            .unwrap()
            .files
    };
    assert_eq!(due(dir), ["admin.csr"]);
    assert_eq!(due(dir), [] as [String; 0]);
}

/// A certificate that has lived most of its time.
fn ca_renewed(dir: &Path, ca: &Elsewhere, name: &str) -> PathBuf {
    tree(dir).renew(&names(&[name]), RenewedKey::New).unwrap();
    let now = OffsetDateTime::now_utc();
    let signed = ca.sign_but(dir, name, None, |params| {
        params.not_before = now - Duration::days(300);
        params.not_after = now + Duration::days(30);
    });
    put(dir, "due.pem", &[signed])
}

#[test]
fn issue_leaves_alone_what_waits_and_makes_requests_for_new_nodes_and_users() {
    let (dir, ca) = site();
    let dir = dir.path();
    let before = snapshot(dir);
    let written = tree(dir).issue(&[], &Added::default(), false).unwrap();
    assert!(
        written.files.is_empty() && written.pending.len() == 12,
        "{written:?}"
    );
    assert_eq!(snapshot(dir), before);
    let error = tree(dir)
        .issue(&["admin".to_owned()], &Added::default(), false)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("has admin.key, admin.csr already"),
        "{error}"
    );
    let file = ca.sign_all(dir);
    tree(dir).accept(&[file]).unwrap();
    let added = Added {
        nodes: vec!["x=10.0.0.10".parse().unwrap()],
        users: vec!["joe=a,b".parse().unwrap()],
        agents: Vec::new(),
        break_glass: Vec::new(),
    };
    let written = tree(dir).issue(&[], &added, false).unwrap();
    let expected = [
        "user-joe.key",
        "user-joe.csr",
        "kubelet-x.key",
        "kubelet-x.crt",
        "kubelet-client-x.key",
        "kubelet-client-x.csr",
        "inventory.yaml",
        "pki.yaml",
    ];
    assert_eq!(written.files, expected);
    assert_eq!(waiting(dir), ["user-joe", "kubelet-client-x"]);
    let file = ca.sign_all(dir);
    tree(dir).accept(&[file]).unwrap();
    assert_eq!(flaws(dir), [] as [String; 0]);
    assert!(exists(dir, "kubelet-x.kubeconfig") && exists(dir, "user-joe.kubeconfig"));
}

#[test]
fn issue_by_force_makes_a_new_key_and_leaves_no_pair_that_does_not_match() {
    let (dir, ca) = complete();
    let dir = dir.path();
    let before = read(dir, "admin.key");
    tree(dir)
        .issue(&["admin".to_owned()], &Added::default(), true)
        .unwrap();
    assert_ne!(read(dir, "admin.key"), before);
    assert!(!exists(dir, "admin.crt") && !exists(dir, "admin.kubeconfig"));
    let file = ca.sign_all(dir);
    tree(dir).accept(&[file]).unwrap();
    assert_eq!(flaws(dir), [] as [String; 0]);
}

#[test]
fn verify_tells_each_stage() {
    let (dir, ca) = site();
    let dir = dir.path();
    let of = |name: &str| -> Vec<String> {
        let start = format!("{name}.");
        flaws(dir)
            .into_iter()
            .filter(|flaw| flaw.starts_with(&start))
            .collect()
    };
    let waits = "error: awaits its certificate; have admin.csr signed by its CA, then pki accept";
    assert_eq!(of("admin"), [format!("admin.crt: {waits}")]);
    // Its key is no flaw; nor is that of a CA which the document says is elsewhere.
    assert!(of("ca").is_empty());
    assert_eq!(flaws(dir).len(), 12);
    let error = tree(dir).client("admin").map(drop).unwrap_err();
    assert!(
        error.to_string().contains("admin awaits its certificate"),
        "{error}"
    );
    // The request is lost: it is made again, for the same key.
    let request = read(dir, "admin.csr");
    let key = read(dir, "admin.key");
    fs::remove_file(dir.join("pki/admin.csr")).unwrap();
    let lost = "admin.crt: error: is not there, and no request for it; pki issue writes admin.csr";
    assert_eq!(of("admin"), [lost]);
    assert_eq!(
        tree(dir)
            .issue(&[], &Added::default(), false)
            .unwrap()
            .files,
        ["admin.csr"]
    );
    assert_eq!(read(dir, "admin.key"), key);
    // The key is another one's: what is signed would be for nobody.
    fs::write(dir.join("pki/admin.key"), read(dir, "scheduler.key")).unwrap();
    let foreign = "admin.crt: error: has admin.csr for another key than admin.key; pki renew admin \
                   writes it again";
    assert_eq!(of("admin"), [foreign]);
    fs::write(dir.join("pki/admin.key"), key).unwrap();
    fs::write(dir.join("pki/admin.csr"), "junk").unwrap();
    assert!(
        of("admin")[0].contains("has a damaged PEM block"),
        "{:?}",
        of("admin")
    );
    fs::write(dir.join("pki/admin.csr"), request).unwrap();
    let file = ca.sign_all(dir);
    tree(dir).accept(&[file]).unwrap();
    assert_eq!(flaws(dir), [] as [String; 0]);
    tree(dir)
        .renew(&names(&["admin"]), RenewedKey::New)
        .unwrap();
    assert_eq!(flaws(dir).len(), 1);
    let later = SystemTime::now() + std::time::Duration::from_secs(100 * 86_400);
    let flaws = flaws_at(dir, later);
    assert!(
        flaws
            .iter()
            .any(|flaw| flaw.starts_with("admin.crt: error: expired")),
        "{flaws:?}"
    );
}

#[test]
fn external_ca_below_a_root_sends_what_is_between() {
    let root = authority("root").self_signed();
    let ca = authority("issuing").signed_by(&root);
    let between = authority("sub").signed_by(&ca);
    let (dir, elsewhere) = site_of(ca, &[&root]);
    let dir = dir.path();
    // Its own parent is in the file that it came from, or not.
    let of_ca: Vec<String> = flaws(dir)
        .into_iter()
        .filter(|flaw| flaw.starts_with("ca."))
        .collect();
    assert_eq!(of_ca, [] as [String; 0]);
    put(dir, "t.crt", &[elsewhere.0.certificate().clone()]);
    let of_ca: Vec<String> = flaws(dir)
        .into_iter()
        .filter(|flaw| flaw.starts_with("ca."))
        .collect();
    assert_eq!(of_ca, [] as [String; 0]);
    let sub = Elsewhere::of(&between);
    let lacking = put(dir, "1.pem", &[sub.sign(dir, "apiserver")]);
    let error = tree(dir).accept(&[lacking]).unwrap_err().to_string();
    assert!(error.contains("give the CAs in between, too"), "{error}");
    let files = [
        put(
            dir,
            "1.pem",
            &[sub.sign(dir, "apiserver"), elsewhere.sign(dir, "admin")],
        ),
        put(dir, "2.pem", &[root.der(), between.der()]),
    ];
    tree(dir).accept(&files).unwrap();
    let count = |name: &str| read(dir, name).matches("BEGIN").count();
    assert_eq!((count("apiserver.crt"), count("admin.crt")), (3, 2));
    let of = |name: &str| {
        flaws(dir)
            .iter()
            .filter(|flaw| flaw.starts_with(name))
            .count()
    };
    assert_eq!((of("apiserver."), of("admin.")), (0, 0));
}

#[test]
fn external_ca_is_replaced_where_its_key_is() {
    let (dir, _) = complete();
    let dir = dir.path();
    let error = tree(dir).rotation("ca").unwrap_err().to_string();
    assert!(
        error.contains("the key of the CA ca is not here, so it signs and is rotated where"),
        "{error}"
    );
    let next = Elsewhere::of(&authority("corp 2").self_signed());
    // The steps that the error names.
    let both = [
        pem_der(&read(dir, "ca.crt")).into(),
        next.0.certificate().clone(),
    ];
    fs::write(dir.join("pki/ca.crt"), pem::encode(&both)).unwrap();
    tree(dir).renew(&Selection::All, RenewedKey::Kept).unwrap();
    let file = next.sign_all(dir);
    tree(dir).accept(&[file]).unwrap();
    fs::write(dir.join("pki/ca.crt"), pem::encode(&both[1..])).unwrap();
    let bad: Vec<String> = flaws(dir)
        .into_iter()
        .filter(|flaw| flaw.contains("error"))
        .collect();
    assert_eq!(bad, [] as [String; 0]);
}

#[test]
fn external_ca_that_is_none_is_not_taken_over() {
    let client = Recipe {
        is_ca: IsCa::ExplicitNoCa,
        ..authority("leaf")
    };
    let expired = authority("old").valid(-Duration::days(9), -Duration::days(8));
    for (made, expected) in [
        (
            client.self_signed(),
            "cannot take over the CA ca: CN=leaf is no CA",
        ),
        (expired.self_signed(), "refused to write ca: it expired"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "t.crt", &[made.der()]);
        let error = make_from(dir.path(), EXTERNAL).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(expected), "{text}");
        assert!(!dir.path().join("pki").exists());
    }
    let dir = tempfile::tempdir().unwrap();
    let text = chain(&make_from(dir.path(), EXTERNAL).unwrap_err());
    let field = "t.crt (authorities, ca: certFile): does not exist";
    assert!(text.contains(field), "{text}");
    // Who signs CAs must have the key here.
    let parent = "authorities: {parent: {certFile: t.crt}}\n";
    let text = make_from(dir.path(), parent).unwrap_err().to_string();
    assert!(
        text.contains("authorities.parent.keyFile") && text.contains("is required"),
        "{text}"
    );
    let nothing = "authorities: {existing: [{name: ca}]}\n";
    let text = make_from(dir.path(), nothing).unwrap_err().to_string();
    assert!(text.contains("authorities.existing[0].certFile"), "{text}");
}

#[test]
fn init_by_force_leaves_no_certificate_of_another_key() {
    let (dir, _) = complete();
    let document = dir.path().join("config.yaml");
    let source = Source::Config(document);
    init(&dir.path().join("pki"), &source, true).unwrap();
    let all = flaws(dir.path());
    assert!(
        all.iter()
            .all(|flaw| flaw.contains("awaits its certificate")),
        "{all:#?}"
    );
    assert_eq!(all.len(), 12, "{all:#?}");
    assert!(!exists(dir.path(), "admin.kubeconfig"));
}

#[test]
fn keys_of_every_algorithm_ask() {
    for algorithm in ["ECDSA-P384", "Ed25519"] {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority("corp").self_signed();
        put(dir.path(), "t.crt", &[ca.der()]);
        let keys =
            format!("{REST}keys: {{algorithm: {algorithm}}}\nauthorities:\n  layout: single\n");
        let external = "  existing: [{name: ca, certFile: t.crt}]\n";
        make_from(dir.path(), &format!("{keys}{external}")).unwrap();
        let file = Elsewhere::of(&ca).sign_all(dir.path());
        tree(dir.path()).accept(&[file]).unwrap();
        assert_eq!(flaws(dir.path()), [] as [String; 0], "{algorithm}");
    }
}

#[test]
fn accept_interrupted_at_any_step_is_all_or_nothing() {
    for after in [After::Recovery, After::Nothing] {
        for at in steps() {
            let (dir, ca) = site();
            let file = ca.sign_all(dir.path());
            let old = snapshot(dir.path());
            let mut tree = tree(dir.path());
            let disk = Faulty::new(at, after);
            tree.disk = Box::new(std::rc::Rc::clone(&disk));
            let result = tree.accept(std::slice::from_ref(&file));
            let tripped = disk.tripped();
            assert_eq!(result.is_err(), tripped, "step {at}");
            // Opening the tree recovers it.
            let waits = waiting(dir.path());
            match waits.len() {
                0 => assert_eq!(flaws(dir.path()), [] as [String; 0], "step {at}"),
                12 => assert_eq!(snapshot(dir.path()), old, "step {at}"),
                some => panic!("step {at}: {some} wait"),
            }
            super::tree(dir.path()).accept(&[file]).unwrap();
            assert_eq!(flaws(dir.path()), [] as [String; 0], "step {at}");
            if !tripped {
                break;
            }
        }
    }
}

#[test]
fn requests_are_read_for_their_key() {
    let (dir, _) = site();
    let file = pem::FileRef::new("x", dir.path().join("pki/admin.csr"));
    let key = key::SigningKey::new(&pem::key_of(read(dir.path(), "admin.key").as_bytes()).unwrap());
    assert_eq!(request::public_key(&file).unwrap(), key.unwrap().spki());
    for end in 0..read(dir.path(), "admin.csr").trim_end().len() {
        let cut = dir.path().join("cut.csr");
        fs::write(&cut, &read(dir.path(), "admin.csr")[..end]).unwrap();
        assert!(
            request::public_key(&pem::FileRef::new("x", cut)).is_err(),
            "{end}"
        );
    }
}
