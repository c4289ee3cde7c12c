//! Requests as kubelets send them, and hostile ones.

use super::super::testing::{Ask, dns, ip, kubelet_client, kubelet_serving, pem};
use super::*;
use crate::testing::openssl;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use rcgen::{Attribute as Asn1Attribute, CustomExtension, DnType, SanType};

/// pkcs-9-at-extensionRequest.
const EXTENSION_REQUEST: &[u64] = &[1, 2, 840, 113_549, 1, 9, 14];
const ALT_NAMES: &[u64] = &[2, 5, 29, 17];

fn read(ask: Ask) -> Result<CertificateRequest, RequestError> {
    CertificateRequest::read(&ask.pem())
}

fn with_names(names: Vec<SanType>) -> Ask {
    kubelet_serving("w", names)
}

/// An alternative-names extension with whatever bytes.
fn raw_names(content: Vec<u8>) -> Ask {
    Ask {
        extensions: vec![CustomExtension::from_oid_content(ALT_NAMES, content)],
        ..kubelet_client("w")
    }
}

/// GeneralNames with one entry of context tag `tag`.
fn one_name(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 120, "one byte of length");
    let mut der = vec![0x30, length + 2, 0x80 | tag, length];
    der.extend(bytes);
    der
}

#[test]
fn read_keeps_what_a_kubelet_asks_for() {
    let names = vec![dns("w.example"), ip("10.0.0.7"), ip("fd00::7")];
    let request = read(with_names(names)).unwrap();
    assert_eq!(request.common_names(), ["system:node:w"]);
    assert_eq!(request.organizations(), ["system:nodes"]);
    assert_eq!(request.dns, ["w.example"]);
    assert_eq!(request.ips.len(), 2);
    assert!(request.emails.is_empty() && request.uris.is_empty() && request.other_names == 0);
}

#[test]
fn read_takes_a_name_once_however_often_it_is_asked_for() {
    let names = vec![
        dns("a.example"),
        ip("10.0.0.7"),
        dns("a.example"),
        ip("10.0.0.7"),
    ];
    let request = read(with_names(names)).unwrap();
    assert_eq!((request.dns.len(), request.ips.len()), (1, 1));
}

#[test]
fn read_passes_over_unknown_attributes_and_extensions() {
    let ask = Ask {
        attributes: vec![Asn1Attribute {
            oid: &[1, 3, 6, 1, 4, 1, 99999, 1],
            values: vec![0x31, 0x03, 0x02, 0x01, 0x07],
        }],
        extensions: vec![
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 2], vec![5, 0]),
            // CA:TRUE, which nobody gets.
            CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]),
        ],
        ..kubelet_client("w")
    };
    let request = read(ask).unwrap();
    assert!(request.dns.is_empty());
}

#[test]
fn read_refuses_a_signature_that_is_not_its_keys() {
    let good = kubelet_client("w").der();
    // The subject's last letter, which the signature covers.
    let at = good
        .windows(13)
        .position(|w| w == b"system:node:w")
        .unwrap()
        + 12;
    let mut other = good.clone();
    other[at] = b'x';
    let refused = CertificateRequest::read(&pem(&other));
    assert_eq!(refused, Err(RequestError::Signature));
    let mut broken = good;
    let last = broken.len() - 1;
    broken[last] ^= 1;
    let refused = CertificateRequest::read(&pem(&broken));
    assert_eq!(refused, Err(RequestError::Signature));
}

