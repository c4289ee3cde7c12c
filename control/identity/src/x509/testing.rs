//! Certificate requests for tests, good ones and hostile ones.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use crate::pem::encode_block;
use rcgen::{
    Attribute, CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use std::net::IpAddr;

/// What a request shall ask for.
pub struct Ask {
    /// The attributes of the subject.
    pub subject: Vec<(DnType, String)>,
    /// Alternative names.
    pub names: Vec<SanType>,
    /// Other extensions.
    pub extensions: Vec<CustomExtension>,
    /// Other attributes of the request.
    pub attributes: Vec<Attribute>,
}

/// What kubelet `node` asks for as a client.
pub fn kubelet_client(node: &str) -> Ask {
    Ask {
        subject: vec![
            (DnType::OrganizationName, "system:nodes".to_owned()),
            (DnType::CommonName, format!("system:node:{node}")),
        ],
        names: Vec::new(),
        extensions: Vec::new(),
        attributes: Vec::new(),
    }
}

/// What kubelet `node` asks for as a server.
pub fn kubelet_serving(node: &str, names: Vec<SanType>) -> Ask {
    Ask {
        names,
        ..kubelet_client(node)
    }
}

/// What gateway `name` asks for; without names, as a client.
pub fn gateway(name: &str, names: Vec<SanType>) -> Ask {
    Ask {
        subject: vec![
            (DnType::OrganizationName, "eyesplice:gateways".to_owned()),
            (DnType::CommonName, format!("eyesplice:gateway:{name}")),
        ],
        names,
        ..kubelet_client("")
    }
}

/// What agent `name` asks for.
pub fn agent(name: &str) -> Ask {
    Ask {
        subject: vec![
            (DnType::OrganizationName, "eyesplice:agents".to_owned()),
            (DnType::CommonName, format!("eyesplice:agent:{name}")),
        ],
        ..kubelet_client("")
    }
}

/// An alternative name.
pub fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// An alternative name.
pub fn ip(ip: &str) -> SanType {
    SanType::IpAddress(ip.parse::<IpAddr>().unwrap())
}

impl Ask {
    /// DER, signed by a fresh key.
    pub fn der(self) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in self.subject {
            params.distinguished_name.push(kind, value);
        }
        params.subject_alt_names = self.names;
        params.custom_extensions = self.extensions;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let request = params
            .serialize_request_with_attributes(&key, self.attributes)
            .unwrap();
        request.der().to_vec()
    }

    /// PEM, signed by a fresh key.
    pub fn pem(self) -> Vec<u8> {
        pem(&self.der())
    }
}

/// Wraps DER into PEM.
pub fn pem(der: &[u8]) -> Vec<u8> {
    encode_block("CERTIFICATE REQUEST", der).as_bytes().to_vec()
}
