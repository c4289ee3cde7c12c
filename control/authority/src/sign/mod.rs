//! Signs an approved CSR.

use super::held::Held;
use super::object::{Blob, CertificateSigningRequest, Condition, FAILED, Timestamp};
use super::store::Change;
use eyesplice_identity::certificate::instant;
use eyesplice_identity::pem;
use eyesplice_identity::pki::{Authority, IssueForError, Wanted, issue_for};
use eyesplice_identity::x509::{Attribute, CertificateRequest, Signer, Usage, lifetime};
use std::collections::BTreeSet;
use time::{Duration, OffsetDateTime};

/// Types 2.5.4.N of attributes that are taken into a certificate, as Go's `pkix.Name` writes them:
/// CN, serialNumber, C, L, ST, STREET, O, OU, postalCode. Others are left out, like every extension
/// that is asked for.
const KEPT_ATTRIBUTES: [u8; 9] = [3, 5, 6, 7, 8, 9, 10, 11, 17];

/// The reason of a Failed condition, as upstream's signers write it.
const REASON: &str = "SignerValidationFailure";

/// A signer with its CA.
#[derive(Debug)]
pub(crate) struct SignerCa {
    pub(crate) authority: Authority,
    /// The longest lifetime that it gives.
    pub(crate) longest: Duration,
}

/// Why an approved CSR stays unsigned for now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("the CA {subject} of {signer} expired {}; renew it", instant(*.expired))]
    AuthorityExpired {
        signer: Signer,
        subject: String,
        expired: OffsetDateTime,
    },
    #[error("{signer} cannot issue the certificate")]
    Issue {
        signer: Signer,
        source: IssueForError,
    },
}

/// Signs an approved CSR, or marks it Failed if the signer's rules are against it.
pub(crate) fn sign(
    object: &CertificateSigningRequest,
    signer: Signer,
    ca: &SignerCa,
    now: OffsetDateTime,
) -> Result<Change, SignError> {
    let spec = &object.spec;
    let request = match CertificateRequest::read(&spec.request.0) {
        Ok(request) => request,
        Err(error) => return Ok(failed(object, error.to_string(), now)),
    };
    let usages = match signer.check(&request, &spec.usages) {
        Ok(usages) => usages,
        Err(refusal) => return Ok(failed(object, refusal.to_string(), now)),
    };
    let facts = ca.authority.facts();
    let valid = lifetime(spec.expiration_seconds, ca.longest, facts.not_after, now);
    let Some(valid) = valid else {
        return Err(SignError::AuthorityExpired {
            signer,
            subject: facts.subject.to_string(),
            expired: facts.not_after,
        });
    };
    let wanted = wanted(&request, &usages, valid.not_before, valid.not_after);
    let issued = issue_for(&wanted, &ca.authority);
    let issued = issued.map_err(|source| SignError::Issue { signer, source })?;
    let mut signed = object.clone();
    signed.status.certificate = Blob(pem::encode(&issued.chain).into_bytes());
    let holder = Held::of(
        signer,
        &request,
        &object.metadata.name,
        &spec.username,
        now,
        valid.not_after,
    );
    Ok(Change::Sign {
        holder,
        object: signed,
        serial: issued.serial,
        not_after: Timestamp::new(valid.not_after),
    })
}

fn wanted<'a>(
    request: &'a CertificateRequest,
    usages: &BTreeSet<Usage>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
) -> Wanted<'a> {
    let kept = |attribute: &'a Attribute| {
        let kind = attribute.oid.strip_prefix("2.5.4.")?.parse().ok()?;
        KEPT_ATTRIBUTES
            .contains(&kind)
            .then_some((kind, attribute.value.as_str()))
    };
    Wanted {
        subject: request.subject.iter().filter_map(kept).collect(),
        spki: &request.spki,
        dns: &request.dns,
        ips: &request.ips,
        emails: &request.emails,
        uris: &request.uris,
        digital_signature: usages.contains(&Usage::DigitalSignature),
        key_encipherment: usages.contains(&Usage::KeyEncipherment),
        client_auth: usages.contains(&Usage::ClientAuth),
        server_auth: usages.contains(&Usage::ServerAuth),
        not_before,
        not_after,
    }
}

fn failed(object: &CertificateSigningRequest, why: String, now: OffsetDateTime) -> Change {
    let mut object = object.clone();
    let condition = Condition::new(FAILED, REASON, why, Timestamp::new(now));
    object.status.conditions.push(condition);
    Change::Put(object)
}

#[cfg(test)]
mod tests;
