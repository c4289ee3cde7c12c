//! Reads the protobuf bodies that kubelets send (`application/vnd.kubernetes.protobuf`).
//!
//! Field numbers: apimachinery `pkg/apis/meta/v1/generated.proto`, api
//! `certificates/v1/generated.proto`. Answers are JSON always: every client that sends protobuf
//! accepts it.

use super::scalar::nullable;
use super::{Blob, CertificateSigningRequest, Condition, ObjectMeta, Spec, Status, Timestamp};
use eyesplice_identity::protobuf::{ProtobufError, open, open_spec};
use prost::Message;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use time::OffsetDateTime;

#[derive(Clone, PartialEq, Message)]
struct PbCsr {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PbMeta>,
    #[prost(message, optional, tag = "2")]
    spec: Option<PbSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<PbStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PbMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(message, optional, tag = "8")]
    creation_timestamp: Option<PbTime>,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
    #[prost(bytes = "vec", repeated, tag = "13")]
    owner_references: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "14")]
    finalizers: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct PbTime {
    #[prost(int64, tag = "1")]
    seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PbSpec {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    #[prost(string, tag = "2")]
    username: String,
    #[prost(string, tag = "3")]
    uid: String,
    #[prost(string, repeated, tag = "4")]
    groups: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    usages: Vec<String>,
    #[prost(map = "string, message", tag = "6")]
    extra: HashMap<String, PbExtra>,
    #[prost(string, tag = "7")]
    signer_name: String,
    #[prost(int32, optional, tag = "8")]
    expiration_seconds: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct PbExtra {
    #[prost(string, repeated, tag = "1")]
    items: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PbStatus {
    #[prost(message, repeated, tag = "1")]
    conditions: Vec<PbCondition>,
    #[prost(bytes = "vec", tag = "2")]
    certificate: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct PbCondition {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    reason: String,
    #[prost(string, tag = "3")]
    message: String,
    #[prost(message, optional, tag = "4")]
    last_update_time: Option<PbTime>,
    #[prost(message, optional, tag = "5")]
    last_transition_time: Option<PbTime>,
    #[prost(string, tag = "6")]
    status: String,
}

/// A question: an object of which only kind and spec matter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Review<S> {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) spec: S,
    /// Known, and of no meaning in a question.
    metadata: IgnoredAny,
    status: IgnoredAny,
}

/// What a DELETE may say.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeleteOptions {
    // Kind and version are no fields of the message: they are its envelope's, whatever comes here.
    #[prost(string, tag = "1001")]
    pub(crate) kind: String,
    #[prost(string, tag = "1002")]
    pub(crate) api_version: String,
    #[prost(int64, optional, tag = "1")]
    pub(crate) grace_period_seconds: Option<i64>,
    #[prost(message, optional, tag = "2")]
    pub(crate) preconditions: Option<Preconditions>,
    #[prost(bool, optional, tag = "3")]
    pub(crate) orphan_dependents: Option<bool>,
    #[prost(string, optional, tag = "4")]
    pub(crate) propagation_policy: Option<String>,
    #[prost(string, repeated, tag = "5")]
    #[serde(with = "nullable")]
    pub(crate) dry_run: Vec<String>,
    #[prost(bool, optional, tag = "6")]
    #[serde(rename = "ignoreStoreReadErrorWithClusterBreakingPotential")]
    pub(crate) ignore_store_read_error: Option<bool>,
}

/// What must hold for an object to be deleted.
#[derive(Clone, PartialEq, Message, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    #[prost(string, optional, tag = "1")]
    pub(crate) uid: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) resource_version: Option<String>,
}

/// Reads a CSR.
pub(crate) fn decode(body: &[u8]) -> Result<CertificateSigningRequest, ProtobufError> {
    let (type_meta, raw) = open(body)?;
    let object = PbCsr::decode(raw.as_slice()).map_err(ProtobufError::Decode)?;
    Ok(CertificateSigningRequest {
        kind: type_meta.kind,
        api_version: type_meta.api_version,
        metadata: object.metadata.map(meta).unwrap_or_default(),
        spec: object.spec.map(spec).unwrap_or_default(),
        status: object.status.map(status).unwrap_or_default(),
    })
}

