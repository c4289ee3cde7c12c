//! Certificates for tests: one recipe, changed where a test wants something wrong.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use super::name;
use super::serial::random_serial;
use eyesplice_proto::tls::provider;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    SignatureAlgorithm,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::SystemTime;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

/// The time at which tests of pure functions run.
pub const NOW: OffsetDateTime = datetime!(2026-11-22 08:00:00 UTC);

/// What a certificate shall be.
pub struct Recipe {
    /// The user.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<&'static str>,
    /// Its alternative names.
    pub names: Vec<&'static str>,
    /// When it begins.
    pub not_before: OffsetDateTime,
    /// When it ends.
    pub not_after: OffsetDateTime,
    /// What it is good for.
    pub extended: Vec<ExtendedKeyUsagePurpose>,
    /// What its key is good for.
    pub usages: Vec<KeyUsagePurpose>,
    /// Whether it signs others.
    pub is_ca: IsCa,
    /// The kind of key.
    pub algorithm: &'static SignatureAlgorithm,
}

/// A CA, valid for a century around the day of tests and real clocks alike.
pub fn authority(common_name: &str) -> Recipe {
    Recipe {
        common_name: common_name.to_owned(),
        organizations: Vec::new(),
        names: Vec::new(),
        not_before: datetime!(2000-01-01 00:00 UTC),
        not_after: datetime!(2100-01-01 00:00 UTC),
        extended: Vec::new(),
        usages: vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
        ],
        is_ca: IsCa::Ca(BasicConstraints::Unconstrained),
        algorithm: &PKCS_ECDSA_P256_SHA256,
    }
}

/// The serving certificate of kubelet worker-3, all of it as it should be.
pub fn kubelet() -> Recipe {
    Recipe {
        organizations: vec!["system:nodes"],
        names: vec!["10.0.0.7", "worker-3.example"],
        extended: vec![ExtendedKeyUsagePurpose::ServerAuth],
        usages: vec![KeyUsagePurpose::DigitalSignature],
        is_ca: IsCa::ExplicitNoCa,
        ..authority("system:node:worker-3")
    }
}

/// A client certificate.
pub fn client(common_name: &str) -> Recipe {
    Recipe {
        common_name: common_name.to_owned(),
        organizations: Vec::new(),
        names: Vec::new(),
        extended: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..kubelet()
    }
}

/// A certificate with its key.
pub struct Made {
    /// It.
    pub certificate: Certificate,
    /// Its key.
    pub key: KeyPair,
    params: CertificateParams,
}

impl Recipe {
    /// Valid between these spans from [`NOW`].
    pub fn valid(mut self, from: Duration, to: Duration) -> Self {
        self.not_before = NOW + from;
        self.not_after = NOW + to;
        self
    }

    /// Signed by its own key.
    pub fn self_signed(self) -> Made {
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let params = self.params();
        let certificate = params.self_signed(&key).unwrap();
        Made {
            certificate,
            key,
            params,
        }
    }

    /// Signed by a CA.
    pub fn signed_by(self, authority: &Made) -> Made {
        let key = KeyPair::generate_for(self.algorithm).unwrap();
        let params = self.params();
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Made {
            certificate,
            key,
            params,
        }
    }

    fn params(self) -> CertificateParams {
        let names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for organization in self.organizations {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params
            .distinguished_name
            .push(DnType::CommonName, self.common_name);
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.extended_key_usages = self.extended;
        params.key_usages = self.usages;
        params.is_ca = self.is_ca;
        params.serial_number = Some(random_serial().unwrap());
        params.use_authority_key_identifier_extension = true;
        params
    }
}

impl Made {
    /// It, in DER.
    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// Trust in it.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        Arc::new(roots)
    }

    /// Its key for rustls.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// Both for rustls.
    pub fn certified(&self) -> Arc<CertifiedKey> {
        certified(vec![self.der()], self.private_key())
    }
}

/// A CA whose name has two organizations, as the certificate library cannot make it.
pub fn authority_of_two(organizations: [&str; 2]) -> (CertificateDer<'static>, Made) {
    let made = authority("ca").self_signed();
    let name = name::encode(&organizations.map(str::to_owned), "ca");
    let name = Some(name.as_slice());
    let renamed = name::rename(&made.der(), name, name, &made.key).unwrap();
    (renamed, made)
}

/// Pairs a chain with a key, be it its own or not.
pub fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Arc<CertifiedKey> {
    let key = provider::shared()
        .key_provider
        .load_private_key(key)
        .unwrap();
    Arc::new(CertifiedKey::new(chain, key))
}

/// The test time as a clock gives it.
pub fn now() -> SystemTime {
    NOW.into()
}
