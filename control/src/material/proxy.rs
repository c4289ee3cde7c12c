//! TLS towards the proxies that rules name, and towards other gateways.

use super::MaterialError;
use super::loader::Loader;
use crate::config::{Config, ProxySpec, ProxyTlsFiles, Via};
use eyesplice_dataplane::seam::{ProxyAddress, ProxyTls};
use eyesplice_identity::https::tls_client;
use eyesplice_identity::pem::Role;
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::{Groups, provider};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// Sessions with one proxy that can be resumed: each stream is a connection.
const SESSIONS: usize = 256;

impl Loader<'_> {
    /// How to speak TLS to the proxy of each rule that has one, by index.
    pub(super) fn proxies(&mut self, config: &Config) -> Vec<Option<ProxyTls>> {
        let of = |rule: &crate::config::Rule| match &rule.via {
            Via::Proxy(proxy) => Some(Arc::clone(proxy)),
            Via::Direct | Via::Tunnel => None,
        };
        let proxies: Vec<_> = config.egress.rules.iter().map(of).collect();
        proxies
            .into_iter()
            .map(|proxy| self.proxy(&*proxy?, config.tls.groups))
            .collect()
    }

    /// How to speak TLS to other gateways.
    pub(super) fn peers(&mut self, config: &Config) -> Option<Arc<ClientConfig>> {
        let tls = config.peers()?.tls.as_ref()?;
        let roots = self.bundle(&tls.ca_file);
        let client = self.credential(&tls.cert_file, &tls.key_file, Role::Client);
        let built = extractable(Some(client?.certified), roots?.roots, config.tls.groups);
        let built = built.map_err(|error| MaterialError::Tls(tls.ca_file.clone(), error));
        self.keep(built).map(Arc::new)
    }

    fn proxy(&mut self, proxy: &ProxySpec, groups: Groups) -> Option<ProxyTls> {
        let ProxyAddress::Tcp(addresses) = &proxy.at else {
            return None;
        };
        let address = addresses.first()?.ip();
        self.tls_of_proxy(address.into(), proxy.tls.as_ref()?, groups)
    }

    /// How to speak TLS to a proxy at an address.
    pub(super) fn tls_of_proxy(
        &mut self,
        address: ServerName<'static>,
        files: &ProxyTlsFiles,
        groups: Groups,
    ) -> Option<ProxyTls> {
        let ProxyTlsFiles {
            ca_file,
            client,
            server_name,
        } = files;
        let roots = self.bundle(ca_file)?.roots;
        let client = match client {
            None => None,
            Some((cert, key)) => Some(self.credential(cert, key, Role::Client)?),
        };
        let certified = client.map(|client| client.certified);
        let tls = extractable(certified, roots, groups);
        let config = self.keep(tls.map_err(|error| MaterialError::Tls(ca_file.clone(), error)))?;
        Some(ProxyTls {
            config: Arc::new(config),
            server_name: name(address, server_name.as_ref())?,
        })
    }
}

/// The name that the proxy's certificate must have: what is configured, or its address.
fn name(address: ServerName<'static>, server_name: Option<&Host>) -> Option<ServerName<'static>> {
    match server_name {
        Some(Host::Ip(ip)) => Some(ServerName::from(*ip)),
        Some(Host::Name(name)) => ServerName::try_from(name.to_string()).ok(),
        None => Some(address),
    }
}

/// Builds a TLS client whose secrets can be extracted for the engine.
pub(super) fn extractable(
    client: Option<Arc<CertifiedKey>>,
    roots: Arc<RootCertStore>,
    groups: Groups,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = tls_client(provider::allowing(groups), roots, client)?;
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.enable_secret_extraction = true;
    Ok(config)
}
