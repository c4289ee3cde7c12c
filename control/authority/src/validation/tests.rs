//! What may be stored, and what each write may change.

use super::super::object::{Blob, Timestamp};
use super::super::testing::csr;
use super::*;
use eyesplice_identity::pki::testing::{NOW, kubelet};
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::kubelet_client;

fn good() -> CertificateSigningRequest {
    csr("a", Signer::KubeletClient, "u", "g", kubelet_client("w"))
}

fn condition(kind: &str) -> Condition {
    Condition::new(kind, "Test", String::new(), Timestamp::new(NOW))
}

fn texts<T>(result: Result<T, Vec<FieldError>>) -> Vec<String> {
    match result {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn create_good_object_passes() {
    let mut object = good();
    assert_eq!(texts(create(&object)), Vec::<String>::new());
    object.spec.expiration_seconds = Some(SHORTEST_EXPIRATION);
    assert_eq!(texts(create(&object)), Vec::<String>::new());
}

type Spoil = fn(&mut CertificateSigningRequest);

#[test]
fn create_names_each_wrong_field() {
    let change = |change: Spoil| {
        let mut object = good();
        change(&mut object);
        texts(create(&object))
    };
    let table: [(Spoil, &str); 20] = [
        (|o| o.metadata.name.clear(), "metadata.name: Required value"),
        (
            |o| o.metadata.name = "A".to_owned(),
            "metadata.name: Invalid value: \"A\"",
        ),
        (
            |o| o.metadata.name = "a/../b".to_owned(),
            "metadata.name: Invalid value",
        ),
        (
            |o| o.metadata.namespace = "n".to_owned(),
            "metadata.namespace: Forbidden",
        ),
        (
            |o| o.spec.request = Blob::default(),
            "spec.request: Invalid value: \"<certificate request>\": PEM",
        ),
        (|o| o.spec.usages.clear(), "spec.usages: Required value"),
        (
            |o| o.spec.usages[0] = "flying".to_owned(),
            "spec.usages[0]: Unsupported value: \"flying\"",
        ),
        (
            |o| o.spec.usages[0] = "Client Auth".to_owned(),
            "spec.usages[0]: Unsupported value",
        ),
        (
            |o| o.spec.usages[1] = o.spec.usages[0].clone(),
            "spec.usages[1]: Duplicate value",
        ),
        (
            |o| o.spec.usages = vec!["any".to_owned(); 33],
            "spec.usages: Forbidden: has more than 32",
        ),
        (
            |o| o.spec.signer_name.clear(),
            "spec.signerName: Required value",
        ),
        (
            |o| o.spec.signer_name = "x".to_owned(),
            "must be a fully qualified domain and path",
        ),
        (
            |o| o.spec.signer_name = "x/y".to_owned(),
            "must be a fully qualified domain",
        ),
        (
            |o| o.spec.signer_name = "x.y/".to_owned(),
            "must be a fully qualified domain",
        ),
        (
            |o| o.spec.signer_name = "x.y/a/b".to_owned(),
            "must be a fully qualified domain",
        ),
        (
            |o| o.spec.signer_name = LEGACY_SIGNER.to_owned(),
            "the legacy signerName is not allowed",
        ),
        (
            |o| o.spec.signer_name = format!("x.y/{}", "a".repeat(600)),
            "spec.signerName: Too long",
        ),
        (
            |o| o.spec.expiration_seconds = Some(599),
            "spec.expirationSeconds: Invalid value: 599",
        ),
        (
            |o| {
                o.metadata.labels.insert("a b".to_owned(), String::new());
            },
            "metadata.labels: Invalid",
        ),
        (
            |o| {
                o.metadata
                    .annotations
                    .insert("a".to_owned(), "x".repeat(300_000));
            },
            "Too long",
        ),
    ];
    for (wrong, expected) in table {
        let errors = change(wrong);
        assert!(
            matches!(&errors[..], [error] if error.contains(expected)),
            "{expected}: {errors:?}"
        );
    }
}

#[test]
fn update_keeps_each_part_to_its_writer() {
    let mut approved = good();
    approved.status.conditions.push(condition(APPROVED));
    let mut denied = good();
    denied.status.conditions.push(condition(DENIED));
    let mut failed = approved.clone();
    failed.status.conditions.push(condition(FAILED));
    let mut issued = approved.clone();
    issued.status.certificate = Blob(kubelet().self_signed().certificate.pem().into_bytes());
    let mut reissued = approved.clone();
    reissued.status.certificate = Blob(kubelet().self_signed().certificate.pem().into_bytes());
    let mut reworded = approved.clone();
    reworded.status.conditions[0].message = "x".to_owned();
    let (add, modify) = ("may not add a condition", "may not modify a condition");
    for (old, new, write, expected) in [
        (&good(), &approved, Write::Approval, None),
        (&good(), &approved, Write::Status, Some(add)),
        (&good(), &approved, Write::Metadata, Some(add)),
        (&approved, &reworded, Write::Approval, None),
        (&approved, &reworded, Write::Status, Some(modify)),
        (
            &approved,
            &good(),
            Write::Approval,
            Some("may not remove a condition"),
        ),
        (
            &approved,
            &denied,
            Write::Approval,
            Some("may not remove a condition"),
        ),
        (&approved, &failed, Write::Status, None),
        (&approved, &failed, Write::Approval, Some(add)),
        (&approved, &issued, Write::Status, None),
        (
            &approved,
            &issued,
            Write::Approval,
            Some("may not set certificate content"),
        ),
        (
            &approved,
            &issued,
            Write::Metadata,
            Some("may not set certificate content"),
        ),
        (
            &issued,
            &reissued,
            Write::Status,
            Some("may not modify existing certificate"),
        ),
        (
            &issued,
            &approved,
            Write::Status,
            Some("may not modify existing certificate"),
        ),
    ] {
        let errors = texts(update(new, old, write)).join("; ");
        match expected {
            None => assert_eq!(errors, "", "{write:?}"),
            Some(expected) => assert!(errors.contains(expected), "{write:?}: {errors}"),
        }
    }
}

#[test]
fn update_refuses_conditions_that_contradict_or_make_no_sense() {
    let with = |conditions: Vec<Condition>| {
        let mut new = good();
        new.status.conditions = conditions;
        texts(update(&new, &good(), Write::Approval)).join("; ")
    };
    let of = |change: fn(&mut Condition)| {
        let mut condition = condition(APPROVED);
        change(&mut condition);
        condition
    };
    for (conditions, expected) in [
        (
            vec![condition(APPROVED), condition(DENIED)],
            "mutually exclusive",
        ),
        (
            vec![condition(APPROVED), condition(APPROVED)],
            "Duplicate value: \"Approved\"",
        ),
        (
            vec![of(|c| c.status = "False".to_owned())],
            "Unsupported value: \"False\"",
        ),
        (vec![of(|c| c.status.clear())], "status: Required value"),
        (vec![of(|c| c.kind.clear())], "type: Required value"),
        (vec![of(|c| c.message = "x".repeat(40_000))], "Too long"),
        (vec![condition("x"); 17], "has more than 16"),
    ] {
        let errors = with(conditions);
        assert!(errors.contains(expected), "{expected}: {errors}");
    }
}

#[test]
fn certificate_must_be_pem_of_certificates_alone() {
    let good = kubelet().self_signed().certificate.pem();
    let check = |text: &str| certificate_chain(text.as_bytes());
    assert_eq!(check(&good), Ok(()));
    assert_eq!(check(&format!("{good}{good}")), Ok(()));
    let key = kubelet().self_signed().key.serialize_pem();
    for (text, expected) in [
        (String::new(), "must not be removed"),
        ("hello".to_owned(), "at least one CERTIFICATE"),
        (key.clone(), "at least one CERTIFICATE"),
        (format!("{good}{key}"), "only CERTIFICATE PEM blocks"),
        (
            good.replace("-----\nMI", "-----\nA: b\n\nMI"),
            "damaged or has headers",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            "certificate 1 is no X.509",
        ),
        (good.repeat(200), "is larger than"),
    ] {
        let error = check(&text).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
