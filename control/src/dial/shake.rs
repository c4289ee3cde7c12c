//! Dials one kubelet, and finds out by a TLS handshake whether the gateway would take it.

use super::report::Outcome;
use eyesplice_dataplane::seam::{PeerVerification, UpstreamTls};
use eyesplice_proto::causes::chain;
use rustls::{AlertDescription, Error};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Connects to the first address that answers, and validates what it presents.
pub(super) async fn shake(
    addresses: &[SocketAddr],
    tls: UpstreamTls,
    (dial, handshake): (Duration, Duration),
) -> Outcome {
    let unreached = |message| Outcome::Unreached { message };
    let stream = match timeout(dial, TcpStream::connect(addresses)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return unreached(undialled(addresses, &error)),
        Err(_) => {
            return unreached(format!(
                "{} did not answer within {dial:?}; check routes and firewalls between this host \
                 and the node",
                first(addresses)
            ));
        }
    };
    let connector = TlsConnector::from(tls.config);
    let connecting = connector.connect(tls.server_name, stream);
    let ended = timeout(handshake, connecting).await;
    if let Some(verification) = tls.verification.get() {
        if let Ok(Ok(mut stream)) = ended {
            // What was to be seen was seen; how it ends does not matter.
            let _ = stream.shutdown().await;
        }
        return judged(verification);
    }
    match ended {
        Err(_) => unreached(format!(
            "{} accepted the connection but did not finish TLS within {handshake:?}; is it a TLS \
             port?",
            first(addresses)
        )),
        Ok(Err(error)) => unreached(unshaken(addresses, &error)),
        // A handshake that ended well was judged.
        Ok(Ok(_)) => unreached(format!("{} was not validated", first(addresses))),
    }
}

fn judged(verification: &PeerVerification) -> Outcome {
    match verification {
        PeerVerification::Verified { identity } => Outcome::Verified {
            identity: identity.to_string(),
        },
        PeerVerification::Observed { cause, message, .. }
        | PeerVerification::Refused { cause, message } => Outcome::Refused {
            cause,
            message: message.to_string(),
        },
    }
}

fn undialled(addresses: &[SocketAddr], error: &io::Error) -> String {
    let target = first(addresses);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{target} refused the connection; is the kubelet listening on that port?")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("no route from this host to {target}; check routes and the node's state")
        }
        _ => format!("cannot connect to {target}: {error}"),
    }
}

/// Why there was no handshake. A kubelet with `serverTLSBootstrap` ends it with this alert until it
/// has its first certificate (Kubernetes 1.20 `pkg/kubelet/kubelet.go`).
fn unshaken(addresses: &[SocketAddr], error: &io::Error) -> String {
    let target = first(addresses);
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::AlertReceived(AlertDescription::InternalError)) => {
            format!("{target} has no serving certificate yet; approve its CSR (kubectl get csr)")
        }
        Some(error) => format!("TLS with {target} failed: {}", chain(error)),
        None => format!("TLS with {target} failed: {}", chain(error)),
    }
}

fn first(addresses: &[SocketAddr]) -> String {
    addresses
        .first()
        .map_or_else(|| "the node".into(), ToString::to_string)
}
