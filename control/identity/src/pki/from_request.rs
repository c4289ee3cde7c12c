//! Issues a certificate for a key that somebody else holds: what a certificate request asks for.

use super::authority::Authority;
use super::name;
use super::serial::random_serial;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use std::net::IpAddr;
use time::OffsetDateTime;

/// What the certificate says.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Attributes 2.5.4.N with their values, in order.
    pub subject: Vec<(u8, &'a str)>,
    /// SubjectPublicKeyInfo, DER.
    pub spki: &'a [u8],
    /// Alternative names.
    pub dns: &'a [String],
    /// Alternative addresses.
    pub ips: &'a [IpAddr],
    /// Alternative addresses of mail.
    pub emails: &'a [String],
    /// Alternative URIs.
    pub uris: &'a [String],
    /// Key usage.
    pub digital_signature: bool,
    /// Key usage.
    pub key_encipherment: bool,
    /// Extended key usage.
    pub client_auth: bool,
    /// Extended key usage.
    pub server_auth: bool,
    /// When it begins.
    pub not_before: OffsetDateTime,
    /// When it ends.
    pub not_after: OffsetDateTime,
}

/// A certificate, what must be sent with it, and its serial number.
#[derive(Clone, Debug)]
pub struct IssuedFor {
    /// The certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its serial number.
    pub serial: Vec<u8>,
}

/// Why no certificate was made.
#[derive(Debug, thiserror::Error)]
pub enum IssueForError {
    /// No serial number.
    #[error("cannot draw a serial number: the system's random source failed")]
    Random,
    /// A name that no certificate can hold, or a CA that cannot sign.
    #[error("cannot make the certificate")]
    Make(#[from] rcgen::Error),
}

/// Issues one certificate under a fresh random serial number.
///
/// # Errors
/// A name that no certificate can hold, or the CA cannot sign.
pub fn issue_for(wanted: &Wanted<'_>, authority: &Authority) -> Result<IssuedFor, IssueForError> {
    let serial = random_serial().map_err(|_| IssueForError::Random)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial.clone());
    params.not_before = wanted.not_before;
    params.not_after = wanted.not_after;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = names(wanted)?;
    for (set, usage) in [
        (wanted.digital_signature, KeyUsagePurpose::DigitalSignature),
        (wanted.key_encipherment, KeyUsagePurpose::KeyEncipherment),
    ] {
        params.key_usages.extend(set.then_some(usage));
    }
    for (set, usage) in [
        (wanted.server_auth, ExtendedKeyUsagePurpose::ServerAuth),
        (wanted.client_auth, ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        params.extended_key_usages.extend(set.then_some(usage));
    }
    let key = SubjectPublicKeyInfo::from_der(wanted.spki)?;
    let subject = name::encode_attributes(wanted.subject.iter().copied());
    let mut chain = vec![authority.sign(&params, &key, Some(&subject))?];
    chain.extend_from_slice(authority.intermediates());
    Ok(IssuedFor {
        chain,
        serial: serial.to_bytes(),
    })
}

fn names(wanted: &Wanted<'_>) -> Result<Vec<SanType>, rcgen::Error> {
    let mut names = Vec::new();
    for name in wanted.dns {
        names.push(SanType::DnsName(name.as_str().try_into()?));
    }
    names.extend(wanted.ips.iter().map(|ip| SanType::IpAddress(*ip)));
    for name in wanted.emails {
        names.push(SanType::Rfc822Name(name.as_str().try_into()?));
    }
    for name in wanted.uris {
        names.push(SanType::URI(name.as_str().try_into()?));
    }
    Ok(names)
}
