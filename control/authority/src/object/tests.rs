//! The object as clients write it.

use super::*;
use serde_json::json;

fn minimal() -> CertificateSigningRequest {
    CertificateSigningRequest {
        kind: KIND.to_owned(),
        api_version: API_VERSION.to_owned(),
        metadata: ObjectMeta {
            generate_name: "csr-".to_owned(),
            ..ObjectMeta::default()
        },
        spec: Spec {
            request: Blob(b"-----BEGIN".to_vec()),
            signer_name: "kubernetes.io/kubelet-serving".to_owned(),
            expiration_seconds: Some(600),
            usages: vec!["server auth".to_owned()],
            ..Spec::default()
        },
        status: Status::default(),
    }
}

#[test]
fn json_of_go_with_nulls_is_read() {
    let text = json!({
        "kind": KIND, "apiVersion": API_VERSION,
        "metadata": {"name": "a", "creationTimestamp": null, "labels": null},
        "spec": {"request": "LS0t\nLS0=", "usages": null, "signerName": "example.com/x"},
        "status": {},
    });
    let object: CertificateSigningRequest = serde_json::from_value(text).unwrap();
    assert_eq!(object.metadata.name, "a");
    assert_eq!(object.spec.request.0, b"-----");
    assert!(object.spec.usages.is_empty() && object.is_pending());
}

#[test]
fn json_roundtrip_keeps_everything() {
    let mut object = minimal();
    let now = Timestamp::new(eyesplice_identity::pki::testing::NOW);
    object.metadata.creation_timestamp = Some(now);
    object.status.conditions = vec![Condition::new(APPROVED, "Because", "of".to_owned(), now)];
    object.spec.extra = BTreeMap::from([("k".to_owned(), vec!["v".to_owned()])]);
    let text = serde_json::to_string(&object).unwrap();
    assert!(
        text.contains(r#""creationTimestamp":"2026-11-22T08:00:00Z""#),
        "{text}"
    );
    let read: CertificateSigningRequest = serde_json::from_str(&text).unwrap();
    assert_eq!(read, object);
    assert!(read.awaits_signature());
}

#[test]
fn protobuf_of_a_kubelet_is_read() {
    let object = minimal();
    assert_eq!(decode(&encode(&object)).unwrap(), object);
}

#[test]
fn protobuf_prefixes_never_panic_and_are_never_taken_for_the_whole() {
    let object = minimal();
    let body = encode(&object);
    for end in 0..body.len() {
        if let Ok(read) = decode(&body[..end]) {
            assert_ne!(read, object, "prefix of {end} bytes");
        }
    }
}

#[test]
fn protobuf_bodies_that_are_none_are_refused() {
    for (body, expected) in [
        (&b""[..], "does not begin with"),
        (b"{\"kind\":1}", "does not begin with"),
        (b"k8s\0\xff\xff\xff", "no protobuf message"),
        (b"k8s\0\x22\x04json", "content type \"json\""),
        (b"k8s\0\x1a\x04gzip", "encoding \"gzip\""),
    ] {
        let error = decode(body).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
