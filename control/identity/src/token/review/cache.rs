//! Remembers answers about tokens, for a while and so many.
//!
//! The key is an HMAC, never the token.

use crate::recent::Recent;
use crate::token::digest::Digest;
use crate::user::UserInfo;
use std::time::Duration;
use tokio::time::Instant;

/// Answers that are kept, as in kubelet and API server: at some 500 bytes each, 4 MiB.
pub(super) const CAPACITY: usize = 8192;

/// Whose a token is and for which audiences; `None`: nobody's.
pub(super) type Answer = Option<(UserInfo, Vec<String>)>;

#[derive(Debug)]
pub(super) struct Cache {
    authorized_ttl: Duration,
    unauthorized_ttl: Duration,
    /// Each with its end.
    answers: Recent<Digest, (Answer, Instant)>,
}

impl Cache {
    pub(super) fn new(
        capacity: usize,
        authorized_ttl: Duration,
        unauthorized_ttl: Duration,
    ) -> Self {
        Self {
            authorized_ttl,
            unauthorized_ttl,
            answers: Recent::new(capacity),
        }
    }

    /// Finds an answer whose time is not over.
    pub(super) fn find(&self, key: &Digest, now: Instant) -> Option<Answer> {
        let found = self.answers.find(key, |(_, until)| now < *until);
        found.map(|(answer, _)| answer)
    }

    /// Keeps an answer.
    pub(super) fn insert(&self, key: Digest, answer: Answer, now: Instant) {
        let ttl = match answer {
            Some(_) => self.authorized_ttl,
            None => self.unauthorized_ttl,
        };
        if !ttl.is_zero() {
            self.answers.insert(key, (answer, now + ttl));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.answers.held()
    }
}
