//! Distinguished names, byte for byte.
//!
//! The certificate library keeps one value of each attribute, but a Kubernetes user of two groups
//! has two organizations, and an issuer's name must be repeated exactly as the CA has it. So the
//! library makes the certificate (or request), and here its names are put in and it is signed again.

use crate::certificate::der::{BIT_STRING, OBJECT_IDENTIFIER, SEQUENCE, SET, UTF8_STRING, tlv};
use rcgen::SigningKey;
use rustls::pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, FromDer};

/// 2.5.4.10, organizationName.
const ORGANIZATION: u8 = 0x0a;
/// 2.5.4.3, commonName.
const COMMON_NAME: u8 = 0x03;

/// Where the names stand in a TBSCertificate of version 3 (RFC 5280, section 4.1).
const ISSUER: usize = 3;
const SUBJECT: usize = 5;
/// Where the name stands in a CertificationRequestInfo (RFC 2986, section 4.1).
const REQUESTED_SUBJECT: usize = 1;

/// Encodes organizations and a common name, in this order.
pub(super) fn encode(organizations: &[String], common_name: &str) -> Vec<u8> {
    let organizations = organizations
        .iter()
        .map(|value| (ORGANIZATION, value.as_str()));
    encode_attributes(organizations.chain([(COMMON_NAME, common_name)]))
}

/// Encodes attributes 2.5.4.N (RFC 5280, appendix A), each in a set of its own.
pub(super) fn encode_attributes<'a>(attributes: impl Iterator<Item = (u8, &'a str)>) -> Vec<u8> {
    let mut name = Vec::new();
    for (kind, value) in attributes {
        let oid = tlv(OBJECT_IDENTIFIER, &[0x55, 0x04, kind]);
        let attribute = [oid, tlv(UTF8_STRING, value.as_bytes())].concat();
        name.extend(tlv(SET, &tlv(SEQUENCE, &attribute)));
    }
    tlv(SEQUENCE, &name)
}

/// The subject of a certificate, as it stands there.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let tbs = elements(certificate)?.into_iter().next()?;
    let fields = elements(tbs)?;
    fields.get(SUBJECT).map(|subject| subject.to_vec())
}

/// Gives a certificate other names, where they are other ones, and signs it again by the key of its
/// issuer.
pub(super) fn rename(
    certificate: &CertificateDer<'_>,
    issuer: Option<&[u8]>,
    subject: Option<&[u8]>,
    key: &impl SigningKey,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    replace(certificate, [(ISSUER, issuer), (SUBJECT, subject)], key).map(Into::into)
}

/// Gives a certificate request (DER) another name, if it is another one, and signs it by its key.
pub(super) fn rename_request(
    request: &[u8],
    subject: &[u8],
    key: &impl SigningKey,
) -> Result<Vec<u8>, rcgen::Error> {
    replace(request, [(REQUESTED_SUBJECT, Some(subject))], key)
}

/// Replaces elements of what is signed, by their places, and signs it if that changed anything.
/// Certificates and requests both are a sequence of what is signed, the algorithm and the signature.
fn replace<const N: usize>(
    der: &[u8],
    names: [(usize, Option<&[u8]>); N],
    key: &impl SigningKey,
) -> Result<Vec<u8>, rcgen::Error> {
    let broken = || rcgen::Error::CouldNotParseCertificate;
    let parts = elements(der).ok_or_else(broken)?;
    let &[signed, algorithm, _] = parts.as_slice() else {
        return Err(broken());
    };
    let mut fields = elements(signed).ok_or_else(broken)?;
    let before = fields.clone();
    for (place, name) in names {
        let field = fields.get_mut(place).ok_or_else(broken)?;
        *field = name.unwrap_or(*field);
    }
    if fields == before {
        return Ok(der.to_vec());
    }
    let signed = tlv(SEQUENCE, &fields.concat());
    // The first byte of a BIT STRING counts its unused bits.
    let signature = [vec![0], key.sign(&signed)?].concat();
    let whole = [signed, algorithm.to_vec(), tlv(BIT_STRING, &signature)].concat();
    Ok(tlv(SEQUENCE, &whole))
}

/// Splits what stands inside of one element into its elements.
fn elements(element: &[u8]) -> Option<Vec<&[u8]>> {
    let (_, outer) = Any::from_der(element).ok()?;
    let mut rest = outer.data;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (after, _) = Any::from_der(rest).ok()?;
        let (one, behind) = rest.split_at(rest.len() - after.len());
        found.push(one);
        rest = behind;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::CertificateFacts;
    use crate::pki::testing::{authority, client};
    use x509_parser::certificate::X509Certificate;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn name_of_many_groups_keeps_them_all() {
        let ca = authority("ca").self_signed();
        let leaf = client("x").signed_by(&ca);
        let groups = owned(&[
            "dev",
            "ops",
            "a very long one that makes lengths long: 0123456789",
        ]);
        let subject = encode(&groups, "jane");
        let issuer = super::subject(&ca.der()).unwrap();
        let renamed = rename(&leaf.der(), Some(&issuer), Some(&subject), &ca.key).unwrap();
        let facts = CertificateFacts::read(&renamed).unwrap();
        assert_eq!(facts.subject.common_name.as_deref(), Some("jane"));
        assert_eq!(facts.subject.organizations, groups);
        assert_eq!(facts.issuer.to_string(), "CN=ca");
        let (_, parsed) = X509Certificate::from_der(&renamed).unwrap();
        let (_, ca) = {
            let der = ca.certificate.der();
            X509Certificate::from_der(der).unwrap()
        };
        parsed.verify_signature(Some(ca.public_key())).unwrap();
    }

    #[test]
    fn rename_to_the_same_names_changes_nothing() {
        let ca = authority("ca").self_signed();
        let name = subject(&ca.der()).unwrap();
        assert_eq!(name, encode(&[], "ca"));
        let same = Some(name.as_slice());
        let renamed = rename(&ca.der(), same, same, &ca.key).unwrap();
        assert_eq!(renamed, ca.der());
        assert_eq!(rename(&ca.der(), None, None, &ca.key).unwrap(), ca.der());
        let other = encode(&[], "other");
        let renamed = rename(&ca.der(), None, Some(&other), &ca.key).unwrap();
        assert_eq!(subject(&renamed), Some(other));
    }

    #[test]
    fn certificate_of_every_prefix_is_refused() {
        let ca = authority("ca").self_signed();
        let der = ca.der();
        for end in 0..der.len() {
            let cut = CertificateDer::from(der[..end].to_vec());
            assert!(rename(&cut, None, None, &ca.key).is_err(), "{end}");
            assert_eq!(subject(&cut), None, "{end}");
        }
    }
}
