//! The fields of one certificate that operators and checks ask about.

use super::Subject;
use super::strength::{Weakness, judge_key, judge_signature};
use crate::inventory::HostAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Names that are kept of a certificate: for messages only, the check itself sees all of them.
const MAX_NAMES: usize = 64;

/// Longest serial number that is kept: RFC 5280, section 4.1.2.2, allows 20 bytes.
const MAX_SERIAL: usize = 20;

/// What one certificate says of itself.
#[derive(Clone, Debug)]
pub struct CertificateFacts {
    /// Its owner.
    pub subject: Subject,
    /// Who signed it.
    pub issuer: Subject,
    /// Subject and issuer are the same name.
    pub self_issued: bool,
    /// In hexadecimal, with colons.
    pub serial: String,
    /// Valid from then on.
    pub not_before: OffsetDateTime,
    /// Valid until then.
    pub not_after: OffsetDateTime,
    /// The IP and DNS names that it covers, at most 64.
    pub names: Vec<String>,
    /// Basic constraints allow it to sign others.
    pub authority: bool,
    /// Key usage, extended and plain.
    pub usage: KeyUsages,
    /// The public key with its algorithm (SubjectPublicKeyInfo), DER.
    pub spki: Vec<u8>,
    /// Why its key is not taken.
    pub weak_key: Option<Weakness>,
    /// Why its signature is not taken; nobody judges that of a self-issued one.
    pub weak_signature: Option<Weakness>,
}

/// What a key may be used for. An absent extension allows everything (RFC 5280, section 4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyUsages {
    /// TLS servers, by extended key usage.
    pub server: bool,
    /// TLS clients, by extended key usage.
    pub client: bool,
    /// Handshake signatures, by key usage.
    pub sign: bool,
    /// Signatures of certificates, by key usage.
    pub sign_certificates: bool,
}

/// Why a certificate cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// It is no X.509 certificate.
    #[error("is no X.509 certificate")]
    NoCertificate,
    /// It has bytes after its end.
    #[error("has {0} bytes after its end")]
    Trailing(usize),
    /// An extension is broken or stands there twice.
    #[error("has a broken {0} extension")]
    Extension(&'static str),
}

impl CertificateFacts {
    /// Reads a certificate. Nothing is verified.
    ///
    /// # Errors
    /// It is not one.
    pub fn read(der: &[u8]) -> Result<Self, FactsError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| FactsError::NoCertificate)?;
        if !rest.is_empty() {
            return Err(FactsError::Trailing(rest.len()));
        }
        let basic = certificate.basic_constraints();
        let basic = basic.map_err(|_| FactsError::Extension("basic constraints"))?;
        let validity = certificate.validity();
        let serial = certificate.raw_serial();
        let subject = certificate.subject();
        let self_issued = subject.as_raw() == certificate.issuer().as_raw();
        let signature = judge_signature(&certificate.signature_algorithm);
        Ok(Self {
            subject: Subject::of(subject),
            issuer: Subject::of(certificate.issuer()),
            self_issued,
            serial: hexadecimal(&serial[..serial.len().min(MAX_SERIAL + 1)]),
            not_before: validity.not_before.to_datetime(),
            not_after: validity.not_after.to_datetime(),
            names: names(&certificate)?,
            authority: basic.is_some_and(|basic| basic.value.ca),
            usage: usages(&certificate)?,
            spki: certificate.public_key().raw.to_vec(),
            weak_key: judge_key(certificate.public_key()).err(),
            weak_signature: signature.err().filter(|_| !self_issued),
        })
    }

    /// Why it is not taken, whoever signed it.
    pub fn weakness(&self) -> Option<&Weakness> {
        self.weak_key.as_ref().or(self.weak_signature.as_ref())
    }

    /// Writes subject, serial and validity, as every message about a certificate has them.
    pub fn describe(&self) -> String {
        let Self {
            subject, serial, ..
        } = self;
        let (from, until) = (instant(self.not_before), instant(self.not_after));
        format!("{subject}, serial {serial}, valid {from} to {until}")
    }
}

/// Writes an instant as `2026-11-22T08:00:00Z`.
pub fn instant(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.join(":")
}

fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, FactsError> {
    let broken = |_| FactsError::Extension("subject alternative name");
    let Some(extension) = certificate.subject_alternative_name().map_err(broken)? else {
        return Ok(Vec::new());
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|ip| HostAddress::Ip(ip).to_string()),
        _ => None,
    };
    Ok(extension
        .value
        .general_names
        .iter()
        .filter_map(name)
        .take(MAX_NAMES)
        .collect())
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into()))
        .ok()
}

fn usages(certificate: &X509Certificate<'_>) -> Result<KeyUsages, FactsError> {
    let extended = certificate.extended_key_usage();
    let extended = extended.map_err(|_| FactsError::Extension("extended key usage"))?;
    let plain = certificate
        .key_usage()
        .map_err(|_| FactsError::Extension("key usage"))?;
    Ok(KeyUsages {
        server: extended
            .as_ref()
            .is_none_or(|usage| usage.value.server_auth),
        client: extended
            .as_ref()
            .is_none_or(|usage| usage.value.client_auth),
        sign: plain
            .as_ref()
            .is_none_or(|usage| usage.value.digital_signature()),
        sign_certificates: plain
            .as_ref()
            .is_none_or(|usage| usage.value.key_cert_sign()),
    })
}
