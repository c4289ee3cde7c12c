//! Makes certificates: the authorities of a cluster, and kubelets with every kind of wrong one.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use time::{Duration, OffsetDateTime};

/// The node that owns 127.0.0.1 in the tests' inventory.
pub const NODE: &str = "worker-3";

/// Common name of the API server's kubelet client certificate.
pub const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// Common name of the gateway's kubelet client certificate.
pub const GATEWAY: &str = "eyesplice-kubelet-client";

/// A CA.
#[derive(Debug)]
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Identity {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    spki: Vec<u8>,
    key: Vec<u8>,
    chain_pem: String,
    key_pem: String,
}

/// What a leaf says of itself.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// CN.
    pub common_name: String,
    /// O.
    pub organization: Option<String>,
    /// SANs: addresses and names.
    pub names: Vec<String>,
    /// Extended key usage.
    pub usage: ExtendedKeyUsagePurpose,
    /// Validity starts so long from now.
    pub from: Duration,
    /// Validity ends so long from now.
    pub until: Duration,
}

impl Leaf {
    /// A client's, by name.
    pub fn client(common_name: &str) -> Self {
        Self {
            common_name: common_name.into(),
            organization: None,
            names: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
            from: Duration::hours(-1),
            until: Duration::days(1),
        }
    }

    /// A server's, by its names.
    pub fn server(names: &[&str]) -> Self {
        Self {
            common_name: names.first().copied().unwrap_or_default().into(),
            names: names.iter().map(|name| (*name).into()).collect(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
            ..Self::client("")
        }
    }

    /// A kubelet's, of a node, at its addresses.
    pub fn kubelet(node: &str, names: &[&str]) -> Self {
        Self {
            common_name: format!("system:node:{node}"),
            organization: Some("system:nodes".into()),
            ..Self::server(names)
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::CommonName, self.common_name.as_str());
        if let Some(organization) = &self.organization {
            subject.push(DnType::OrganizationName, organization.as_str());
        }
        params.distinguished_name = subject;
        params.subject_alt_names = self
            .names
            .iter()
            .map(|name| alternative_name(name))
            .collect();
        params.extended_key_usages = vec![self.usage.clone()];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        let now = OffsetDateTime::now_utc();
        params.not_before = now + self.from;
        params.not_after = now + self.until;
        params.use_authority_key_identifier_extension = true;
        params
    }
}

fn alternative_name(name: &str) -> SanType {
    match name.parse() {
        Ok(ip) => SanType::IpAddress(ip),
        Err(_) => SanType::DnsName(name.try_into().unwrap()),
    }
}

impl Authority {
    /// Makes a root.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = OffsetDateTime::now_utc();
        params.not_before = now - Duration::hours(1);
        params.not_after = now + Duration::days(30);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            certificate: certificate.into(),
            params,
            key,
        }
    }

    /// Issues a leaf with a key of its own.
    pub fn issue(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = leaf.params().signed_by(&key, &issuer).unwrap();
        Identity::new(certificate, &key)
    }

    /// Trusts this CA alone.
    pub fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        Arc::new(roots)
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes the certificate, and the key beside it if there is a path for it.
    pub fn write(&self, certificate: &Path, key: Option<&Path>) {
        replace(certificate, &self.pem);
        if let Some(key) = key {
            replace(key, &self.key.serialize_pem());
        }
    }
}

impl Identity {
    fn new(certificate: rcgen::Certificate, key: &KeyPair) -> Self {
        Self {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.into()],
            spki: key.subject_public_key_info(),
            key: key.serialize_der(),
        }
    }

    /// Signs itself.
    pub fn self_signed(leaf: &Leaf) -> Self {
        let key = KeyPair::generate().unwrap();
        Self::new(leaf.params().self_signed(&key).unwrap(), &key)
    }

    /// Its SubjectPublicKeyInfo in DER, which pins are made of.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key for rustls.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// Writes certificate and key.
    pub fn write(&self, certificate: &Path, key: &Path) {
        replace(certificate, &self.chain_pem);
        replace(key, &self.key_pem);
    }
}

/// Writes a file as a whole: a reader sees the old or the new one.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

/// The authorities of a cluster, each for one purpose, and those whom everybody is.
#[derive(Debug)]
pub struct Pki {
    /// Signs kubelets' serving certificates.
    pub kubelets: Authority,
    /// Signs what nobody trusts.
    pub strangers: Authority,
    /// Signs the leaves that the API server sees.
    pub egress: Authority,
    /// Signs client certificates: of the API server and of the gateway.
    pub clients: Authority,
    /// Signs the gateway's own listener.
    pub listeners: Authority,
    /// The API server towards kubelets.
    pub api_server: Identity,
    /// The gateway towards kubelets.
    pub gateway: Identity,
    /// The gateway's listener.
    pub listener: Identity,
}

impl Pki {
    /// Makes all of them.
    pub fn new() -> Self {
        let clients = Authority::new("client-ca");
        let listeners = Authority::new("listener-ca");
        Self {
            kubelets: Authority::new("kubelet-serving-ca"),
            strangers: Authority::new("stranger-ca"),
            egress: Authority::new("egress-ca"),
            api_server: clients.issue(&Leaf::client(API_SERVER)),
            gateway: clients.issue(&Leaf::client(GATEWAY)),
            listener: listeners.issue(&Leaf::server(&["127.0.0.1"])),
            clients,
            listeners,
        }
    }
}

impl Default for Pki {
    fn default() -> Self {
        Self::new()
    }
}

/// The PKI of this test process.
pub fn pki() -> &'static Pki {
    static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);
    &PKI
}

/// What a kubelet presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// What it should.
    Good,
    /// A certificate of an unknown CA.
    WrongAuthority,
    /// Another address.
    WrongName,
    /// The certificate of another node, valid for this address.
    WrongNode,
    /// Its own.
    SelfSigned,
    /// One that ended.
    Expired,
    /// One that has not begun.
    NotYetValid,
    /// A client's.
    WrongUsage,
}

impl Presented {
    /// Every one that must be refused, with the label of its cause.
    pub const WRONG: [(Self, &'static str); 7] = [
        (Self::WrongAuthority, "unknown_issuer"),
        (Self::WrongName, "wrong_name"),
        (Self::WrongNode, "wrong_node"),
        (Self::SelfSigned, "self_signed"),
        (Self::Expired, "expired"),
        (Self::NotYetValid, "not_yet_valid"),
        (Self::WrongUsage, "wrong_key_usage"),
    ];

    /// Makes it.
    pub fn identity(self, pki: &Pki) -> Identity {
        let good = Leaf::kubelet(NODE, &["127.0.0.1", NODE]);
        let kubelets = &pki.kubelets;
        match self {
            Self::Good => kubelets.issue(&good),
            Self::WrongAuthority => pki.strangers.issue(&good),
            Self::WrongName => kubelets.issue(&Leaf::kubelet(NODE, &["10.9.8.7"])),
            Self::WrongNode => kubelets.issue(&Leaf::kubelet("worker-4", &["127.0.0.1"])),
            Self::SelfSigned => Identity::self_signed(&good),
            Self::Expired => kubelets.issue(&Leaf {
                from: Duration::days(-2),
                until: Duration::days(-1),
                ..good
            }),
            Self::NotYetValid => kubelets.issue(&Leaf {
                from: Duration::days(1),
                until: Duration::days(2),
                ..good
            }),
            Self::WrongUsage => kubelets.issue(&Leaf {
                usage: ExtendedKeyUsagePurpose::ClientAuth,
                ..good
            }),
        }
    }
}
