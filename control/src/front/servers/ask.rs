//! Asks one API server in the gateway's own name, or in none.

use eyesplice_identity::file::{self, FileFault};
use eyesplice_identity::https::{Endpoint, HttpsClient, HttpsError, Question, Reply};
use eyesplice_identity::token::{BearerError, BearerToken};
use eyesplice_proto::target::Host;
use hyper::Method;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::{Path, PathBuf};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// Longest file of our own token.
const MAX_TOKEN_FILE: u64 = 64 << 10;

/// Connections that wait for a question: those of a stream are asked by some at a time.
const KEPT: usize = 16;

/// Asks one API server, each question on a connection of its own.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    https: HttpsClient,
    token_file: Option<PathBuf>,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// There was no answer.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// Our own token cannot be read.
    #[error("cannot read apiservers.tokenFile")]
    Token(#[from] FileFault),
    /// Our own token is none.
    #[error("apiservers.tokenFile holds no token: {0}")]
    BadToken(BearerError),
}

impl Asker {
    /// Asks the server at `endpoint`, whose certificate has `name`, or else its host.
    pub(super) fn new(
        endpoint: &Endpoint,
        name: Option<&Host>,
        own: &ClientConfig,
        token_file: Option<&Path>,
    ) -> Self {
        let mut endpoint = endpoint.clone();
        let name = name.and_then(|name| match name {
            Host::Ip(ip) => Some(ServerName::from(*ip)),
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok(),
        });
        if let Some(name) = name {
            endpoint.server_name = name;
        }
        Self {
            https: HttpsClient::new(endpoint, own.clone()),
            token_file: token_file.map(Path::to_owned),
        }
    }

    /// A client of the same server that keeps connections, for questions that may be asked twice.
    pub(super) fn client(&self) -> HttpsClient {
        self.https.clone().keeping(KEPT)
    }

    /// Reads a path, of which at most `limit` bytes of answer matter. There is no deadline here.
    pub(super) async fn get(&self, path: &str, limit: usize) -> Result<Reply, AskError> {
        let token = self.token().await?;
        let question = Question {
            method: Method::GET,
            path,
            body: Vec::new(),
            bearer: token.as_ref().map(BearerToken::expose),
            limit,
        };
        Ok(self.https.ask(question).await?)
    }

    async fn token(&self) -> Result<Option<BearerToken>, AskError> {
        let Some(path) = self.token_file.clone() else {
            return Ok(None);
        };
        let text = match spawn_blocking(move || file::read(&path, MAX_TOKEN_FILE)).await {
            Ok(text) => text?,
            // The process ends.
            Err(_) => Zeroizing::default(),
        };
        BearerToken::new(text.trim())
            .map(Some)
            .map_err(AskError::BadToken)
    }
}
