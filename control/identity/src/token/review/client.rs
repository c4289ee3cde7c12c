//! Asks another API server whose a token is.

use super::cache::{Answer, CAPACITY, Cache};
use super::types::{API_VERSION, KIND, PATH, ReviewSpec, ReviewStatus, TokenReview};
use super::{ReviewError, ReviewSetupError};
use crate::https::{HttpsClient, HttpsError, Question, Reply};
use crate::pem::{CaBundle, Credential, Role};
use crate::token::BearerToken;
use crate::token::digest::Digester;
use crate::token::file;
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use crate::user::UserInfo;
use eyesplice_proto::tls::provider;
use hyper::{Method, StatusCode};
use rustls::ClientConfig;
use rustls::sign::SingleCertAndKey;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

/// Questions that are asked at a time; each is a connection.
const MAX_ASKING: usize = 32;
/// Questions that wait for their turn; beyond, a flood of unknown tokens is refused at once.
const MAX_WAITING: usize = 1024;
/// Longest answer: a user of a thousand long groups.
const MAX_ANSWER: usize = 256 << 10;
/// Longest file of our own token.
const MAX_TOKEN_FILE: u64 = 64 << 10;

const _: () = assert!(MAX_ASKING < MAX_WAITING);

/// Asks one API server, and remembers what it said.
#[derive(Debug)]
pub struct ReviewClient {
    https: HttpsClient,
    token_file: Option<PathBuf>,
    timeout: Duration,
    asking: Semaphore,
    waiting: Semaphore,
    digester: Digester,
    cache: Cache,
}

impl ReviewClient {
    /// Loads trust and identity. Dials nothing.
    ///
    /// # Errors
    /// The server is no URL, or a file cannot be used.
    pub fn new(settings: &TokenReviewSettings) -> Result<Self, ReviewSetupError> {
        let endpoint = settings
            .server
            .parse()
            .map_err(ReviewSetupError::Endpoint)?;
        let bundle = CaBundle::load(settings.ca_file.clone())?;
        let builder = ClientConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(bundle.roots);
        let (tls, token_file) = match &settings.credential {
            ReviewCredential::Token(file) => {
                (builder.with_no_client_auth(), Some(file.path.clone()))
            }
            ReviewCredential::Certificate {
                cert_file,
                key_file,
            } => {
                let credential = Credential::load(cert_file.clone(), key_file, Role::Client)?;
                let resolver = SingleCertAndKey::from(credential.certified);
                (builder.with_client_cert_resolver(Arc::new(resolver)), None)
            }
        };
        Ok(Self {
            https: HttpsClient::new(endpoint, tls),
            token_file,
            timeout: settings.timeout,
            asking: Semaphore::new(MAX_ASKING),
            waiting: Semaphore::new(MAX_WAITING),
            digester: Digester::new(),
            cache: Cache::new(CAPACITY, settings.authorized_ttl, settings.unauthorized_ttl),
        })
    }

    /// Asks whose a token is; `None`: nobody's. Audiences that are asked for must be among the
    /// answer's, or the token is nobody's.
    ///
    /// # Errors
    /// There is no answer; such is not remembered.
    pub async fn review(
        &self,
        token: &BearerToken,
        audiences: &[String],
    ) -> Result<Option<(UserInfo, Vec<String>)>, ReviewError> {
        let mut parts = vec![token.expose()];
        parts.extend(audiences.iter().map(String::as_str));
        let key = self.digester.digest(&parts);
        if let Some(answer) = self.cache.find(&key, Instant::now()) {
            return Ok(answer);
        }
        let answer = self.in_turn(self.ask(token, audiences)).await?;
        self.cache.insert(key, answer.clone(), Instant::now());
        Ok(answer)
    }

    /// Reads an object at the same server, by the same bounds.
    pub(super) async fn object(&self, path: &str, limit: usize) -> Result<Reply, ReviewError> {
        let asked = async {
            let own = self.own_token().await?;
            let question = Question {
                method: Method::GET,
                path,
                body: Vec::new(),
                bearer: own.as_ref().map(BearerToken::expose),
                limit,
            };
            let reply = self.https.ask(question).await;
            reply.map_err(|error| self.failed(error))
        };
        self.in_turn(asked).await
    }

