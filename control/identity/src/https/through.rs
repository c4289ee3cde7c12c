//! Asks an HTTPS server through an HTTP CONNECT proxy, and tells apart what the proxy says of the
//! server from what befalls the proxy itself.
//!
//! TLS with the server is inside of TLS with the proxy: the proxy can keep the server from
//! answering, and answer for it no more than anybody else on the way.

use super::{HttpsClient, HttpsError, Question, Reply, exchange};
use eyesplice_proto::connect::{PROXY_STATUS, Unreached, parse_answer, write_connect};
use eyesplice_proto::head::ResponseHead;
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_proto::target::{Host, Target};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Bytes of an answer to a CONNECT.
const MAX_ANSWER: usize = 16 << 10;

/// A proxy, and whom it must be.
#[derive(Clone, Debug)]
pub struct ConnectProxy {
    /// Where.
    pub address: SocketAddr,
    /// Judges its certificate, and presents ours if it has one.
    pub tls: Arc<ClientConfig>,
    /// The name in its certificate.
    pub server_name: ServerName<'static>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum ThroughError {
    /// The proxy cannot be asked, or its answer is none.
    #[error("the proxy at {0} cannot be asked")]
    Proxy(SocketAddr, #[source] io::Error),
    /// The proxy says that it cannot reach the server.
    #[error("the proxy at {0} cannot reach it ({1})")]
    Unreached(SocketAddr, u16),
    /// The proxy does not say so, and gives no way to it.
    #[error("the proxy at {0} refused with status {1}")]
    Refused(SocketAddr, u16),
    /// There is a way to it, and no answer comes back.
    #[error("the proxy at {0} reaches it, but it cannot be asked")]
    Inside(SocketAddr, #[source] HttpsError),
}

impl HttpsClient {
    /// Asks through a proxy, on a connection of its own. There is no deadline here.
    ///
    /// # Errors
    /// There is no answer. A status is no error.
    pub async fn ask_through(
        &self,
        proxy: &ConnectProxy,
        question: Question<'_>,
    ) -> Result<Reply, ThroughError> {
        let inside = |error| ThroughError::Inside(proxy.address, error);
        let limit = question.limit;
        let request = self.request(question).map_err(inside)?;
        let host: Host = self.endpoint.host.parse().map_err(|_| {
            let error = io::Error::other("the server's host is neither a name nor an address");
            ThroughError::Proxy(proxy.address, error)
        })?;
        let target = Target {
            host,
            port: self.endpoint.port,
        };
        let opened = open(proxy, &target).await;
        let (stream, head) = opened.map_err(|error| ThroughError::Proxy(proxy.address, error))?;
        if !(200..300).contains(&head.status) {
            return Err(refused(proxy, &head));
        }
        let stream = self.secure(stream).await.map_err(inside)?;
        exchange(stream, request, limit).await.map_err(inside)
    }
}

/// A proxy that is busy, or that may not, says nothing of the server.
fn refused(proxy: &ConnectProxy, head: &ResponseHead) -> ThroughError {
    let unreached = match head.headers.first(PROXY_STATUS) {
        Some(value) => Unreached::read(value.as_bytes()).is_some(),
        // What gateways answer for others; 503 is one's own trouble.
        None => matches!(head.status, 502 | 504),
    };
    match unreached {
        true => ThroughError::Unreached(proxy.address, head.status),
        false => ThroughError::Refused(proxy.address, head.status),
    }
}

/// Asks the proxy for a target.
async fn open(
    proxy: &ConnectProxy,
    target: &Target,
) -> io::Result<(TlsStream<TcpStream>, ResponseHead)> {
    let stream = TcpStream::connect(proxy.address).await?;
    let connector = TlsConnector::from(Arc::clone(&proxy.tls));
    let mut stream = connector.connect(proxy.server_name.clone(), stream).await?;
    let mut asked = Vec::new();
    write_connect(target, None, &mut asked);
    stream.write_all(&asked).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    let mut progress = Progress::default();
    loop {
        match parse_answer(&answer, &mut progress) {
            // A server speaks TLS, in which the client is first.
            Ok(Parsed::Complete { consumed, .. }) if consumed < answer.len() => {
                return Err(io::Error::other("the proxy sent bytes behind its answer"));
            }
            Ok(Parsed::Complete { head, .. }) => return Ok((stream, head)),
            Ok(Parsed::Incomplete) if answer.len() < MAX_ANSWER => {}
            Ok(Parsed::Incomplete) => return Err(io::Error::other("its answer has no end")),
            Err(error) => return Err(io::Error::other(error)),
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
