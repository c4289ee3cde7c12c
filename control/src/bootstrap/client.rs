//! Asks the server one thing at a time, each on a connection of its own.

use super::error::BootstrapError;
use super::trust::Trusted;
use eyesplice_identity::pem;
use eyesplice_identity::token::bootstrap::BootstrapToken;
use eyesplice_identity::token::review::Endpoint;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::{CertificateError, ClientConfig, Error as TlsError};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// One question, from dial to answer.
const ONE: Duration = Duration::from_secs(10);

/// Longest answer: a CSR with its certificate has some 10 KiB, a list of one user's far more.
const ANSWER: usize = 4 << 20;

/// A server, whom it must be, and who we are.
pub(crate) struct Client {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    token: Option<BootstrapToken>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) code: u16,
    /// Null if it is no JSON.
    pub(super) body: Value,
    /// The server's clock.
    pub(super) date: Option<String>,
}

impl Answer {
    /// What the server says of itself in a `Status`.
    pub(super) fn message(&self) -> String {
        let message = self.body["message"].as_str().unwrap_or("no message");
        eyesplice_identity::certificate::printable(message, 1024)
    }
}

impl Client {
    /// Shows a token.
    pub(crate) fn with_token(
        endpoint: Endpoint,
        trusted: &Trusted,
        token: BootstrapToken,
    ) -> Result<Self, BootstrapError> {
        let tls = builder(trusted)?.with_no_client_auth();
        Ok(Self::new(endpoint, tls, Some(token)))
    }

    /// Shows the asker's own certificate.
    pub(crate) fn with_certificate(
        endpoint: Endpoint,
        trusted: &Trusted,
        own: &pem::Credential,
    ) -> Result<Self, BootstrapError> {
        let resolver = SingleCertAndKey::from((*own.certified).clone());
        let tls = builder(trusted)?.with_client_cert_resolver(Arc::new(resolver));
        Ok(Self::new(endpoint, tls, None))
    }

    /// Shows nothing, under whatever trust.
    pub(super) fn anonymous(endpoint: Endpoint, tls: ClientConfig) -> Self {
        Self::new(endpoint, tls, None)
    }

    fn new(endpoint: Endpoint, mut tls: ClientConfig, token: Option<BootstrapToken>) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            endpoint,
            tls: Arc::new(tls),
            token,
        }
    }

    pub(super) fn server(&self) -> String {
        self.endpoint.to_string()
    }

    /// What proves who we are.
    pub(super) fn credential(&self) -> &'static str {
        if self.token.is_some() {
            "bootstrap token"
        } else {
            "client certificate"
        }
    }

    /// Asks one thing.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, BootstrapError> {
        match timeout(ONE, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(BootstrapError::Timeout {
                server: self.server(),
                after: ONE,
            }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, BootstrapError> {
        let address = (self.endpoint.host.as_str(), self.endpoint.port);
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|source| BootstrapError::Network {
            server: self.server(),
            source,
        })?;
        let name = self.endpoint.server_name.clone();
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|source| self.tls_error(source))?;
        let http = |source| BootstrapError::Http {
            server: self.server(),
            source,
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let connection = tokio::spawn(connection);
        let answer = async {
            let request = self.request(method, path, body)?;
            let response = sender.send_request(request).await.map_err(http)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER).collect().await;
            let body = body.map_err(|_| BootstrapError::Answer(self.server()))?;
            let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
            Ok(Answer {
                code: head.status.as_u16(),
                body: serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
                date: date.map(str::to_owned),
            })
        };
        let answer = answer.await;
        connection.abort();
        answer
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, BootstrapError> {
        let json = HeaderValue::from_static("application/json");
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.server())
            .header(ACCEPT, &json)
            .header(CONTENT_TYPE, json)
            .body(Full::new(Bytes::from(body)));
        let mut request = request.map_err(|_| BootstrapError::Answer(self.server()))?;
        if let Some(token) = &self.token {
            let header = Zeroizing::new(format!("Bearer {}", *token.expose()));
            if let Ok(mut header) = HeaderValue::from_str(&header) {
                header.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, header);
            }
        }
        Ok(request)
    }

    /// Tells a clock that is wrong from a server that is.
    fn tls_error(&self, source: io::Error) -> BootstrapError {
        let server = self.server();
        let tls = source
            .get_ref()
            .and_then(|error| error.downcast_ref::<TlsError>());
        match tls {
            Some(TlsError::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )) => BootstrapError::Clock { server, source },
            _ => BootstrapError::Tls { server, source },
        }
    }
}

fn builder(
    trusted: &Trusted,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, BootstrapError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(BootstrapError::Setup)?;
    Ok(builder.with_root_certificates(Arc::clone(&trusted.roots)))
}
