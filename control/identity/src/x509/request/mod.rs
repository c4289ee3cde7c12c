//! Reads and checks a PKCS#10 certificate request (RFC 2986).

use super::limits;
use crate::certificate::{Weakness, judge_key, judge_signature};
use rustls::pki_types::pem::{PemObject, SectionKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

/// A request whose signature by its own key was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// In the order of the request.
    pub subject: Vec<Attribute>,
    /// Alternative DNS names.
    pub dns: Vec<String>,
    /// Alternative addresses.
    pub ips: Vec<IpAddr>,
    /// Alternative addresses of mail.
    pub emails: Vec<String>,
    /// Alternative URIs.
    pub uris: Vec<String>,
    /// Alternative names of other kinds (directory names, other names, ..).
    pub other_names: usize,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
}

/// One attribute of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its type, as in `2.5.4.3`.
    pub oid: String,
    /// Its value.
    pub value: String,
}

/// Why a request cannot be used by any signer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Larger than any.
    #[error("is larger than {0} bytes; ask for fewer names")]
    TooLarge(usize),
    /// No PEM block, or another one.
    #[error("PEM block type must be CERTIFICATE REQUEST, exactly one block of it")]
    Pem,
    /// No request is in it.
    #[error("is no PKCS#10 certificate request")]
    Der,
    /// Something follows it.
    #[error("has {0} bytes after the end of the certificate request")]
    Trailing(usize),
    /// Its key or signature proves too little.
    #[error("{0}")]
    Weak(Weakness),
    /// It is not signed by its own key.
    #[error(
        "the signature by its own key is not valid, or of a kind that is not supported (ECDSA P-256 \
         and P-384, Ed25519 and RSA of 2048 bits and more are)"
    )]
    Signature,
    /// An attribute of the subject cannot be taken.
    #[error("the subject's attribute {0} is no text of at most {1} visible characters")]
    Subject(String, usize),
    /// Too many attributes.
    #[error("the subject has more than {0} attributes")]
    SubjectTooLong(usize),
    /// An extension or attribute comes twice.
    #[error("it asks for {0} twice")]
    Twice(&'static str),
    /// The alternative names are damaged.
    #[error("the alternative names cannot be read")]
    Names,
    /// A name has a character that none has.
    #[error("the alternative name {0:?} has a character that no name has")]
    Character(String),
    /// An address of no known kind.
    #[error("an alternative name is an IP address of {0} bytes; 4 or 16 are possible")]
    Address(usize),
    /// Too many names.
    #[error("it asks for more than {0} alternative names")]
    TooManyNames(usize),
}

impl CertificateRequest {
    /// Reads PEM and verifies the request's own signature.
    ///
    /// # Errors
    /// Why no signer can use it.
    pub fn read(pem: &[u8]) -> Result<Self, RequestError> {
        if pem.len() > limits::REQUEST_PEM {
            let limit = limits::REQUEST_PEM;
            return Err(RequestError::TooLarge(limit));
        }
        let mut sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
        let Some(Ok((SectionKind::Csr, der))) = sections.next() else {
            return Err(RequestError::Pem);
        };
        if sections.next().is_some() {
            return Err(RequestError::Pem);
        }
        Self::read_der(&der)
    }

