//! What is signed, judged by a verifier that is not ours and by openssl.

use super::super::testing::{Site, csr};
use super::*;
use data_encoding::BASE64;
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::pki::testing::NOW;
use eyesplice_identity::x509::testing::{Ask, dns, ip, kubelet_client, kubelet_serving};
use eyesplice_proto::tls::provider;
use rcgen::{CustomExtension, DnType};
use rustls::pki_types::UnixTime;
use rustls::server::WebPkiClientVerifier;
use std::process::Command;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

fn signed(object: &CertificateSigningRequest, signer: Signer, ca: &SignerCa) -> (String, Vec<u8>) {
    match sign(object, signer, ca, NOW).unwrap() {
        Change::Sign { object, serial, .. } => (
            String::from_utf8(object.status.certificate.0).unwrap(),
            serial,
        ),
        other => panic!("{other:?}"),
    }
}

fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64.decode(lines.as_bytes()).unwrap()
}

fn ca(site: &Site, signer: Signer) -> SignerCa {
    site.material().signers.remove(&signer).unwrap()
}

#[test]
fn serving_certificate_has_what_was_asked_for_and_nothing_else() {
    let site = Site::new();
    let signer = Signer::KubeletServing;
    let mut ask = kubelet_serving("w", vec![dns("w.example"), ip("10.0.0.7"), ip("fd00::7")]);
    ask.subject.push((
        DnType::from_oid(&[1, 3, 6, 1, 4, 1, 57683, 2]),
        "uid".to_owned(),
    ));
    let ca_true = vec![0x30, 3, 1, 1, 0xff];
    ask.extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 19], ca_true)];
    let object = csr("a", signer, "system:node:w", "system:nodes", ask);
    let (pem, serial) = signed(&object, signer, &ca(&site, signer));
    let der = der(&pem);
    let (rest, certificate) = X509Certificate::from_der(&der).unwrap();
    assert!(rest.is_empty());
    let facts = CertificateFacts::read(&der).unwrap();
    assert_eq!(facts.subject.to_string(), "CN=system:node:w,O=system:nodes");
    assert_eq!(facts.subject.uid, None, "unknown attributes are left out");
    assert_eq!(
        facts.issuer.common_name.as_deref(),
        Some("kubelet-serving-ca")
    );
    assert_eq!(facts.names, ["w.example", "10.0.0.7", "fd00::7"]);
    assert!(!certificate.is_ca() && facts.usage.server && !facts.usage.client);
    assert_eq!(facts.not_before, NOW - Duration::minutes(5));
    assert_eq!(
        facts.not_after,
        NOW + Duration::days(365) - Duration::minutes(5)
    );
    let raw: Vec<u8> = certificate
        .raw_serial()
        .iter()
        .copied()
        .skip_while(|b| *b == 0)
        .collect();
    let serial: Vec<u8> = serial.into_iter().skip_while(|b| *b == 0).collect();
    assert_eq!(raw, serial);
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && !basic.value.ca);
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_encipherment());
    certificate
        .verify_signature(Some(&issuer_key(&site.serving_ca.der())))
        .unwrap();
}

fn issuer_key<'a>(der: &'a [u8]) -> x509_parser::x509::SubjectPublicKeyInfo<'a> {
    X509Certificate::from_der(der)
        .unwrap()
        .1
        .tbs_certificate
        .subject_pki
}

#[test]
fn two_groups_are_two_organizations() {
    let site = Site::new();
    let signer = Signer::ApiServerClient;
    let groups = vec![
        (DnType::CommonName, "jane".to_owned()),
        (DnType::OrganizationName, "dev".to_owned()),
        (DnType::CustomDnType(vec![2, 5, 4, 10]), "ops".to_owned()),
    ];
    let ask = Ask {
        subject: groups,
        ..kubelet_client("x")
    };
    let mut object = csr("a", signer, "jane", "dev", ask);
    object.spec.usages = vec!["client auth".to_owned()];
    object.spec.expiration_seconds = Some(3600);
    let (pem, _) = signed(&object, signer, &ca(&site, signer));
    let facts = CertificateFacts::read(&der(&pem)).unwrap();
    assert_eq!(facts.subject.organizations, ["dev", "ops"]);
    assert_eq!(facts.not_after, NOW + Duration::hours(1));
    assert!(facts.usage.client && !facts.usage.server);
}

