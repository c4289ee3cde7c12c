//! TLS of a TCP listener: our certificate, and a client certificate that is required, or asked for.

use crate::tickets::Tickets;
use eyesplice_dataplane::seam::DownstreamTls;
use eyesplice_identity::pem::Credential;
use eyesplice_proto::tls::{Groups, provider};
use eyesplice_proto::tunnel::ALPN;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use std::sync::Arc;

/// Who connects to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// API servers. No ALPN: they offer none on their CONNECT.
    Egress,
    /// Agents of tunnels: TLS 1.3 alone, and the protocol has a name.
    Tunnel,
    /// Clients of the Kubernetes API, by HTTP/1.1.
    Front,
}

/// What clients of the Kubernetes API speak here; those that offer HTTP/2 offer this beside it.
const HTTP: &[u8] = b"http/1.1";

/// Builds the TLS server of a listener. Secrets can be extracted for the engine.
pub(super) fn tls_server(
    credential: &Credential,
    clients: Arc<dyn ClientCertVerifier>,
    purpose: Purpose,
    (tickets, groups): (&Tickets, Groups),
) -> Result<DownstreamTls, rustls::Error> {
    let certificate = SingleCertAndKey::from(Arc::clone(&credential.certified));
    let (versions, word): (&[_], _) = match purpose {
        Purpose::Egress => (&[&TLS13, &TLS12], "listener"),
        Purpose::Tunnel => (&[&TLS13], "tunnel"),
        Purpose::Front => (&[&TLS13, &TLS12], "front"),
    };
    let mut config = ServerConfig::builder_with_provider(provider::allowing(groups))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::clone(&clients))
        .with_cert_resolver(Arc::new(certificate));
    config.alpn_protocols = match purpose {
        Purpose::Egress => Vec::new(),
        Purpose::Tunnel => vec![ALPN.to_vec()],
        Purpose::Front => vec![HTTP.to_vec()],
    };
    tickets.apply(&mut config, &credential.certified, word);
    config.enable_secret_extraction = true;
    Ok(DownstreamTls {
        config: Arc::new(config),
        clients: Some(clients),
    })
}
