//! Makes one key and its certificate from a profile.

use super::profile::{AUTHORITY_LIFETIME, LEAF_LIFETIME, Profile, Usage};
use super::serial::random_serial;
use super::{BACKDATE, PkiError};
use crate::inventory::HostAddress;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SanType,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// A certificate with its key, able to sign others if it is an authority.
pub(super) struct Issued {
    pub(super) name: String,
    pub(super) certificate: Certificate,
    params: CertificateParams,
    key: KeyPair,
}

impl Issued {
    /// The private key as PKCS#8 PEM.
    pub(super) fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.key.serialize_pem())
    }
}

/// Issues `profile` by `authority`, or by itself if there is none.
pub(super) fn issue(
    profile: &Profile,
    authority: Option<&Issued>,
    now: OffsetDateTime,
) -> Result<Issued, PkiError> {
    let failed = |source| PkiError::Issue {
        name: profile.name.clone(),
        source,
    };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = params(profile, now).map_err(failed)?;
    let serial = random_serial().map_err(|_| PkiError::Random {
        name: profile.name.clone(),
    })?;
    params.serial_number = Some(serial);
    let certificate = match authority {
        None => params.self_signed(&key),
        Some(by) => params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)),
    }
    .map_err(failed)?;
    Ok(Issued {
        name: profile.name.clone(),
        certificate,
        params,
        key,
    })
}

fn params(profile: &Profile, now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let now = now.replace_nanosecond(0).unwrap_or(now);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(profile);
    params.subject_alt_names = alternative_names(&profile.names)?;
    params.not_before = now - BACKDATE;
    params.use_authority_key_identifier_extension = true;
    // Key encipherment means nothing to an ECDSA key; kubeadm sets it for every key all the same.
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    match profile.usage {
        Usage::Authority => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
            params.not_after = now + AUTHORITY_LIFETIME;
        }
        Usage::Server => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            leaf(&mut params, now);
        }
        Usage::Client => {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            leaf(&mut params, now);
        }
    }
    Ok(params)
}

fn leaf(params: &mut CertificateParams, now: OffsetDateTime) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.not_after = now + LEAF_LIFETIME;
}

fn subject(profile: &Profile) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    if let Some(organization) = profile.organization {
        subject.push(DnType::OrganizationName, organization);
    }
    subject.push(DnType::CommonName, profile.common_name.as_str());
    subject
}

/// Converts names into what stands in a certificate.
pub(crate) fn alternative_names(names: &[HostAddress]) -> Result<Vec<SanType>, rcgen::Error> {
    names
        .iter()
        .map(|name| match name {
            HostAddress::Ip(ip) => Ok(SanType::IpAddress(*ip)),
            HostAddress::Dns(name) => Ok(SanType::DnsName(name.as_str().try_into()?)),
        })
        .collect()
}
