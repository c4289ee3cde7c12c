//! Dials one address, and sees who answers there by TLS.
//!
//! A kubelet with `serverTLSBootstrap` listens from its start. Until it has its first serving
//! certificate its handshakes end in the alert `internal_error` (Go's `tls.Config.GetCertificate` fails
//! with "no serving certificate available for the kubelet"; Kubernetes 1.20 `pkg/kubelet/kubelet.go`);
//! later it presents the certificate that it has. No request is sent, no client certificate is shown.

use super::super::approve::Answer;
use eyesplice_identity::certificate::{CertificateFacts, printable};
use eyesplice_identity::pem::Role;
use eyesplice_identity::verify::AnyServer;
use eyesplice_identity::verify::chain::chain;
use eyesplice_proto::causes::chain as causes;
use eyesplice_proto::tls::provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, Error};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use webpki::{EndEntityCert, anchor_from_trusted_cert};

/// What the names of nodes' users begin with.
const NODE_PREFIX: &str = eyesplice_identity::x509::NODE_PREFIX;
const NODES: &str = "system:nodes";

/// A foreign subject within a message.
const MAX_SUBJECT: usize = 72;

/// Dials an address; `ca` is that of the signer that the CSR is for.
pub(super) async fn probe(
    address: SocketAddr,
    deadline: Duration,
    ca: Option<&CertificateDer<'static>>,
    now: UnixTime,
) -> Answer {
    match timeout(deadline, handshake(address)).await {
        Err(_) => Answer::Nobody(format!("no answer within {deadline:?}")),
        Ok(Err(error)) => refused(&error),
        Ok(Ok(presented)) => judge(&presented, ca, now),
    }
}

/// Gives what a TLS server presented, whoever it is; that it has the key was verified.
async fn handshake(address: SocketAddr) -> io::Result<Vec<CertificateDer<'static>>> {
    let tcp = TcpStream::connect(address).await?;
    let config = ClientConfig::builder_with_provider(provider::shared())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_no_client_auth();
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await?;
    let presented = stream.get_ref().1.peer_certificates();
    let presented = presented.unwrap_or_default().to_vec();
    // What was to be seen was seen; how it ends does not matter.
    let _ = stream.shutdown().await;
    Ok(presented)
}

/// Why there was no handshake: an alert is an answer by TLS, too.
fn refused(error: &io::Error) -> Answer {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::AlertReceived(AlertDescription::InternalError)) => Answer::Bare,
        Some(Error::AlertReceived(alert)) => Answer::Alert(format!("{alert:?}")),
        Some(error) => Answer::Nobody(format!("no TLS: {}", causes(error))),
        None => Answer::Nobody(causes(error)),
    }
}

/// Says whose certificate it is. One that has expired is still its node's: that node asks for the next.
fn judge(
    presented: &[CertificateDer<'_>],
    ca: Option<&CertificateDer<'static>>,
    now: UnixTime,
) -> Answer {
    let Some((leaf, intermediates)) = presented.split_first() else {
        return Answer::Stranger("no certificate".to_owned());
    };
    let Ok(facts) = CertificateFacts::read(leaf) else {
        return Answer::Stranger("an unreadable certificate".to_owned());
    };
    let subject = || Answer::Stranger(printable(&facts.subject.to_string(), MAX_SUBJECT));
    let anchor = ca.and_then(|ca| anchor_from_trusted_cert(ca).ok());
    let (Some(anchor), Ok(certificate)) = (anchor, EndEntityCert::try_from(leaf)) else {
        return subject();
    };
    let at = within(now, &facts);
    let anchors = [anchor];
    if chain(
        &anchors,
        &certificate,
        intermediates,
        at,
        Role::Server,
        &facts,
    )
    .is_err()
    {
        return subject();
    }
    let name = facts.subject.common_name.as_deref();
    match name.and_then(|name| name.strip_prefix(NODE_PREFIX)) {
        Some(node) if facts.subject.organizations == [NODES] => Answer::Node(node.to_owned()),
        _ => subject(),
    }
}

/// The moment within the life of a certificate that is nearest to now.
fn within(now: UnixTime, facts: &CertificateFacts) -> UnixTime {
    let seconds = |at: time::OffsetDateTime| u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let (first, last) = (seconds(facts.not_before), seconds(facts.not_after));
    let at = now.as_secs().min(last).max(first);
    UnixTime::since_unix_epoch(Duration::from_secs(at))
}

#[cfg(test)]
mod tests;
