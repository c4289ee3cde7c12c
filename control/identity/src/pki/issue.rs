//! Signs certificates: what stands in them, and for how long.

use super::authority::Authority;
use super::error::PkiError;
use super::key::SigningKey;
use super::name;
use super::profile::{Profile, Usage};
use super::serial::random_serial;
use crate::certificate::instant;
use crate::inventory::HostAddress;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

/// Clients whose clocks are behind ours accept a new certificate (kubeadm's value).
pub const BACKDATE: Duration = Duration::minutes(5);

/// What shall be signed.
pub(super) struct Request {
    pub(super) params: CertificateParams,
    /// DER; what `params` has is replaced by it.
    pub(super) subject: Vec<u8>,
}

/// Signs a request for `key` by `authority`, or by the key itself if there is none. Gives the
/// certificate and what must be sent with it.
pub(super) fn sign(
    name: &str,
    request: Request,
    key: &SigningKey,
    authority: Option<&Authority>,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let failed = |source| PkiError::Issue(name.to_owned(), source);
    let Request {
        mut params,
        subject,
    } = request;
    let now = now.replace_nanosecond(0).unwrap_or(now);
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    let serial = random_serial().map_err(|_| PkiError::Random(name.to_owned()))?;
    params.serial_number = Some(serial);
    params.use_authority_key_identifier_extension = true;
    let Some(authority) = authority else {
        let made = params.self_signed(key).map_err(failed)?;
        let own = Some(subject.as_slice());
        let renamed = name::rename(made.der(), own, own, key).map_err(failed)?;
        return Ok(vec![renamed]);
    };
    let ca = authority.facts();
    if now >= ca.not_after {
        return Err(PkiError::AuthorityExpired {
            name: name.to_owned(),
            authority: ca.subject.to_string(),
            expired: instant(ca.not_after),
        });
    }
    params.not_before = params.not_before.max(ca.not_before);
    params.not_after = params.not_after.min(ca.not_after);
    let signed = authority.sign(&params, key, Some(&subject));
    let mut chain = vec![signed.map_err(failed)?];
    chain.extend_from_slice(authority.intermediates());
    Ok(chain)
}

/// What the table says of a certificate.
pub(super) fn from_profile(profile: &Profile) -> Result<Request, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = alternative_names(&profile.names)?;
    set_usages(&mut params, profile.usage);
    let subject = name::encode(&profile.organizations, &profile.common_name);
    Ok(Request { params, subject })
}

/// Subject and names of a certificate that is there, with the names that the table wants besides.
pub(super) fn from_certificate(
    certificate: &CertificateDer<'_>,
    profile: &Profile,
) -> Result<Request, rcgen::Error> {
    let unreadable = || rcgen::Error::CouldNotParseCertificate;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let Request { mut params, .. } = from_profile(profile)?;
    let subject = name::subject(certificate).ok_or_else(unreadable)?;
    let names = parsed.subject_alternative_name();
    let names = names.map_err(|_| unreadable())?;
    let mut kept = Vec::new();
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        kept.extend(same_name(name)?);
    }
    for name in std::mem::take(&mut params.subject_alt_names) {
        if !kept.contains(&name) {
            kept.push(name);
        }
    }
    params.subject_alt_names = kept;
    Ok(Request { params, subject })
}

/// What a CA says of itself, to be signed by another one: name, key, usages and path length.
pub(super) fn from_authority(certificate: &CertificateDer<'_>) -> Result<Request, rcgen::Error> {
    let unreadable = || rcgen::Error::CouldNotParseCertificate;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let mut params = CertificateParams::default();
    set_usages(&mut params, Usage::Authority);
    let basic = parsed.basic_constraints().map_err(|_| unreadable())?;
    let length = basic.and_then(|basic| basic.value.path_len_constraint);
    if let Some(length) = length.and_then(|length| u8::try_from(length).ok()) {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length));
    }
    let names = parsed.subject_alternative_name();
    let names = names.map_err(|_| unreadable())?;
    for name in names.iter().flat_map(|names| &names.value.general_names) {
        params.subject_alt_names.extend(same_name(name)?);
    }
    // What it signed names its key by this.
    for extension in parsed.extensions() {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id.0.to_vec());
        }
    }
    let subject = name::subject(certificate).ok_or_else(unreadable)?;
    Ok(Request { params, subject })
}

/// A name as it stands in another certificate; kinds that Kubernetes never issues are dropped.
fn same_name(name: &GeneralName<'_>) -> Result<Option<SanType>, rcgen::Error> {
    Ok(match name {
        GeneralName::DNSName(name) => Some(SanType::DnsName((*name).try_into()?)),
        GeneralName::RFC822Name(name) => Some(SanType::Rfc822Name((*name).try_into()?)),
        GeneralName::URI(name) => Some(SanType::URI((*name).try_into()?)),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            ip.ok().map(SanType::IpAddress)
        }
        _ => None,
    })
}

fn set_usages(params: &mut CertificateParams, usage: Usage) {
    // Key encipherment means nothing to an ECDSA key; kubeadm sets it for every key all the same.
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    if usage == Usage::Authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    }
    if usage.server() {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    }
    if usage.client() {
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
    }
}

/// Converts names into what stands in a certificate.
///
/// # Errors
/// A name that no certificate can hold.
pub fn alternative_names(names: &[HostAddress]) -> Result<Vec<SanType>, rcgen::Error> {
    names
        .iter()
        .map(|name| match name {
            HostAddress::Ip(ip) => Ok(SanType::IpAddress(*ip)),
            HostAddress::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        })
        .collect()
}
