//! Whom certificates name, hostile ones included.

use super::*;
use crate::pki::testing::{Recipe, client, kubelet};
use proptest::prelude::{any, proptest};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, PKCS_ECDSA_P256_SHA256,
};

fn identity(recipe: Recipe) -> String {
    let made = recipe.self_signed();
    identify(&[made.der()]).to_string()
}

/// Signs a subject that recipes do not make.
fn subject_of(entries: Vec<(DnType, DnValue)>) -> Subject {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in entries {
        params.distinguished_name.push(kind, value);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    CertificateFacts::read(params.self_signed(&key).unwrap().der())
        .unwrap()
        .subject
}

#[test]
fn identity_names_user_groups_and_uid() {
    assert_eq!(
        identity(kubelet()),
        "CN=system:node:worker-3,O=system:nodes"
    );
    assert_eq!(
        identity(client("kube-apiserver-egress")),
        "CN=kube-apiserver-egress"
    );
    let uid = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]);
    let subject = subject_of(vec![
        (DnType::CommonName, "jane".into()),
        (DnType::OrganizationName, "dev".into()),
        (uid, "7f3".into()),
    ]);
    assert_eq!(subject.to_string(), "CN=jane,O=dev,UID=7f3");
    assert_eq!(subject.uid.as_deref(), Some("7f3"));
    assert_eq!(subject_of(Vec::new()).to_string(), "(empty subject)");
}

#[test]
fn identity_of_nothing_readable_says_so() {
    assert_eq!(&*identify(&[]), "(unreadable subject)");
    assert_eq!(
        &*identify(&[CertificateDer::from(vec![0x30, 0])]),
        "(unreadable subject)"
    );
}

#[test]
fn chain_is_valid_until_its_first_certificate_ends() {
    let until = |year| {
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        params.self_signed(&key).unwrap().der().clone()
    };
    let first = SystemTime::from(rcgen::date_time_ymd(2030, 1, 1));
    assert_eq!(valid_until(&[until(2040), until(2030)]), Some(first));
    assert_eq!(valid_until(&[until(2030), until(2040)]), Some(first));
    assert_eq!(valid_until(&[]), None);
    let unreadable = CertificateDer::from(vec![0x30, 0]);
    assert_eq!(valid_until(&[until(2030), unreadable]), None);
}

#[test]
fn identity_cannot_be_forged_by_separators_or_control_characters() {
    assert_eq!(
        identity(client("x,O=system:masters")),
        "CN=x\\,O\\=system:masters"
    );
    assert_eq!(
        identity(client("a\r\nb\u{202e}\0")),
        "CN=a\\u{d}\\u{a}b\\u{202e}\\u{0}"
    );
    let long = identity(client(&"a".repeat(5000)));
    assert_eq!(long.len(), MAX_IDENTITY);
    assert!(long.ends_with("..."));
}

#[test]
fn subject_is_node_only_with_name_and_group() {
    let subject = |common_name: &str, organizations: &[&str]| Subject {
        common_name: Some(common_name.to_owned()),
        organizations: organizations
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
        uid: None,
    };
    let node = "system:node:worker-3";
    assert!(subject(node, &["system:nodes"]).is_node("worker-3"));
    assert!(subject(node, &["x", "system:nodes"]).is_node("worker-3"));
    for (common_name, organizations, name) in [
        (node, &["system:nodes"][..], "worker"),
        (node, &["system:nodes"], "worker-33"),
        (node, &["system:nodes"], ""),
        (node, &["system:node"], "worker-3"),
        (node, &["System:Nodes"], "worker-3"),
        (node, &[], "worker-3"),
        ("worker-3", &["system:nodes"], "worker-3"),
        ("SYSTEM:NODE:worker-3", &["system:nodes"], "worker-3"),
        (
            "system:node:system:node:worker-3",
            &["system:nodes"],
            "worker-3",
        ),
    ] {
        let subject = subject(common_name, organizations);
        assert!(!subject.is_node(name), "{subject} {name}");
    }
    assert!(!Subject::default().is_node(""));
}

proptest! {
    #[test]
    fn identity_of_any_name_is_visible_ascii_and_bounded(name in any::<String>()) {
        let text = identity(client(&name));
        assert!(text.len() <= MAX_IDENTITY, "{text}");
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }

    #[test]
    fn facts_of_any_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        drop(CertificateFacts::read(&bytes));
    }
}

#[test]
fn facts_describe_a_certificate_in_one_line() {
    let made = kubelet().self_signed();
    let facts = CertificateFacts::read(made.certificate.der()).unwrap();
    let text = facts.describe();
    assert!(
        text.starts_with("CN=system:node:worker-3,O=system:nodes, serial "),
        "{text}"
    );
    assert!(
        text.ends_with("valid 2000-01-01T00:00:00Z to 2100-01-01T00:00:00Z"),
        "{text}"
    );
    assert_eq!(facts.names, ["10.0.0.7", "worker-3.example"]);
    assert!(facts.self_issued && !facts.authority);
}