#[test]
fn read_refuses_what_is_no_single_request() {
    let good = kubelet_client("w").pem();
    let text = String::from_utf8(good.clone()).unwrap();
    let certificate = crate::pki::testing::kubelet()
        .self_signed()
        .certificate
        .pem();
    for bad in [
        Vec::new(),
        b"hello".to_vec(),
        text.replace("CERTIFICATE REQUEST", "CERTIFICATE")
            .into_bytes(),
        text.replace("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
            .into_bytes(),
        certificate.clone().into_bytes(),
        [certificate.into_bytes(), good.clone()].concat(),
        [good.clone(), good.clone()].concat(),
        text.replace("-----END", "----END").into_bytes(),
    ] {
        let shown = String::from_utf8_lossy(&bad).into_owned();
        assert_eq!(
            CertificateRequest::read(&bad),
            Err(RequestError::Pem),
            "{shown}"
        );
    }
    let der = kubelet_client("w").der();
    let trailing = CertificateRequest::read(&pem(&[der, vec![0, 0]].concat()));
    assert_eq!(trailing, Err(RequestError::Trailing(2)));
    let huge = vec![b'A'; limits::REQUEST_PEM + 1];
    let limit = limits::REQUEST_PEM;
    assert_eq!(
        CertificateRequest::read(&huge),
        Err(RequestError::TooLarge(limit))
    );
}

#[test]
fn read_refuses_names_that_programs_read_differently() {
    for (tag, bytes) in [
        (2, &b"w example"[..]),
        (2, b""),
        (2, b"w.example\n"),
        (6, b"spiffe://x/\x07"),
    ] {
        let refused = read(raw_names(one_name(tag, bytes)));
        assert!(
            matches!(refused, Err(RequestError::Character(_))),
            "{bytes:?}: {refused:?}"
        );
    }
    for bytes in [&[10, 0, 0][..], &[0; 5], &[0; 8], &[0; 17], &[]] {
        let refused = read(raw_names(one_name(7, bytes)));
        assert_eq!(refused, Err(RequestError::Address(bytes.len())));
    }
    assert_eq!(
        read(raw_names(one_name(2, b"\xff\xfe"))),
        Err(RequestError::Names)
    );
    assert_eq!(
        read(raw_names(vec![0x04, 0x01, 0x00])),
        Err(RequestError::Names)
    );
}

#[test]
fn read_refuses_an_embedded_nul_wherever_it_is() {
    for (tag, bytes) in [
        (2, &b"w.example\0.evil.example"[..]),
        (2, b"\0"),
        (2, b"w.example\0"),
        (1, b"a\0@example"),
        (6, b"https://w.example\0/"),
    ] {
        let refused = read(raw_names(one_name(tag, bytes)));
        let name = String::from_utf8(bytes.to_vec()).unwrap();
        assert_eq!(refused, Err(RequestError::Character(name)));
    }
    for kind in [DnType::CommonName, DnType::OrganizationName] {
        let refused = read(Ask {
            subject: vec![(kind, "system:node:w\0x".to_owned())],
            ..kubelet_client("w")
        });
        assert!(
            matches!(refused, Err(RequestError::Subject(..))),
            "{refused:?}"
        );
    }
}

#[test]
fn read_refuses_a_huge_request_before_it_parses_it() {
    let limit = limits::REQUEST_PEM;
    let good = kubelet_client("w").pem();
    let padded = |len: usize| [good.clone(), vec![b'\n'; len - good.len()]].concat();
    assert!(CertificateRequest::read(&padded(limit)).is_ok());
    let refused = CertificateRequest::read(&padded(limit + 1));
    assert_eq!(refused, Err(RequestError::TooLarge(limit)));
}

#[test]
fn read_counts_names_of_other_kinds() {
    // registeredID 1.2.3
    let request = read(raw_names(one_name(8, &[0x2a, 0x03]))).unwrap();
    assert_eq!(request.other_names, 1);
}

#[test]
fn read_refuses_two_lists_of_names() {
    let names = one_name(2, b"a.example");
    let extension = || CustomExtension::from_oid_content(ALT_NAMES, names.clone());
    let twice = Ask {
        extensions: vec![extension(), extension()],
        ..kubelet_client("w")
    };
    let refused = read(twice).unwrap_err();
    // The parser refuses it before we do, or we do.
    let expected = [RequestError::Der, RequestError::Twice("alternative names")];
    assert!(expected.contains(&refused), "{refused}");
    let requests = Ask {
        attributes: vec![Asn1Attribute {
            oid: EXTENSION_REQUEST,
            values: vec![0x31, 0x02, 0x30, 0x00],
        }],
        ..with_names(vec![dns("a.example")])
    };
    let refused = read(requests).unwrap_err();
    assert_eq!(refused, RequestError::Twice("extensions"));
}

#[test]
fn read_bounds_names_and_subject() {
    let names = |count: usize| (0..count).map(|i| dns(&format!("n{i}.example"))).collect();
    assert!(read(with_names(names(limits::NAMES))).is_ok());
    let limit = limits::NAMES;
    assert_eq!(
        read(with_names(names(limit + 1))),
        Err(RequestError::TooManyNames(limit))
    );

    let subject = |value: String| Ask {
        subject: vec![(DnType::CommonName, value)],
        ..kubelet_client("w")
    };
    assert!(read(subject("x".repeat(limits::SUBJECT_VALUE))).is_ok());
    for bad in [
        "x".repeat(limits::SUBJECT_VALUE + 1),
        "a\0b".to_owned(),
        "a\nb".to_owned(),
    ] {
        let refused = read(subject(bad.clone()));
        assert!(matches!(refused, Err(RequestError::Subject(..))), "{bad:?}");
    }
    let many = (0..=limits::SUBJECT_ATTRIBUTES as u64)
        .map(|i| (DnType::CustomDnType(vec![2, 5, 4, 100 + i]), "x".to_owned()))
        .collect();
    let refused = read(Ask {
        subject: many,
        ..kubelet_client("w")
    });
    assert!(
        matches!(refused, Err(RequestError::SubjectTooLong(_))),
        "{refused:?}"
    );
}

#[test]
fn read_refuses_a_subject_in_an_encoding_that_hides_it() {
    let ask = Ask {
        subject: vec![
            (DnType::OrganizationName, "system:nodes".to_owned()),
            (DnType::CommonName, "system:node:w".to_owned()),
        ],
        ..kubelet_client("w")
    };
    let mut der = ask.der();
    // UTF8String (12) becomes BMPString (30): two bytes a letter, which as_str() does not read.
    let at = der.windows(12).position(|w| w == b"system:nodes").unwrap() - 2;
    assert_eq!(der[at], 12);
    der[at] = 30;
    // The signature breaks first; the parser of the subject alone is asked.
    let (_, request) = X509CertificationRequest::from_der(&der).unwrap();
    let refused = subject(&request.certification_request_info.subject);
    assert!(
        matches!(refused, Err(RequestError::Subject(..))),
        "{refused:?}"
    );
}

#[test]
fn read_of_deeply_nested_der_ends() {
    let mut der = vec![0x05, 0x00];
    while der.len() < 30_000 {
        let mut outer = vec![0x30, 0x82, (der.len() >> 8) as u8, der.len() as u8];
        outer.extend(&der);
        der = outer;
    }
    assert_eq!(CertificateRequest::read(&pem(&der)), Err(RequestError::Der));
    let refused = read(raw_names(der[..20_000].to_vec()));
    assert!(refused.is_err());
}

#[test]
fn read_of_every_prefix_is_refused() {
    let der = with_names(vec![dns("a.example"), ip("10.0.0.7")]).der();
    for end in 0..der.len() {
        assert!(
            CertificateRequest::read(&pem(&der[..end])).is_err(),
            "{end} bytes"
        );
    }
}

proptest! {
    /// Some bits stand around what the signature covers and are not looked at (the class of the outer
    /// tags, the form of the signature's own algorithm); what is read is the same then.
    #[test]
    fn read_of_changed_bytes_never_panics_and_never_gives_anything_else(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..4)
    ) {
        let good = with_names(vec![dns("a.example"), ip("10.0.0.7")]).der();
        let mut der = good.clone();
        for (at, change) in changes {
            let at = at.index(der.len());
            der[at] ^= change;
        }
        if der != good {
            let unchanged = CertificateRequest::read(&pem(&good)).expect("a good request");
            if let Ok(read) = CertificateRequest::read(&pem(&der)) {
                prop_assert_eq!(format!("{read:?}"), format!("{unchanged:?}"));
            }
        }
    }
}