#[test]
fn what_is_signed_verifies_by_openssl() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: what_is_signed_verifies_by_openssl: no openssl on this machine");
        return;
    }
    let site = Site::new();
    let now = OffsetDateTime::now_utc();
    for (signer, ask, purpose, authority) in [
        (
            Signer::KubeletClient,
            kubelet_client("w"),
            "sslclient",
            "ca",
        ),
        (
            Signer::KubeletServing,
            kubelet_serving("w", vec![dns("w")]),
            "sslserver",
            "serving",
        ),
    ] {
        let object = csr("a", signer, "u", "g", ask);
        let Change::Sign { object, .. } = sign(&object, signer, &ca(&site, signer), now).unwrap()
        else {
            panic!("not signed")
        };
        let pem = String::from_utf8(object.status.certificate.0).unwrap();
        site.write("leaf.crt", &pem);
        let out = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"])
            .arg(site.path(&format!("{authority}.crt")))
            .arg(site.path("leaf.crt"))
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{signer}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn authorities_with_rsa_and_ed25519_keys_sign_what_openssl_and_webpki_verify() {
    for algorithm in ["rsa:2048", "rsa:4096", "ed25519"] {
        let site = Site::new();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-nodes",
                "-days",
                "30",
                "-subj",
                "/CN=kubernetes",
            ])
            .args(["-addext", "keyUsage=critical,keyCertSign,digitalSignature"])
            .args(["-newkey", algorithm, "-keyout"])
            .arg(site.path("ca.key"))
            .arg("-out")
            .arg(site.path("ca.crt"))
            .output();
        let Ok(made) = made else {
            eprintln!("SKIPPED: authorities_with_rsa_and_ed25519_keys: no openssl on this machine");
            return;
        };
        assert!(made.status.success(), "{algorithm}: {made:?}");
        let signer = Signer::KubeletClient;
        let object = csr("a", signer, "u", "g", kubelet_client("w"));
        let now = OffsetDateTime::now_utc();
        let signed = sign(&object, signer, &ca(&site, signer), now).unwrap();
        let Change::Sign { object, .. } = signed else {
            panic!("{algorithm}: not signed")
        };
        let pem = String::from_utf8(object.status.certificate.0).unwrap();
        site.write("leaf.crt", &pem);
        let verified = Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile"])
            .arg(site.path("ca.crt"))
            .arg(site.path("leaf.crt"))
            .output()
            .unwrap();
        assert!(verified.status.success(), "{algorithm}: {verified:?}");
        let authority = std::fs::read_to_string(site.path("ca.crt")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(der(&authority).into()).unwrap();
        let provider = provider::shared();
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let leaf = der(&pem).into();
        let judged = builder.build().unwrap();
        let judged = judged.verify_client_cert(&leaf, &[], UnixTime::now());
        assert!(judged.is_ok(), "{algorithm}: {judged:?}");
    }
}

#[test]
fn what_is_signed_after_the_clock_jumped_follows_the_clock_of_its_signature() {
    let site = Site::new();
    let signer = Signer::KubeletClient;
    let mut object = csr("a", signer, "u", "g", kubelet_client("w"));
    object.metadata.creation_timestamp = Some(Timestamp::new(NOW));
    let approved = Condition::new("Approved", "x", String::new(), Timestamp::new(NOW));
    object.status.conditions.push(approved);
    for jump in [-Duration::days(365), Duration::days(365)] {
        let now = NOW + jump;
        let signed = sign(&object, signer, &ca(&site, signer), now).unwrap();
        let Change::Sign { object, .. } = signed else {
            panic!("not signed")
        };
        let pem = String::from_utf8(object.status.certificate.0).unwrap();
        let facts = CertificateFacts::read(&der(&pem)).unwrap();
        assert_eq!(facts.not_before, now - Duration::minutes(5));
        assert_eq!(
            facts.not_after,
            now + Duration::days(365) - Duration::minutes(5)
        );
    }
}

#[test]
fn what_the_rules_forbid_fails_with_the_rule() {
    let site = Site::new();
    let signer = Signer::KubeletClient;
    let ask = kubelet_serving("w", vec![dns("w")]);
    let object = csr("a", signer, "u", "g", ask);
    let Change::Put(object) = sign(&object, signer, &ca(&site, signer), NOW).unwrap() else {
        panic!("not failed")
    };
    let condition = object.condition(FAILED).unwrap();
    assert_eq!(condition.reason, REASON);
    assert!(condition.message.contains("must have no alternative names"));
    assert!(object.status.certificate.is_empty());
}

#[test]
fn expired_authority_signs_nothing_and_says_so() {
    let site = Site::new();
    let signer = Signer::KubeletClient;
    let object = csr("a", signer, "u", "g", kubelet_client("w"));
    let late = NOW + Duration::days(365 * 80);
    let error = sign(&object, signer, &ca(&site, signer), late)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("CN=kubernetes") && error.contains("expired 2100-01-01"),
        "{error}"
    );
}

#[test]
fn serial_numbers_differ() {
    let site = Site::new();
    let signer = Signer::KubeletClient;
    let ca = ca(&site, signer);
    let object = csr("a", signer, "u", "g", kubelet_client("w"));
    let serials: std::collections::HashSet<Vec<u8>> =
        (0..100).map(|_| signed(&object, signer, &ca).1).collect();
    assert_eq!(serials.len(), 100);
}
