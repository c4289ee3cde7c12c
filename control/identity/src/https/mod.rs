//! Asks an HTTPS server one thing at a time, each on a connection of its own.
//!
//! Who asks seldom gains nothing from a pool, and shares nothing between questions. Who asks for
//! each stream keeps some connections.

mod endpoint;
mod pool;
mod through;

pub use endpoint::{Endpoint, EndpointError};
pub use through::{ConnectProxy, ThroughError};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pool::Pool;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// A server, whom it must be, and the certificate that we present.
#[derive(Clone, Debug)]
pub struct HttpsClient {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    pool: Option<Arc<Pool>>,
}

/// Builds TLS towards servers that `roots` vouch for, where we have the certificate `own`, or none.
///
/// # Errors
/// The provider lacks what TLS 1.2 and 1.3 need.
pub fn tls_client(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    own: Option<Arc<CertifiedKey>>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
        None => builder.with_no_client_auth(),
    })
}

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: &'a str,
    /// JSON, or nothing.
    pub body: Vec<u8>,
    /// A bearer token.
    pub bearer: Option<&'a str>,
    /// The longest answer that is read, in bytes.
    pub limit: usize,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The server's clock, as it says it.
    pub date: Option<String>,
    /// The body; none if it was cut, or longer than the limit.
    pub body: Option<Bytes>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The question cannot be put into HTTP.
    #[error("a request to {0} cannot be made")]
    Question(String),
    /// The server cannot be reached.
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    /// The server is not whom it must be, or refuses us.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("the HTTP exchange failed")]
    Http(#[source] hyper::Error),
}

impl HttpsClient {
    /// Asks the server at `endpoint`, whose certificate `tls` judges.
    pub fn new(endpoint: Endpoint, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            endpoint,
            tls: Arc::new(tls),
            pool: None,
        }
    }

    /// The same, for questions that may be asked twice: keeps so many connections for the next
    /// ones, which may turn out to have been closed.
    #[must_use]
    pub fn keeping(self, connections: usize) -> Self {
        Self {
            pool: Some(Arc::new(Pool::new(connections))),
            ..self
        }
    }

    /// Names the server.
    pub fn server(&self) -> String {
        self.endpoint.to_string()
    }

    /// Asks. There is no deadline here.
    ///
    /// # Errors
    /// There is no connection, or no answer on it. A status is no error.
    pub async fn ask(&self, question: Question<'_>) -> Result<Reply, HttpsError> {
        let limit = question.limit;
        let request = self.request(question)?;
        if let Some(pool) = &self.pool {
            return pool.ask(request, limit, || self.kept()).await;
        }
        exchange(self.connect().await?, request, limit).await
    }

    /// Connects for several questions: a task drives the connection until it is dropped or closed.
    async fn kept(&self) -> Result<SendRequest<Full<Bytes>>, HttpsError> {
        let stream = self.connect().await?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(HttpsError::Http)?;
        // How it ends, the question hears that is on it.
        tokio::spawn(async { drop(connection.await) });
        Ok(sender)
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, HttpsError> {
        let address = (self.endpoint.host.as_str(), self.endpoint.port);
        let stream = TcpStream::connect(address).await;
        self.secure(stream.map_err(HttpsError::Connect)?).await
    }

    async fn secure<S: Stream>(&self, stream: S) -> Result<TlsStream<S>, HttpsError> {
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let name = self.endpoint.server_name.clone();
        let stream = connector.connect(name, stream).await;
        stream.map_err(HttpsError::Tls)
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Full<Bytes>>, HttpsError> {
        request(&self.server(), question)
    }
}

/// What bytes pass.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Asks `server` one thing over a connection that was made elsewhere, and ends it. There is no
/// deadline here.
///
/// # Errors
/// There is no answer. A status is no error.
pub async fn ask_over<S: Stream>(
    stream: S,
    server: &str,
    question: Question<'_>,
) -> Result<Reply, HttpsError> {
    let limit = question.limit;
    exchange(stream, request(server, question)?, limit).await
}

fn request(server: &str, question: Question<'_>) -> Result<Request<Full<Bytes>>, HttpsError> {
    let json = HeaderValue::from_static("application/json");
    let request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(HOST, server)
        .header(ACCEPT, &json)
        .header(CONTENT_TYPE, json)
        .body(Full::new(Bytes::from(question.body)));
    let unfit = || HttpsError::Question(server.to_owned());
    let mut request = request.map_err(|_| unfit())?;
    if let Some(token) = question.bearer {
        let header = Zeroizing::new(format!("Bearer {token}"));
        let mut header = HeaderValue::from_str(&header).map_err(|_| unfit())?;
        header.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, header);
    }
    Ok(request)
}

/// Makes a connection that is driven by this task alone, and ends with it. However it ends, what
/// came before counts; if that is no reply, its error says more than that of the request.
async fn exchange<S: Stream>(
    stream: S,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Reply, HttpsError> {
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(HttpsError::Http)?;
    let exchange = answer(&mut sender, request, limit);
    tokio::pin!(exchange);
    tokio::select! {
        reply = &mut exchange => reply,
        ended = connection => match (exchange.await, ended) {
            (Err(_), Err(error)) => Err(HttpsError::Http(error)),
            (reply, _) => reply,
        },
    }
}

/// Sends a request on a connection that somebody drives, and reads the answer.
async fn answer(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Reply, HttpsError> {
    let sent = sender.send_request(request).await;
    let (head, body) = sent.map_err(HttpsError::Http)?.into_parts();
    let body = Limited::new(body, limit).collect().await;
    let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
    Ok(Reply {
        status: head.status,
        date: date.map(str::to_owned),
        body: body.ok().map(http_body_util::Collected::to_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::{authority, kubelet};
    use eyesplice_proto::tls::provider;
    use rustls::ServerConfig;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    const ROUNDS: usize = 40;

    /// Answers each question with these bytes, and closes without a close_notify.
    async fn abrupt(answer: &'static [u8]) -> HttpsClient {
        let ca = authority("ca").self_signed();
        let mut recipe = kubelet();
        recipe.names = vec!["127.0.0.1"];
        let pair = SingleCertAndKey::from(recipe.signed_by(&ca).certified());
        let config = ServerConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(pair));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let _ = stream.read(&mut [0; 4096]).await.unwrap();
                stream.write_all(answer).await.unwrap();
                stream.flush().await.unwrap();
            }
        });
        let mut roots = RootCertStore::empty();
        roots.add(ca.der()).unwrap();
        let tls = ClientConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        HttpsClient::new(endpoint.parse().unwrap(), tls)
    }

    fn question() -> Question<'static> {
        Question {
            method: Method::GET,
            path: "/",
            body: Vec::new(),
            bearer: None,
            limit: 16,
        }
    }

    #[tokio::test]
    async fn whole_answer_counts_however_the_connection_ends_behind_it() {
        let client = abrupt(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        for round in 0..ROUNDS {
            let reply = client.ask(question()).await.unwrap();
            assert_eq!(reply.body.as_deref(), Some(&b"{}"[..]), "{round}");
        }
    }

    #[tokio::test]
    async fn answer_that_is_cut_or_too_long_has_a_status_and_no_body() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n01234567890123456",
        ] {
            let client = abrupt(answer).await;
            let reply = client.ask(question()).await.unwrap();
            assert_eq!((reply.status, reply.body), (StatusCode::OK, None));
        }
        let client = abrupt(b"HTTP/1.1 200").await;
        let error = client.ask(question()).await.unwrap_err();
        assert!(matches!(error, HttpsError::Http(_)), "{error:?}");
    }
}
