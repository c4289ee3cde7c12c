//! Judges an object before it is stored (pkg/apis/certificates/validation/validation.go).

use super::error::{FieldError, Problem};
use super::limits;
use super::object::{APPROVED, CertificateSigningRequest, Condition, DENIED, FAILED, TRUE};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::x509::CertificateRequest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::BTreeSet;

/// The signer of v1beta1, which signed anything.
const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";

/// The shortest `expirationSeconds`.
const SHORTEST_EXPIRATION: i32 = 600;

/// `domain/path`: 253 bytes each, and the slash; upstream's bound.
const LONGEST_SIGNER_NAME: usize = 571;

const KNOWN_USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Which way an object is written: each may change another part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// PUT or PATCH of the object: its metadata.
    Metadata,
    /// PUT of `/approval`: Approved and Denied.
    Approval,
    /// PUT of `/status`: the certificate and other conditions.
    Status,
}

/// Collects what is wrong.
#[derive(Default)]
struct Errors(Vec<FieldError>);

impl Errors {
    fn add(&mut self, field: impl Into<String>, problem: Problem) {
        let field = field.into();
        self.0.push(FieldError { field, problem });
    }

    fn invalid(&mut self, field: impl Into<String>, value: &str, why: impl Into<String>) {
        let (value, why) = (format!("{value:?}"), why.into());
        self.add(field, Problem::Invalid { value, why });
    }

    fn finish<T>(self, value: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self.0)
        }
    }
}

/// Judges a new object, and returns the request in it.
pub(crate) fn create(
    object: &CertificateSigningRequest,
) -> Result<CertificateRequest, Vec<FieldError>> {
    let mut errors = Errors::default();
    metadata(object, &mut errors);
    let request = match CertificateRequest::read(&object.spec.request.0) {
        Ok(request) => Some(request),
        Err(error) => {
            errors.invalid("spec.request", "<certificate request>", error.to_string());
            None
        }
    };
    usages(object, &mut errors);
    signer_name(&object.spec.signer_name, &mut errors);
    if let Some(seconds) = object.spec.expiration_seconds
        && seconds < SHORTEST_EXPIRATION
    {
        let why = "may not specify a duration less than 600 seconds (10 minutes)".to_owned();
        let value = seconds.to_string();
        errors.add("spec.expirationSeconds", Problem::Invalid { value, why });
    }
    match errors.finish(request)? {
        Some(request) => Ok(request),
        None => Err(Vec::new()),
    }
}

/// Judges what a write makes of an object.
pub(crate) fn update(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    write: Write,
) -> Result<(), Vec<FieldError>> {
    let mut errors = Errors::default();
    metadata(new, &mut errors);
    conditions(&new.status.conditions, &mut errors);
    changed_conditions(new, old, write, &mut errors);
    let certificate = &new.status.certificate;
    if *certificate != old.status.certificate {
        let field = "status.certificate";
        if write != Write::Status {
            let why = "updates may not set certificate content".to_owned();
            errors.add(field, Problem::Forbidden(why));
        } else if !old.status.certificate.is_empty() {
            let why = "updates may not modify existing certificate content".to_owned();
            errors.add(field, Problem::Forbidden(why));
        }
        if let Err(why) = certificate_chain(&certificate.0) {
            errors.invalid(field, "<certificate data>", why);
        }
    }
    errors.finish(())
}

fn metadata(object: &CertificateSigningRequest, errors: &mut Errors) {
    let metadata = &object.metadata;
    if metadata.name.is_empty() {
        let why = "name or generateName is required".to_owned();
        errors.add("metadata.name", Problem::Required(why));
    } else if !is_subdomain(&metadata.name) {
        errors.invalid(
            "metadata.name",
            &metadata.name,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
             or '.', and must start and end with an alphanumeric character",
        );
    }
    if !metadata.namespace.is_empty() {
        let why = "not allowed on this type".to_owned();
        errors.add("metadata.namespace", Problem::Forbidden(why));
    }
    if let Some(field) = metadata.not_obeyed() {
        let why = "this authority has no garbage collector that would obey it; leave it out";
        errors.add(
            format!("metadata.{field}"),
            Problem::Forbidden(why.to_owned()),
        );
    }
    for (key, value) in &metadata.labels {
        if !is_qualified(key) {
            errors.invalid("metadata.labels", key, "name part must be a label key");
        }
        if !is_label_value(value) {
            errors.invalid(
                "metadata.labels",
                value,
                "a valid label must be at most 63 alphanumeric characters, '-', '_' or '.'",
            );
        }
    }
    for key in metadata.annotations.keys() {
        if !is_qualified(&key.to_ascii_lowercase()) {
            errors.invalid(
                "metadata.annotations",
                key,
                "name part must be an annotation key",
            );
        }
    }
    let size = |(key, value): (&String, &String)| key.len() + value.len();
    let all = metadata.labels.iter().chain(&metadata.annotations);
    if all.map(size).sum::<usize>() > limits::METADATA {
        let limit = limits::METADATA;
        errors.add("metadata.annotations", Problem::TooLong { limit });
    }
}