/// Reads the options of a DELETE.
pub(crate) fn decode_delete_options(body: &[u8]) -> Result<DeleteOptions, ProtobufError> {
    let (of, raw) = open(body)?;
    let options = DeleteOptions::decode(raw.as_slice()).map_err(ProtobufError::Decode)?;
    Ok(DeleteOptions {
        kind: of.kind,
        api_version: of.api_version,
        ..options
    })
}

/// Reads a question.
pub(crate) fn decode_review<S: Message + Default>(body: &[u8]) -> Result<Review<S>, ProtobufError> {
    let (of, spec) = open_spec(body)?;
    Ok(Review {
        kind: of.kind,
        api_version: of.api_version,
        spec,
        metadata: IgnoredAny,
        status: IgnoredAny,
    })
}

fn meta(meta: PbMeta) -> ObjectMeta {
    ObjectMeta {
        name: meta.name,
        generate_name: meta.generate_name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        creation_timestamp: meta.creation_timestamp.and_then(timestamp),
        labels: meta.labels.into_iter().collect(),
        annotations: meta.annotations.into_iter().collect(),
        // What they say does not matter: they are refused.
        owner_references: listed(meta.owner_references.len()),
        finalizers: listed(meta.finalizers.len()),
        ..ObjectMeta::default()
    }
}

fn listed(entries: usize) -> Option<Value> {
    (entries > 0).then(|| Value::Array(vec![Value::Null; entries]))
}

fn spec(spec: PbSpec) -> Spec {
    let extra = spec
        .extra
        .into_iter()
        .map(|(key, values)| (key, values.items));
    Spec {
        request: Blob(spec.request),
        signer_name: spec.signer_name,
        expiration_seconds: spec.expiration_seconds,
        usages: spec.usages,
        username: spec.username,
        uid: spec.uid,
        groups: spec.groups,
        extra: extra.collect::<BTreeMap<_, _>>(),
    }
}

fn status(status: PbStatus) -> Status {
    let condition = |condition: PbCondition| Condition {
        kind: condition.kind,
        status: condition.status,
        reason: condition.reason,
        message: condition.message,
        last_update_time: condition.last_update_time.and_then(timestamp),
        last_transition_time: condition.last_transition_time.and_then(timestamp),
    };
    Status {
        conditions: status.conditions.into_iter().map(condition).collect(),
        certificate: Blob(status.certificate),
    }
}

/// Go writes its zero time as year 1; that, and what no calendar has, counts as absent.
fn timestamp(time: PbTime) -> Option<Timestamp> {
    let at = OffsetDateTime::from_unix_timestamp(time.seconds).ok()?;
    (time.seconds > 0).then(|| Timestamp::new(at))
}

/// Writes what a kubelet would send, for tests.
#[cfg(test)]
pub(crate) fn encode(object: &CertificateSigningRequest) -> Vec<u8> {
    let spec = &object.spec;
    let message = PbCsr {
        metadata: Some(PbMeta {
            name: object.metadata.name.clone(),
            generate_name: object.metadata.generate_name.clone(),
            ..PbMeta::default()
        }),
        spec: Some(PbSpec {
            request: spec.request.0.clone(),
            usages: spec.usages.clone(),
            signer_name: spec.signer_name.clone(),
            expiration_seconds: spec.expiration_seconds,
            ..PbSpec::default()
        }),
        status: Some(PbStatus::default()),
    };
    let of = eyesplice_identity::protobuf::TypeMeta {
        api_version: super::API_VERSION.to_owned(),
        kind: super::KIND.to_owned(),
    };
    eyesplice_identity::protobuf::seal(of, message.encode_to_vec())
}