    fn read_der(der: &[u8]) -> Result<Self, RequestError> {
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestError::Der)?;
        if !rest.is_empty() {
            return Err(RequestError::Trailing(rest.len()));
        }
        let info = &request.certification_request_info;
        judge_key(&info.subject_pki)
            .and_then(|()| judge_signature(&request.signature_algorithm))
            .map_err(RequestError::Weak)?;
        request
            .verify_signature()
            .map_err(|_| RequestError::Signature)?;
        let mut read = Self {
            subject: subject(&info.subject)?,
            dns: Vec::new(),
            ips: Vec::new(),
            emails: Vec::new(),
            uris: Vec::new(),
            other_names: 0,
            spki: info.subject_pki.raw.to_vec(),
        };
        for name in names(&request)? {
            read.add(name)?;
        }
        Ok(read)
    }

    /// The common names; a good subject has one.
    pub fn common_names(&self) -> Vec<&str> {
        self.values(&OID_X509_COMMON_NAME.to_id_string())
    }

    /// The organizations, which are groups.
    pub fn organizations(&self) -> Vec<&str> {
        self.values(&OID_X509_ORGANIZATION_NAME.to_id_string())
    }

    fn values(&self, oid: &str) -> Vec<&str> {
        let of_type = self.subject.iter().filter(|attribute| attribute.oid == oid);
        of_type.map(|attribute| attribute.value.as_str()).collect()
    }

    /// Adds one alternative name; one that is there already adds nothing.
    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), RequestError> {
        match name {
            GeneralName::DNSName(text) => add(&mut self.dns, visible(text)?),
            GeneralName::RFC822Name(text) => add(&mut self.emails, visible(text)?),
            GeneralName::URI(text) => add(&mut self.uris, visible(text)?),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(|octets| Ipv4Addr::from(octets).into());
                let v6 =
                    || <[u8; 16]>::try_from(*bytes).map(|octets| Ipv6Addr::from(octets).into());
                let ip = v4.or_else(|_| v6());
                add(
                    &mut self.ips,
                    ip.map_err(|_| RequestError::Address(bytes.len()))?,
                );
            }
            GeneralName::Invalid(..) => return Err(RequestError::Names),
            _ => self.other_names += 1,
        }
        Ok(())
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

/// An IA5String holds control characters and NUL; no name does, and C programs end at the NUL.
fn visible(text: &str) -> Result<String, RequestError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(RequestError::Character(text.to_owned()));
    }
    Ok(text.to_owned())
}

fn subject(name: &X509Name<'_>) -> Result<Vec<Attribute>, RequestError> {
    let mut attributes = Vec::new();
    for attribute in name.iter_attributes() {
        let oid = attribute.attr_type().to_id_string();
        let limit = limits::SUBJECT_VALUE;
        let good = |text: &&str| text.len() <= limit && !text.chars().any(char::is_control);
        let Some(value) = attribute.as_str().ok().filter(good) else {
            return Err(RequestError::Subject(oid, limit));
        };
        if attributes.len() == limits::SUBJECT_ATTRIBUTES {
            let limit = limits::SUBJECT_ATTRIBUTES;
            return Err(RequestError::SubjectTooLong(limit));
        }
        let value = value.to_owned();
        attributes.push(Attribute { oid, value });
    }
    Ok(attributes)
}

/// Finds the one list of alternative names. Every other extension is dropped when a certificate is
/// made, so nothing else is looked at.
fn names<'a>(
    request: &'a X509CertificationRequest<'a>,
) -> Result<&'a [GeneralName<'a>], RequestError> {
    let mut extensions = None;
    for attribute in request.certification_request_info.iter_attributes() {
        if let ParsedCriAttribute::ExtensionRequest(requested) = attribute.parsed_attribute()
            && extensions.replace(&requested.extensions).is_some()
        {
            return Err(RequestError::Twice("extensions"));
        }
    }
    let mut names: Option<&[GeneralName<'_>]> = None;
    for extension in extensions.into_iter().flatten() {
        if extension.oid != x509_parser::oid_registry::OID_X509_EXT_SUBJECT_ALT_NAME {
            continue;
        }
        let ParsedExtension::SubjectAlternativeName(found) = extension.parsed_extension() else {
            return Err(RequestError::Names);
        };
        if names.replace(&found.general_names).is_some() {
            let what = "alternative names";
            return Err(RequestError::Twice(what));
        }
    }
    let names = names.unwrap_or_default();
    let limit = limits::NAMES;
    if names.len() > limit {
        return Err(RequestError::TooManyNames(limit));
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
