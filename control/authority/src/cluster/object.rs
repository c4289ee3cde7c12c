//! CSRs as the API server has them, and as approver and signer know them.
//!
//! What is written back is the object that was read, with another status: whatever else is in it
//! stays as it is.

use super::super::object::{CertificateSigningRequest, Condition};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1 as api;

/// The API server's own form.
pub(super) type ApiCsr = api::CertificateSigningRequest;

/// Reads an object as approver and signer know it.
pub(super) fn read(object: &ApiCsr) -> Result<CertificateSigningRequest, serde_json::Error> {
    serde_json::from_value(serde_json::to_value(object)?)
}

/// Adds a condition.
pub(super) fn with_condition(
    mut object: ApiCsr,
    condition: &Condition,
) -> Result<ApiCsr, serde_json::Error> {
    let condition = serde_json::from_value(serde_json::to_value(condition)?)?;
    let status = object.status.get_or_insert_default();
    status.conditions.get_or_insert_default().push(condition);
    Ok(object)
}

/// Puts the certificate in.
pub(super) fn with_certificate(mut object: ApiCsr, pem: Vec<u8>) -> ApiCsr {
    object.status.get_or_insert_default().certificate = Some(ByteString(pem));
    object
}

/// What is kept of a CSR in memory: who manages which field is nobody's business here.
pub(super) fn trimmed(mut object: ApiCsr) -> ApiCsr {
    object.metadata.managed_fields = None;
    object
}

/// The certificate of a CSR that has one.
pub(super) fn certificate(object: &ApiCsr) -> Option<&[u8]> {
    let certificate = object.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(&*certificate.0)
}

pub(super) fn name(object: &ApiCsr) -> &str {
    object.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn uid(object: &ApiCsr) -> &str {
    object.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn version(object: &ApiCsr) -> &str {
    object
        .metadata
        .resource_version
        .as_deref()
        .unwrap_or_default()
}
