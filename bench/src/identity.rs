//! The certificates of a measurement, and TLS configurations with one cipher suite.
//!
//! Both ends of both legs show a certificate, as on the way from an API server to a kubelet. Tickets
//! and resumption are off, as in the gateway.

use crate::crypto::{self, Crypto};
use crate::pem::{certificates, private_key};
use crate::{Attempt, Result};
use clap::{Args, ValueEnum};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, IpAddr, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, ClientConfig, NamedGroup, RootCertStore, ServerConfig};
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const LEAF: &str = "leaf.crt";
const KEY: &str = "leaf.key";

/// Certificate and key in one file, as haproxy and hitch want it.
const BUNDLE: &str = "leaf.pem";

/// TLS 1.3 tickets that a server gives where it gives any: rustls' own default.
const TICKETS: usize = 2;

/// The one cipher suite of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Suite {
    /// TLS_AES_128_GCM_SHA256.
    #[default]
    Aes128,
    /// TLS_AES_256_GCM_SHA384.
    Aes256,
}

/// What TLS legs do beyond the least.
#[derive(Args, Clone, Copy, Debug)]
pub struct Manners {
    /// Neither demands a certificate of clients nor shows one to servers
    #[arg(long)]
    pub anonymous: bool,
    /// Gives clients tickets to resume with
    #[arg(long)]
    pub tickets: bool,
}

impl Manners {
    /// Certificates on both sides and no tickets: as on the way from an API server to a kubelet.
    pub const MUTUAL: Self = Self {
        anonymous: false,
        tickets: false,
    };
}

/// A directory with a CA and one leaf, for 127.0.0.1 and for both roles.
#[derive(Clone, Debug)]
pub struct Identity {
    directory: PathBuf,
    suite: Suite,
    crypto: Option<Crypto>,
    exchange: NamedGroup,
}

impl Identity {
    /// Makes new certificates in `directory`.
    ///
    /// # Errors
    /// If they cannot be made or written.
    pub fn create(directory: &Path, suite: Suite) -> Result<Self> {
        Self::create_for(directory, suite, &[])
    }

    /// The same, with more names and addresses in the leaf.
    pub(crate) fn create_for(directory: &Path, suite: Suite, more: &[String]) -> Result<Self> {
        let ca_key = KeyPair::generate()?;
        let mut ca = CertificateParams::new(Vec::new())?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        ca.distinguished_name.push(DnType::CommonName, "bench CA");
        let key = KeyPair::generate()?;
        let mut names = vec!["127.0.0.1".into(), "localhost".into()];
        names.extend_from_slice(more);
        let mut leaf = CertificateParams::new(names)?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        leaf.distinguished_name
            .push(DnType::OrganizationName, "system:nodes");
        leaf.distinguished_name
            .push(DnType::CommonName, "system:node:bench");
        let ca_certificate = ca.self_signed(&ca_key)?;
        let leaf = leaf.signed_by(&key, &Issuer::from_params(&ca, &ca_key))?;
        for (name, pem) in [
            (CA, ca_certificate.pem()),
            (CA_KEY, ca_key.serialize_pem()),
            (LEAF, leaf.pem()),
            (KEY, key.serialize_pem()),
            (BUNDLE, leaf.pem() + &key.serialize_pem()),
        ] {
            fs::write(directory.join(name), pem).attempt(format!("write {name}"))?;
        }
        Ok(Self::open(directory, suite))
    }

    /// Uses the certificates in `directory`.
    pub fn open(directory: &Path, suite: Suite) -> Self {
        Self {
            directory: directory.to_path_buf(),
            suite,
            crypto: None,
            exchange: NamedGroup::X25519,
        }
    }

    /// The same with another key exchange than X25519.
    pub fn exchanging(self, exchange: NamedGroup) -> Self {
        Self { exchange, ..self }
    }

    /// The same with other cryptography than the gateway's.
    pub(crate) fn with(self, crypto: Option<Crypto>) -> Self {
        Self { crypto, ..self }
    }

    /// A server that demands a client certificate of the CA.
    ///
    /// # Errors
    /// If the certificates cannot be read or used.
    pub fn server(&self) -> Result<Arc<ServerConfig>> {
        self.server_with(Manners::MUTUAL)
    }

    /// A server with other manners.
    pub(crate) fn server_with(&self, manners: Manners) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(self.provider());
        let clients = match manners.anonymous {
            true => WebPkiClientVerifier::no_client_auth(),
            false => WebPkiClientVerifier::builder_with_provider(
                Arc::new(self.roots()?),
                Arc::clone(&provider),
            )
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain()?, self.key()?)?;
        config.send_tls13_tickets = 0;
        if manners.tickets {
            config.send_tls13_tickets = TICKETS;
            config.ticketer = ring::Ticketer::new()?;
        }
        config.enable_secret_extraction = true;
        Ok(Arc::new(config))
    }

    /// A far end of the harness: takes clients with a certificate of the CA or with none, and gives
    /// tickets.
    ///
    /// # Errors
    /// If the certificates cannot be read or used.
    pub(crate) fn far_end(&self) -> Result<Arc<ServerConfig>> {
        let provider = Arc::new(self.provider());
        let clients = WebPkiClientVerifier::builder_with_provider(
            Arc::new(self.roots()?),
            Arc::clone(&provider),
        )
        .allow_unauthenticated()
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_client_cert_verifier(clients)
            .with_single_cert(self.chain()?, self.key()?)?;
        config.send_tls13_tickets = TICKETS;
        config.ticketer = ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }

    /// A client that shows its certificate and trusts the CA alone.
    ///
    /// # Errors
    /// If the certificates cannot be read or used.
    pub fn client(&self) -> Result<Arc<ClientConfig>> {
        self.client_with(Manners::MUTUAL)
    }

    /// A client with other manners.
    pub(crate) fn client_with(&self, manners: Manners) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(self.roots()?);
        let mut config = match manners.anonymous {
            true => builder.with_no_client_auth(),
            false => builder.with_client_auth_cert(self.chain()?, self.key()?)?,
        };
        config.resumption = Resumption::disabled();
        config.enable_secret_extraction = true;
        Ok(Arc::new(config))
    }

    /// The name that every server here has.
    pub fn name() -> ServerName<'static> {
        ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    /// The run's key exchange, and its cipher suite with that of TLS 1.2.
    pub(crate) fn provider(&self) -> CryptoProvider {
        let suites = match self.suite {
            Suite::Aes128 => [
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            ],
            Suite::Aes256 => [
                CipherSuite::TLS13_AES_256_GCM_SHA384,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            ],
        };
        let mut provider = crypto::provider(self.crypto);
        let wanted = |suite: &rustls::SupportedCipherSuite| suites.contains(&suite.suite());
        provider.cipher_suites.retain(wanted);
        provider
            .kx_groups
            .retain(|group| group.name() == self.exchange);
        provider
    }

    pub(crate) fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.directory.join(CA))? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }

    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        certificates(&self.directory.join(LEAF))
    }

    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>> {
        private_key(&self.directory.join(KEY))
    }
}
