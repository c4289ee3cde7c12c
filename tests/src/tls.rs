//! TLS configurations of the fakes.

use crate::pki::{Authority, Identity};
use eyesplice_proto::tls::{Groups, provider};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use std::sync::Arc;

/// A server that demands a client certificate of `clients`, as a kubelet does; no ALPN, like those
/// since 1.36, and two session tickets after the handshake.
pub fn server(
    identity: &Identity,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
) -> ServerConfig {
    server_allowing(identity, clients, version, Groups::default())
}

/// The same with these key exchange groups alone.
pub fn server_allowing(
    identity: &Identity,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
    groups: Groups,
) -> ServerConfig {
    let provider = provider::allowing(groups);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(clients.roots(), Arc::clone(&provider))
            .build()
            .unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key())
        .unwrap()
}

/// A server that takes client certificates of `clients`, and clients without any: an API server.
pub fn open_server(
    identity: &Identity,
    clients: &Authority,
    version: &'static SupportedProtocolVersion,
) -> ServerConfig {
    let provider = provider::shared();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(clients.roots(), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key())
        .unwrap()
}

/// A client that trusts `servers`, and presents `identity` if it has one.
pub fn client(
    identity: Option<&Identity>,
    servers: &Authority,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    client_of(&provider::shared(), identity, servers, version)
}

/// The same with cryptography of choice.
pub fn client_of(
    provider: &Arc<CryptoProvider>,
    identity: Option<&Identity>,
    servers: &Authority,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(servers.roots());
    let mut config = match identity {
        Some(identity) => builder
            .with_client_auth_cert(identity.chain.clone(), identity.key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}
