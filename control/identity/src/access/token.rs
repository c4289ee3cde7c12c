//! Asks whose a token is: TokenReview of authentication.k8s.io, which knows what every
//! authenticator of the API server does.

use super::review::{Kind, ask, status};
use super::{AskError, Cluster, ReviewSetupError};
use crate::answers::Answers;
use crate::token::BearerToken;
use crate::token::digest::{Digest, Digester};
use crate::token::review::{
    API_VERSION, KIND, PATH, ReviewSpec, ReviewStatus, TokenReviewSettings,
};
use crate::user::UserInfo;
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const REVIEW: Kind = Kind {
    path: PATH,
    api_version: API_VERSION,
    kind: KIND,
};

/// How long a token is believed without asking again, as in the API server.
const YES: Duration = Duration::from_secs(10);
/// Answers that are kept, as in kubelet and API server: at some 500 bytes each, 4 MiB.
const CAPACITY: usize = 8192;

/// Whose a token is, and for which of the audiences that were asked for.
type Answer = Result<Option<(Arc<UserInfo>, Vec<String>)>, AskError>;

/// Asks, and remembers each answer for a while. The key is an HMAC, never the token.
#[derive(Debug)]
pub struct TokenReviews {
    cluster: Arc<Cluster>,
    accepted_ttl: Duration,
    refused_ttl: Duration,
    digester: Digester,
    answers: Answers<Digest, Answer>,
}

impl TokenReviews {
    /// Asks these API servers. Whom they refuse is asked about again at once.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self::lasting(cluster, YES, Duration::ZERO)
    }

    /// Asks these API servers, and believes their answers for so long.
    pub(super) fn lasting(
        cluster: Arc<Cluster>,
        accepted_ttl: Duration,
        refused_ttl: Duration,
    ) -> Self {
        Self {
            cluster,
            accepted_ttl,
            refused_ttl,
            digester: Digester::new(),
            answers: Answers::new(CAPACITY),
        }
    }

    /// Asks the server of `settings`, as long as they say. Dials nothing.
    ///
    /// # Errors
    /// As [`Cluster::for_reviews`].
    pub fn load(settings: &TokenReviewSettings) -> Result<Self, ReviewSetupError> {
        let cluster = Arc::new(Cluster::for_reviews(settings)?);
        let (accepted, refused) = (settings.authorized_ttl, settings.unauthorized_ttl);
        Ok(Self::lasting(cluster, accepted, refused))
    }

    /// Asks whose a token for the API server is; `None`: nobody's, or it has [expired](expires).
    ///
    /// # Errors
    /// There is no answer.
    pub async fn user(
        &self,
        token: &BearerToken,
        now: SystemTime,
    ) -> Result<Option<Arc<UserInfo>>, AskError> {
        if expires(token).is_some_and(|until| until <= now) {
            return Ok(None);
        }
        let accepted = self.review(token, &[]).await?;
        Ok(accepted.map(|(user, _)| user))
    }

    /// Asks whose a token is; `None`: nobody's. Audiences that are asked for must be among the
    /// answer's, or the token is nobody's.
    ///
    /// # Errors
    /// There is no answer; that is not remembered.
    pub async fn review(&self, token: &BearerToken, audiences: &[String]) -> Answer {
        let audience = audiences.iter().map(String::as_str);
        let parts: Vec<&str> = std::iter::once(token.expose()).chain(audience).collect();
        let key = self.digester.digest(&parts);
        let spec = ReviewSpec {
            token: token.expose().to_owned(),
            audiences: audiences.to_vec(),
        };
        let Some(question) = ask(&REVIEW, spec) else {
            return Err(AskError::Answer(REVIEW.kind.to_owned()));
        };
        let (cluster, wanted) = (Arc::clone(&self.cluster), audiences.to_vec());
        let asked = || async move { judge(status(&cluster, &REVIEW, &question).await?, &wanted) };
        let lasts = |answer: &Answer| match answer {
            Ok(Some(_)) => self.accepted_ttl,
            Ok(None) => self.refused_ttl,
            Err(_) => Duration::ZERO,
        };
        let found = self.answers.find(key, lasts, asked).await;
        found.unwrap_or_else(|| Err(AskError::Answer(REVIEW.kind.to_owned())))
    }
}

/// An answer that ignores the audiences must not be taken for one about them.
fn judge(status: ReviewStatus, wanted: &[String]) -> Answer {
    if !status.authenticated {
        return Ok(None);
    }
    if status.user.username.is_empty() || !status.error.is_empty() {
        return Err(AskError::Answer(REVIEW.kind.to_owned()));
    }
    let both = wanted.iter().filter(|one| status.audiences.contains(one));
    let both: Vec<String> = both.cloned().collect();
    if !wanted.is_empty() && both.is_empty() {
        return match status.audiences.is_empty() {
            true => Err(AskError::Audience),
            false => Ok(None),
        };
    }
    Ok(Some((Arc::new(status.user), both)))
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
