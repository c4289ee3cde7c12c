//! The API servers of one cluster, and who we are to them.

use super::{AskError, ReviewSetupError};
use crate::file;
use crate::https::{HttpsClient, HttpsError, Question, Reply, tls_client};
use crate::pem::{CaBundle, Credential, Role};
use crate::token::BearerToken;
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use eyesplice_proto::tls::provider;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// Questions that are asked at a time.
const MAX_ASKING: usize = 64;
/// Questions that wait for their turn; beyond, a flood of requests is not looked at.
const MAX_WAITING: usize = 1024;
/// Longest file of our own token.
const MAX_TOKEN_FILE: u64 = 64 << 10;

const _: () = assert!(MAX_ASKING < MAX_WAITING);

/// Where a configuration names API servers, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Section {
    /// Those that a gateway stands before.
    #[display("apiservers")]
    ApiServers,
    /// One that knows tokens.
    #[display("tokenReview")]
    TokenReview,
}

impl Section {
    /// What gives our user the rights that it needs there.
    pub(super) fn rights(self) -> &'static str {
        match self {
            Self::ApiServers => "front-rbac.yaml",
            Self::TokenReview => "the ClusterRole system:auth-delegator",
        }
    }
}

/// Whom to ask, and how.
#[derive(derive_more::Debug)]
pub struct ClusterSettings {
    /// Where they are configured.
    pub section: Section,
    /// The API servers; at least one.
    pub servers: Vec<HttpsClient>,
    /// The file of our bearer token, if we have no certificate; read for each question.
    pub token_file: Option<PathBuf>,
    /// One question, from its turn to its answer, on all servers together.
    pub timeout: Duration,
    /// Says which server to ask first.
    #[debug(skip)]
    pub first: Arc<dyn Fn() -> usize + Send + Sync>,
}

/// The API servers of one cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: ClusterSettings,
    asking: Semaphore,
    waiting: Semaphore,
}

/// One question. It may be asked twice: of another server, or on another connection. Its body may
/// hold a token, and is not shown.
#[derive(Clone, derive_more::Debug)]
#[debug("Ask({method} {path})")]
pub struct Ask {
    /// The method.
    pub method: Method,
    /// The path, with its query.
    pub path: String,
    /// JSON, or nothing.
    pub body: Vec<u8>,
    /// The longest answer that is read, in bytes.
    pub limit: usize,
}

impl Ask {
    /// Asks for an object or a list.
    pub fn get(path: String, limit: usize) -> Self {
        Self {
            method: Method::GET,
            path,
            body: Vec::new(),
            limit,
        }
    }
}

impl Cluster {
    /// Asks them as `settings` say. Dials nothing.
    pub fn new(settings: ClusterSettings) -> Self {
        Self {
            settings,
            asking: Semaphore::new(MAX_ASKING),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    /// Asks the server that is configured for reviews of tokens, each time on a connection of its
    /// own: most questions are spared. Reads trust and identity; dials nothing.
    ///
    /// # Errors
    /// The server is no URL, or a file cannot be used.
    pub fn for_reviews(settings: &TokenReviewSettings) -> Result<Self, ReviewSetupError> {
        let endpoint = settings.server.parse();
        let endpoint = endpoint.map_err(ReviewSetupError::Endpoint)?;
        let roots = CaBundle::load(settings.ca_file.clone())?.roots;
        let (own, token_file) = match &settings.credential {
            ReviewCredential::Token(file) => (None, Some(file.path.clone())),
            ReviewCredential::Certificate {
                cert_file,
                key_file,
            } => {
                let own = Credential::load(cert_file.clone(), key_file, Role::Client)?;
                (Some(own.certified), None)
            }
        };
        let tls = tls_client(provider::shared(), roots, own)?;
        Ok(Self::new(ClusterSettings {
            section: Section::TokenReview,
            servers: vec![HttpsClient::new(endpoint, tls)],
            token_file,
            timeout: settings.timeout,
            first: Arc::new(|| 0),
        }))
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// There is none; each kind of why has its variant.
    pub async fn read<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, AskError> {
        let (reply, server) = self.ask(ask).await?;
        match reply.status {
            StatusCode::OK | StatusCode::CREATED => {}
            StatusCode::NOT_FOUND => return Err(AskError::Missing(server)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(AskError::Refused(
                    server,
                    reply.status,
                    self.settings.section,
                ));
            }
            other => return Err(AskError::Status(server, other)),
        }
        let read = reply.body.as_deref().map(serde_json::from_slice);
        match read {
            Some(Ok(read)) => Ok(read),
            Some(Err(_)) | None => Err(AskError::Answer(format!("{} of {server}", ask.path))),
        }
    }

    /// Asks one server after the other until one answers, whatever it says.
    async fn ask(&self, ask: &Ask) -> Result<(Reply, String), AskError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(AskError::Busy(MAX_WAITING));
        };
        let patience = self.settings.timeout;
        let asked = async {
            // The semaphore is never closed, so a turn always comes.
            let _turn = self.asking.acquire().await;
            let token = self.own_token().await?;
            self.one_by_one(ask, token.as_ref()).await
        };
        match timeout(patience, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::Timeout(patience)),
        }
    }

    /// Each server has its share of the time that is left, so that a silent one does not take all
    /// of it.
    async fn one_by_one(
        &self,
        ask: &Ask,
        token: Option<&BearerToken>,
    ) -> Result<(Reply, String), AskError> {
        let ClusterSettings {
            servers,
            timeout: patience,
            first,
            section,
            ..
        } = &self.settings;
        let until = Instant::now() + *patience;
        let count = servers.len();
        let first = first();
        let mut failed = AskError::Timeout(*patience);
        for turn in 0..count {
            let Some(server) = servers.get(first.wrapping_add(turn) % count) else {
                continue;
            };
            let question = Question {
                method: ask.method.clone(),
                path: &ask.path,
                body: ask.body.clone(),
                bearer: token.map(BearerToken::expose),
                limit: ask.limit,
            };
            let left = until.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(count - turn).unwrap_or(u32::MAX);
            match timeout(share, server.ask(question)).await {
                Ok(Ok(reply)) => return Ok((reply, server.server())),
                Ok(Err(HttpsError::Question(_))) => return Err(AskError::Answer(ask.path.clone())),
                Ok(Err(error)) => {
                    failed = AskError::Unreachable(server.server(), *section, Arc::new(error));
                }
                Err(_) => failed = AskError::Timeout(share),
            }
        }
        Err(failed)
    }

    async fn own_token(&self) -> Result<Option<BearerToken>, AskError> {
        match &self.settings.token_file {
            None => Ok(None),
            Some(path) => token_of(path.clone()).await.map(Some),
        }
    }

    /// Free places: to ask, and to wait.
    #[cfg(test)]
    pub(super) fn places(&self) -> (usize, usize) {
        (
            self.asking.available_permits(),
            self.waiting.available_permits(),
        )
    }
}

/// Reads a token of ours from its file, each time: mounted ones are replaced.
///
/// # Errors
/// It cannot be read, or is no token.
pub async fn token_of(path: PathBuf) -> Result<BearerToken, AskError> {
    let file = path.clone();
    let read = tokio::task::spawn_blocking(move || file::read(&file, MAX_TOKEN_FILE)).await;
    let text = match read {
        Ok(text) => text.map_err(|fault| AskError::Token(Arc::new(fault)))?,
        Err(_) => Zeroizing::default(),
    };
    let token = BearerToken::new(text.trim());
    token.map_err(|error| AskError::BadToken(path.display().to_string(), error))
}
