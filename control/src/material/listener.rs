//! TLS of a TCP listener: our certificate, and a client certificate that is required.

use crate::tickets::Tickets;
use eyesplice_dataplane::seam::DownstreamTls;
use eyesplice_identity::pem::Credential;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// Builds the TLS server of a listener.
///
/// No ALPN: the API server offers none on its CONNECT. Secrets can be extracted for the engine.
pub(super) fn tls_server(
    credential: &Credential,
    clients: Arc<dyn ClientCertVerifier>,
    tickets: &Tickets,
) -> Result<DownstreamTls, rustls::Error> {
    let provider = Arc::new(default_provider());
    let certificate = SingleCertAndKey::from(Arc::clone(&credential.certified));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(Arc::clone(&clients))
        .with_cert_resolver(Arc::new(certificate));
    tickets.apply(&mut config, &credential.certified, "listener");
    config.enable_secret_extraction = true;
    Ok(DownstreamTls {
        config: Arc::new(config),
        clients: Some(clients),
    })
}
