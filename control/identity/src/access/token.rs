//! Asks whose a token is: TokenReview of authentication.k8s.io, which knows what every
//! authenticator of the API server does.

use super::review::{Kind, ask, status};
use super::{AskError, Cluster};
use crate::answers::Answers;
use crate::token::BearerToken;
use crate::token::digest::{Digest, Digester};
use crate::token::review::{PATH, ReviewSpec, ReviewStatus};
use crate::user::UserInfo;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const REVIEW: Kind = Kind {
    path: PATH,
    api_version: "authentication.k8s.io/v1",
    kind: "TokenReview",
};

/// How long a token is believed without asking again, as in the API server.
const YES: Duration = Duration::from_secs(10);
/// Answers that are kept: at some 500 bytes each, 4 MiB.
const CAPACITY: usize = 8192;

type Answer = Result<Option<Arc<UserInfo>>, AskError>;

/// Asks, and remembers each user for a while.
#[derive(Debug)]
pub struct TokenReviews {
    cluster: Arc<Cluster>,
    digester: Digester,
    answers: Answers<Digest, Answer>,
}

impl TokenReviews {
    /// Asks these API servers.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            digester: Digester::new(),
            answers: Answers::new(CAPACITY),
        }
    }

    /// Asks whose a token for the API server is; `None`: nobody's, or it has [expired](expires).
    ///
    /// # Errors
    /// There is no answer.
    pub async fn user(&self, token: &BearerToken, now: SystemTime) -> Answer {
        if expires(token).is_some_and(|until| until <= now) {
            return Ok(None);
        }
        let key = self.digester.digest(&[token.expose()]);
        let spec = ReviewSpec {
            token: token.expose().to_owned(),
            audiences: Vec::new(),
        };
        let Some(question) = ask(&REVIEW, spec) else {
            return Err(AskError::Answer(REVIEW.kind.to_owned()));
        };
        let cluster = Arc::clone(&self.cluster);
        let asked = || async move {
            let status: ReviewStatus = status(&cluster, &REVIEW, &question).await?;
            if !status.authenticated {
                return Ok(None);
            }
            if status.user.username.is_empty() || !status.error.is_empty() {
                return Err(AskError::Answer(REVIEW.kind.to_owned()));
            }
            Ok(Some(Arc::new(status.user)))
        };
        let lasts = |answer: &Answer| match answer {
            Ok(Some(_)) => YES,
            Ok(None) | Err(_) => Duration::ZERO,
        };
        let found = self.answers.find(key, lasts, asked).await;
        found.unwrap_or_else(|| Err(AskError::Answer(REVIEW.kind.to_owned())))
    }
}

/// Says when a token ends by its own words; `None`: it says nothing. Nothing is verified: believe
/// it only of a token that a review accepts.
pub fn expires(token: &BearerToken) -> Option<SystemTime> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
    }
    let mut parts = token.expose().split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    parts.next()?;
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).ok()?;
    let claims: Claims = serde_json::from_slice(&payload).ok()?;
    let since = Duration::try_from_secs_f64(claims.exp.max(0.0)).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}
