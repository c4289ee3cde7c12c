//! Asks the server one thing at a time, each on a connection of its own.

use super::error::BootstrapError;
use super::trust::Trusted;
use eyesplice_identity::https::{Endpoint, HttpsClient, HttpsError, Question, tls_client};
use eyesplice_identity::pem;
use eyesplice_identity::token::BearerToken;
use eyesplice_identity::token::bootstrap::BootstrapToken;
use eyesplice_proto::tls::provider;
use hyper::Method;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, Error as TlsError};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// One question, from dial to answer.
const ONE: Duration = Duration::from_secs(10);

/// Longest answer: a CSR with its certificate has some 10 KiB, a list of one user's far more.
const ANSWER: usize = 4 << 20;

/// A server, whom it must be, and who we are.
pub(crate) struct Client {
    https: HttpsClient,
    credential: Shown,
}

/// What proves who we are.
enum Shown {
    /// Nothing, or the certificate of the connection.
    Certificate,
    BootstrapToken(BootstrapToken),
    /// A token of the pod that this process runs in.
    PodToken(BearerToken),
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
    /// Shows a bootstrap token.
    pub(crate) fn with_token(
        endpoint: Endpoint,
        trusted: &Trusted,
        token: BootstrapToken,
    ) -> Result<Self, BootstrapError> {
        let tls = tls(trusted, None)?;
        Ok(Self::new(endpoint, tls, Shown::BootstrapToken(token)))
    }

    /// Shows the token of the pod that this process runs in.
    pub(crate) fn with_pod_token(
        endpoint: Endpoint,
        trusted: &Trusted,
        token: BearerToken,
    ) -> Result<Self, BootstrapError> {
        let tls = tls(trusted, None)?;
        Ok(Self::new(endpoint, tls, Shown::PodToken(token)))
    }

    /// Shows the asker's own certificate.
    pub(crate) fn with_certificate(
        endpoint: Endpoint,
        trusted: &Trusted,
        own: &pem::Credential,
    ) -> Result<Self, BootstrapError> {
        let tls = tls(trusted, Some(Arc::clone(&own.certified)))?;
        Ok(Self::new(endpoint, tls, Shown::Certificate))
    }

    /// Shows nothing, under whatever trust.
    pub(super) fn anonymous(endpoint: Endpoint, tls: ClientConfig) -> Self {
        Self::new(endpoint, tls, Shown::Certificate)
    }

    fn new(endpoint: Endpoint, tls: ClientConfig, credential: Shown) -> Self {
        Self {
            https: HttpsClient::new(endpoint, tls),
            credential,
        }
    }

    pub(super) fn server(&self) -> String {
        self.https.server()
    }

    /// Why the server does not know us.
    pub(super) fn unauthorized(&self) -> BootstrapError {
        let server = self.server();
        match self.credential {
            Shown::Certificate => BootstrapError::Unauthorized(server, "client certificate"),
            Shown::BootstrapToken(_) => BootstrapError::Unauthorized(server, "bootstrap token"),
            Shown::PodToken(_) => BootstrapError::PodToken(server),
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
            Err(_) => Err(BootstrapError::Timeout(self.server(), ONE)),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, BootstrapError> {
        let bootstrap = match &self.credential {
            Shown::BootstrapToken(token) => Some(token.expose()),
            Shown::Certificate | Shown::PodToken(_) => None,
        };
        let bearer = match &self.credential {
            Shown::PodToken(token) => Some(token.expose()),
            _ => bootstrap.as_ref().map(|token| token.as_str()),
        };
        let question = Question {
            method,
            path,
            body: body.map(Value::to_string).unwrap_or_default().into_bytes(),
            bearer,
            limit: ANSWER,
        };
        let reply = self.https.ask(question).await;
        let reply = reply.map_err(|error| self.failed(error))?;
        let broken = || BootstrapError::Answer(self.server());
        let body = reply.body.ok_or_else(broken)?;
        Ok(Answer {
            code: reply.status.as_u16(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
            date: reply.date,
        })
    }

    fn failed(&self, error: HttpsError) -> BootstrapError {
        let server = self.server();
        match error {
            HttpsError::Question(_) => BootstrapError::Answer(server),
            HttpsError::Connect(source) => BootstrapError::Network(server, source),
            HttpsError::Tls(source) => self.tls_error(source),
            HttpsError::Http(source) => BootstrapError::Http(server, source),
        }
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
            )) => BootstrapError::Clock(server, source),
            _ => BootstrapError::Tls(server, source),
        }
    }
}

fn tls(trusted: &Trusted, own: Option<Arc<CertifiedKey>>) -> Result<ClientConfig, BootstrapError> {
    let roots = Arc::clone(&trusted.roots);
    tls_client(provider::shared(), roots, own).map_err(BootstrapError::Setup)
}
