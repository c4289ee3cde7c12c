//! The options that describe a route, on the command line and in scenarios.

use super::Via;
use crate::crypto::Group;
use crate::identity::Identity;
use crate::pem::{certificates, private_key};
use crate::{Error, Result};
use clap::{Args, ValueEnum};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A protocol that a stream changes to, with HTTP's Upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upgrade {
    /// SPDY/3.1, as kubectl asks for it; what follows the 101 is the harness's own.
    Spdy,
    /// WebSocket with v5.channel.k8s.io; what follows the 101 is the harness's own.
    Websocket,
}

/// How to reach the far end.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RouteOptions {
    /// What to dial: direct, tcp:HOST:PORT, unix:PATH, connect-tcp:HOST:PORT, connect-tls:HOST:PORT
    /// (mutual TLS), connect-unix:PATH, kubectl-exec:NAMESPACE/POD[/CONTAINER], kubectl-logs:... as well, or
    /// kubectl-port-forward:NAMESPACE/POD/PORT
    #[arg(long, default_value = "direct", value_name = "WAY")]
    pub via: String,
    /// Speaks TLS with the far end, or with the proxy that ends it
    #[arg(long)]
    pub tls: bool,
    /// Resumes TLS sessions where the server gives tickets
    #[arg(long, requires = "tls")]
    pub resume: bool,
    /// Agrees on keys with this group alone; a far end in this process agrees with it too
    /// [default: x25519]
    #[arg(long, value_enum, requires = "tls")]
    pub group: Option<Group>,
    /// Changes protocol before the work begins, as kubectl does
    #[arg(long)]
    pub upgrade: Option<Upgrade>,
    /// CAs to trust, PEM [default: the generated one]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Certificate to show, with its chain, PEM [default: the generated one]
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Name that the certificate must have [default: what is dialled or asked for]
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// CAs to trust for connect-tls [default: as --ca]
    #[arg(long, value_name = "FILE")]
    pub via_ca: Option<PathBuf>,
    /// Certificate to show to connect-tls [default: as --cert]
    #[arg(long, value_name = "FILE", requires = "via_key")]
    pub via_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "via_cert")]
    pub via_key: Option<PathBuf>,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            via: "direct".into(),
            tls: false,
            resume: false,
            group: None,
            upgrade: None,
            ca: None,
            cert: None,
            key: None,
            server_name: None,
            via_ca: None,
            via_cert: None,
            via_key: None,
        }
    }
}

impl RouteOptions {
    /// What is dialled.
    pub(crate) fn via(&self) -> Result<Via> {
        self.via.parse()
    }

    pub(super) fn server_name(&self, authority: &str) -> Result<ServerName<'static>> {
        match &self.server_name {
            Some(name) => server_name(name),
            None => name_of(authority),
        }
    }

    pub(super) fn inner_config(&self, identity: &Identity) -> Result<Arc<ClientConfig>> {
        let group = self.group.unwrap_or_default();
        let mut config = config(
            &identity.clone().exchanging(group.into()),
            self.ca.as_deref(),
            self.cert.as_deref().zip(self.key.as_deref()),
        )?;
        config.resumption = if self.resume {
            Resumption::in_memory_sessions(SESSIONS)
        } else {
            Resumption::disabled()
        };
        Ok(Arc::new(config))
    }

    pub(super) fn outer_config(&self, identity: &Identity) -> Result<Arc<ClientConfig>> {
        let ca = self.via_ca.as_deref().or(self.ca.as_deref());
        let shown = self.via_cert.as_deref().zip(self.via_key.as_deref());
        let shown = shown.or(self.cert.as_deref().zip(self.key.as_deref()));
        let mut config = config(identity, ca, shown)?;
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Sessions that a client keeps for resumption: there is one server.
const SESSIONS: usize = 32;

fn config(
    identity: &Identity,
    ca: Option<&Path>,
    shown: Option<(&Path, &Path)>,
) -> Result<ClientConfig> {
    let roots = match ca {
        Some(file) => roots(file)?,
        None => identity.roots()?,
    };
    let (chain, key) = match shown {
        Some((cert, key)) => (certificates(cert)?, private_key(key)?),
        None => (identity.chain()?, identity.key()?),
    };
    Ok(
        ClientConfig::builder_with_provider(Arc::new(identity.provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?,
    )
}

fn roots(file: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

/// The name in `HOST:PORT`.
pub(super) fn name_of(authority: &str) -> Result<ServerName<'static>> {
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    server_name(host.trim_start_matches('[').trim_end_matches(']'))
}

fn server_name(name: &str) -> Result<ServerName<'static>> {
    ServerName::try_from(name.to_string())
        .map_err(|_| Error::Unfit(format!("{name:?} is no server name; give --server-name")))
}