fn usages(object: &CertificateSigningRequest, errors: &mut Errors) {
    let usages = &object.spec.usages;
    if usages.is_empty() {
        errors.add("spec.usages", Problem::Required(String::new()));
    }
    if usages.len() > limits::USAGES {
        let why = format!("has more than {} entries", limits::USAGES);
        return errors.add("spec.usages", Problem::Forbidden(why));
    }
    let mut seen = BTreeSet::new();
    for (index, usage) in usages.iter().enumerate() {
        let field = format!("spec.usages[{index}]");
        if !KNOWN_USAGES.contains(&usage.as_str()) {
            let known = KNOWN_USAGES.map(|each| format!("{each:?}")).join(", ");
            let value = usage.clone();
            errors.add(&field, Problem::Unsupported { value, known });
        }
        if !seen.insert(usage) {
            errors.add(field, Problem::Duplicate(usage.clone()));
        }
    }
}

fn signer_name(name: &str, errors: &mut Errors) {
    let field = "spec.signerName";
    if name.is_empty() {
        return errors.add(field, Problem::Required(String::new()));
    }
    if name == LEGACY_SIGNER {
        let why = "the legacy signerName is not allowed via this API version";
        return errors.invalid(field, name, why);
    }
    if name.len() > LONGEST_SIGNER_NAME {
        let limit = LONGEST_SIGNER_NAME;
        return errors.add(field, Problem::TooLong { limit });
    }
    let good = name.split_once('/').is_some_and(|(domain, path)| {
        let two_segments = domain.contains('.');
        two_segments && is_subdomain(domain) && path.split('.').all(is_label)
    });
    if !good {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.invalid(field, name, why);
    }
}

fn conditions(conditions: &[Condition], errors: &mut Errors) {
    let field = "status.conditions";
    if conditions.len() > limits::CONDITIONS {
        let why = format!("has more than {} entries", limits::CONDITIONS);
        return errors.add(field, Problem::Forbidden(why));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if condition.kind.is_empty() {
            errors.add(format!("{field}.type"), Problem::Required(String::new()));
        }
        if !seen.insert(&condition.kind) {
            errors.add(
                format!("{field}.type"),
                Problem::Duplicate(condition.kind.clone()),
            );
        }
        let allowed: &[&str] = match condition.kind.as_str() {
            APPROVED | DENIED | FAILED => &[TRUE],
            _ => &[TRUE, "False", "Unknown"],
        };
        if condition.status.is_empty() {
            errors.add(format!("{field}.status"), Problem::Required(String::new()));
        } else if !allowed.contains(&condition.status.as_str()) {
            let known = allowed.join(", ");
            let value = condition.status.clone();
            errors.add(
                format!("{field}.status"),
                Problem::Unsupported { value, known },
            );
        }
        let texts = condition.kind.len() + condition.reason.len() + condition.message.len();
        if texts > limits::CONDITION_TEXT {
            let limit = limits::CONDITION_TEXT;
            errors.add(format!("{field}.message"), Problem::TooLong { limit });
        }
    }
    let has = |kind| conditions.iter().any(|condition| condition.kind == kind);
    if has(APPROVED) && has(DENIED) {
        let why = "Approved and Denied conditions are mutually exclusive";
        errors.invalid(field, "Approved, Denied", why);
    }
}

/// What was decided stays decided, and only an approver decides.
fn changed_conditions(
    new: &CertificateSigningRequest,
    old: &CertificateSigningRequest,
    write: Write,
    errors: &mut Errors,
) {
    let field = "status.conditions";
    for kind in [APPROVED, DENIED, FAILED] {
        let (before, after) = (old.condition(kind), new.condition(kind));
        if before.is_some() && after.is_none() {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.add(field, Problem::Forbidden(why));
            continue;
        }
        let allowed = match kind {
            FAILED => write == Write::Status,
            _ => write == Write::Approval,
        };
        if !allowed && before != after {
            let verb = if before.is_none() { "add" } else { "modify" };
            let why = format!("updates may not {verb} a condition of type {kind:?}");
            errors.add(field, Problem::Forbidden(why));
        }
    }
}

/// PEM of certificates, nothing else in it.
fn certificate_chain(pem: &[u8]) -> Result<(), String> {
    if pem.is_empty() {
        return Err("must not be removed".to_owned());
    }
    if pem.len() > limits::CERTIFICATE_PEM {
        return Err(format!("is larger than {} bytes", limits::CERTIFICATE_PEM));
    }
    const BEGIN: &[u8] = b"-----BEGIN ";
    let blocks = pem
        .windows(BEGIN.len())
        .filter(|window| *window == BEGIN)
        .count();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let Ok(found) = found else {
        return Err("has a PEM block that is damaged or has headers".to_owned());
    };
    if found.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    if found.len() != blocks {
        return Err("only CERTIFICATE PEM blocks are allowed".to_owned());
    }
    for (index, certificate) in found.iter().enumerate() {
        if let Err(error) = CertificateFacts::read(certificate) {
            return Err(format!("certificate {} {error}", index + 1));
        }
    }
    Ok(())
}

/// RFC 1123: labels of small letters, digits and '-', at most 253 bytes.
pub(crate) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `name` or `prefix/name`, as the keys of labels and annotations.
fn is_qualified(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').unwrap_or(("x", text));
    is_subdomain(prefix) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(text: &str) -> bool {
    let outer = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| outer(c) || matches!(c, '-' | '_' | '.');
    text.is_empty()
        || (text.len() <= 63
            && text.chars().all(inner)
            && text.starts_with(outer)
            && text.ends_with(outer))
}

#[cfg(test)]
mod tests;