#[test]
fn read_refuses_weak_keys_and_signatures_and_says_what_to_do() {
    if !openssl::present("weak certificate requests") {
        return;
    }
    let subject = "/O=system:nodes/CN=system:node:w";
    let strong = openssl::key("RSA", &["rsa_keygen_bits:2048"]);
    let weak = openssl::key("RSA", &["rsa_keygen_bits:1024"]);
    let small = openssl::key("EC", &["ec_paramgen_curve:P-224"]);
    let p256 = openssl::key("EC", &["ec_paramgen_curve:P-256"]);
    for (key, options, refused) in [
        (&strong, "-sha256", ""),
        (&p256, "-sha256", ""),
        (
            &weak,
            "-sha1",
            "has an RSA key of 1024 bits; make one of 2048",
        ),
        (&weak, "-sha256", "has an RSA key of 1024 bits"),
        (
            &strong,
            "-sha1",
            "is signed by SHA-1 with RSA; have it signed with SHA-256",
        ),
        (&small, "-sha256", "use P-256, P-384 or P-521"),
        (&p256, "-sha1", "is signed by ECDSA with SHA-1"),
    ] {
        let pem = openssl::request(key, subject, &[options]);
        match CertificateRequest::read(&pem) {
            Ok(_) => assert_eq!(refused, "", "{options}"),
            Err(error) => {
                let words = error.to_string();
                let fits = !refused.is_empty() && words.contains(refused);
                assert!(fits, "{refused}: {words}");
            }
        }
    }
}
