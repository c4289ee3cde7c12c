//! Asks an API server for its certificate, and verifies it as a client would.

use super::flaw::Flaw;
use crate::verify::{Expected, TargetTrust, Trust, UpstreamSpec, upstream_tls};
use eyesplice_dataplane::seam::PeerVerification;
use eyesplice_proto::target::Host;
use hyper::Uri;
use rustls::{ClientConnection, RootCertStore};
use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

/// For the connection, and for each wait of the handshake.
const TIMEOUT: Duration = Duration::from_secs(5);

/// An API server, and whom to trust for it.
#[derive(Debug)]
pub struct Target {
    host: Host,
    port: u16,
    server_name: Option<Host>,
    roots: Arc<RootCertStore>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) if ip.is_ipv6() => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

impl Target {
    pub(super) fn new(
        uri: &Uri,
        server_name: Option<&str>,
        roots: Arc<RootCertStore>,
    ) -> Option<Self> {
        let server_name = server_name.map(str::parse).transpose().ok()?;
        Some(Self {
            host: uri.host()?.parse().ok()?,
            port: uri.port_u16().unwrap_or(443),
            server_name,
            roots,
        })
    }
}

/// Does the TLS handshake with an API server, without a credential.
///
/// # Errors
/// It cannot be reached, or shows a certificate that does not pass.
pub fn connect(target: &Target) -> Result<(), Flaw> {
    let trust = Trust::targets(TargetTrust {
        roots: Some(Arc::clone(&target.roots)),
        pins: Arc::new([]),
    });
    let trust = trust.map_err(|error| Flaw::ServerCertificate(error.to_string()))?;
    let expected = Expected::target(
        target.host.clone(),
        target.port,
        Arc::new([]),
        target.server_name.clone(),
    );
    let tls = upstream_tls(UpstreamSpec {
        trust: Arc::new(trust),
        expected,
        client: None,
    });
    let tls = tls.map_err(|error| Flaw::ServerCertificate(error.to_string()))?;
    let unreachable = |error| Flaw::Unreachable(target.to_string(), error);
    let mut socket = dial(target).map_err(unreachable)?;
    let session = ClientConnection::new(tls.config, tls.server_name);
    let mut session = session.map_err(|error| Flaw::ServerCertificate(error.to_string()))?;
    while session.is_handshaking() {
        if let Err(error) = session.complete_io(&mut socket) {
            return Err(match tls.verification.get() {
                Some(PeerVerification::Refused { cause, message }) => {
                    Flaw::ServerCertificate(explain(target, cause, message))
                }
                _ => unreachable(error),
            });
        }
    }
    Ok(())
}

/// Says what a kubeconfig can do about it; the verifier's own remedies are for gateways.
fn explain(target: &Target, cause: &str, message: &str) -> String {
    match cause {
        "unknown_issuer" | "self_signed" | "bad_signature" => format!(
            "the CA of this kubeconfig did not sign what {target} shows; replace it by the cluster's"
        ),
        "wrong_name" => format!(
            "the certificate of {target} does not cover that name; dial one that it covers, or set \
             tls-server-name"
        ),
        _ => message.to_owned(),
    }
}

fn dial(target: &Target) -> io::Result<TcpStream> {
    let host = match &target.host {
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => name.as_str().to_owned(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host.as_str(), target.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(socket) => {
                socket.set_read_timeout(Some(TIMEOUT))?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
