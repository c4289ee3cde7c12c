//! The object CertificateSigningRequest of certificates.k8s.io/v1, as JSON has it.
//!
//! Written by hand: the API has one kind with a dozen fields, and a server needs what generated
//! client types do not have (`null` as absent, unknown fields told apart, protobuf bodies). Source:
//! api `certificates/v1/types.go`, apimachinery `pkg/apis/meta/v1/types.go`.

mod condition;
mod protobuf;
mod scalar;

pub(crate) use condition::{APPROVED, Condition, DENIED, FAILED, TRUE};
#[cfg(test)]
pub(crate) use protobuf::encode;
pub(crate) use protobuf::{DeleteOptions, Review, decode, decode_delete_options, decode_review};
pub(crate) use scalar::{Blob, Timestamp};

use scalar::nullable;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The API group.
pub(crate) const GROUP: &str = "certificates.k8s.io";
/// `apiVersion` of every object.
pub(crate) const API_VERSION: &str = "certificates.k8s.io/v1";
/// `kind` of every object.
pub(crate) const KIND: &str = "CertificateSigningRequest";
/// `kind` of a list of them.
pub(crate) const LIST_KIND: &str = "CertificateSigningRequestList";
/// The resource in URLs and errors.
pub(crate) const RESOURCE: &str = "certificatesigningrequests";

/// One certificate signing request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CertificateSigningRequest {
    #[serde(with = "nullable")]
    pub(crate) kind: String,
    #[serde(with = "nullable")]
    pub(crate) api_version: String,
    #[serde(with = "nullable")]
    pub(crate) metadata: ObjectMeta,
    #[serde(with = "nullable")]
    pub spec: Spec,
    #[serde(with = "nullable")]
    pub(crate) status: Status,
}

/// What every Kubernetes object has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ObjectMeta {
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) generate_name: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) resource_version: String,
    pub(crate) creation_timestamp: Option<Timestamp>,
    #[serde(with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
    // What clients may send and this server does not keep: it has no server-side apply. It has no
    // garbage collector, either, and refuses what would need one.
    #[serde(skip_serializing)]
    self_link: Option<Value>,
    #[serde(skip_serializing)]
    generation: Option<Value>,
    #[serde(skip_serializing)]
    deletion_timestamp: Option<Value>,
    #[serde(skip_serializing)]
    deletion_grace_period_seconds: Option<Value>,
    #[serde(skip_serializing)]
    owner_references: Option<Value>,
    #[serde(skip_serializing)]
    finalizers: Option<Value>,
    #[serde(skip_serializing)]
    managed_fields: Option<Value>,
}

/// What is asked for, and by whom; never changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    /// PEM of a PKCS#10 request.
    #[serde(with = "nullable")]
    pub(crate) request: Blob,
    #[serde(with = "nullable")]
    pub(crate) signer_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) expiration_seconds: Option<i32>,
    #[serde(with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) usages: Vec<String>,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(with = "nullable", skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    #[serde(with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
    #[serde(with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Status {
    #[serde(with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    /// PEM of the certificate, once it is signed.
    #[serde(with = "nullable", skip_serializing_if = "Blob::is_empty")]
    pub(crate) certificate: Blob,
}

impl ObjectMeta {
    /// Names what a client wants to be obeyed and nobody here would.
    pub(crate) fn not_obeyed(&self) -> Option<&'static str> {
        let said = |value: &Option<Value>| match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(entries)) => !entries.is_empty(),
            Some(_) => true,
        };
        if said(&self.finalizers) {
            Some("finalizers")
        } else if said(&self.owner_references) {
            Some("ownerReferences")
        } else {
            None
        }
    }
}

impl CertificateSigningRequest {
    /// Says whether a condition of this type is there.
    pub(crate) fn has(&self, condition: &str) -> bool {
        self.condition(condition).is_some()
    }

    /// Finds a condition.
    pub(crate) fn condition(&self, condition: &str) -> Option<&Condition> {
        self.status
            .conditions
            .iter()
            .find(|each| each.kind == condition)
    }

    /// Nobody decided about it yet.
    pub(crate) fn is_pending(&self) -> bool {
        ![APPROVED, DENIED, FAILED].iter().any(|kind| self.has(kind))
    }

    /// It was approved, and waits for its signature.
    pub(crate) fn awaits_signature(&self) -> bool {
        self.has(APPROVED)
            && !self.has(DENIED)
            && !self.has(FAILED)
            && self.status.certificate.is_empty()
    }
}

#[cfg(test)]
mod tests;