    /// Waits for a place among those that ask, and then for the answer.
    async fn in_turn<T>(
        &self,
        question: impl Future<Output = Result<T, ReviewError>>,
    ) -> Result<T, ReviewError> {
        let Ok(_place) = self.waiting.try_acquire() else {
            return Err(ReviewError::Busy(self.server(), MAX_WAITING));
        };
        let asked = async {
            // The semaphore is never closed, so a turn always comes.
            let _turn = self.asking.acquire().await;
            question.await
        };
        match timeout(self.timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(ReviewError::Timeout(self.server(), self.timeout)),
        }
    }

    /// Asks on a connection of its own: the cache spares most questions, and nothing is shared.
    async fn ask(&self, token: &BearerToken, audiences: &[String]) -> Result<Answer, ReviewError> {
        let review = TokenReview {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            spec: ReviewSpec {
                token: token.expose().to_owned(),
                audiences: audiences.to_vec(),
            },
            ..TokenReview::default()
        };
        let body = serde_json::to_vec(&review).map_err(|_| self.broken())?;
        let own = self.own_token().await?;
        let question = Question {
            method: Method::POST,
            path: PATH,
            body,
            bearer: own.as_ref().map(BearerToken::expose),
            limit: MAX_ANSWER,
        };
        let reply = self.https.ask(question).await;
        let reply = reply.map_err(|error| self.failed(error))?;
        self.judge(self.read(reply)?, audiences)
    }

    fn failed(&self, error: HttpsError) -> ReviewError {
        let server = self.server();
        match error {
            HttpsError::Question(_) => self.broken(),
            HttpsError::Connect(source) => ReviewError::Connect(server, source),
            HttpsError::Tls(source) => ReviewError::Tls(server, source),
            HttpsError::Http(source) => ReviewError::Http(server, source),
        }
    }

    fn broken(&self) -> ReviewError {
        ReviewError::Answer(self.server())
    }

    async fn own_token(&self) -> Result<Option<BearerToken>, ReviewError> {
        let Some(path) = self.token_file.clone() else {
            return Ok(None);
        };
        let read = tokio::task::spawn_blocking(move || file::read(&path, MAX_TOKEN_FILE)).await;
        let text = match read {
            Ok(text) => text?,
            Err(_) => Zeroizing::default(),
        };
        let token = BearerToken::new(text.trim()).map_err(ReviewError::BadToken)?;
        Ok(Some(token))
    }

    fn read(&self, reply: Reply) -> Result<ReviewStatus, ReviewError> {
        let (server, status) = (self.server(), reply.status);
        match status {
            StatusCode::CREATED | StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(ReviewError::Forbidden(server, status));
            }
            _ => return Err(ReviewError::Status(server, status)),
        }
        let review = reply.body.as_deref().map(serde_json::from_slice);
        match review {
            Some(Ok(TokenReview {
                kind,
                api_version,
                status: Some(status),
                ..
            })) if kind == KIND && api_version == API_VERSION => Ok(status),
            _ => Err(self.broken()),
        }
    }

    /// An answer that ignores the audiences must not be taken for one about them.
    fn judge(&self, status: ReviewStatus, wanted: &[String]) -> Result<Answer, ReviewError> {
        if !status.authenticated {
            return Ok(None);
        }
        if status.user.username.is_empty() {
            return Err(ReviewError::Answer(self.server()));
        }
        let both = wanted.iter().filter(|one| status.audiences.contains(one));
        let both: Vec<String> = both.cloned().collect();
        if !wanted.is_empty() && both.is_empty() {
            if status.audiences.is_empty() {
                return Err(ReviewError::Audience(self.server()));
            }
            return Ok(None);
        }
        Ok(Some((status.user, both)))
    }

    fn server(&self) -> String {
        self.https.server()
    }

    /// Free places: to ask, and to wait.
    #[cfg(test)]
    pub(super) fn places(&self) -> (usize, usize) {
        (
            self.asking.available_permits(),
            self.waiting.available_permits(),
        )
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.cache.len()
    }
}
