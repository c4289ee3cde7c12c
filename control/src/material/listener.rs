//! TLS of a TCP listener: our certificate, and a client certificate that is required.

use crate::pem::Credential;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// Builds the TLS server of a listener.
///
/// No ALPN: the API server offers none on its CONNECT. No session is resumed and no ticket sent:
/// a ticket that the peer never reads turns its close into a reset, and a resumed session would
/// outlive a client CA that was taken away. Secrets can be extracted for kernel TLS.
pub(super) fn server_config(
    credential: &Credential,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(default_provider());
    let certificate = SingleCertAndKey::from(Arc::clone(&credential.certified));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(certificate));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.enable_secret_extraction = true;
    Ok(config)
}
