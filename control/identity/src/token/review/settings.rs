//! Whom to ask about tokens, and how.

use std::path::PathBuf;
use std::time::Duration;

/// Whom to ask about tokens that nobody here knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenReviewSettings {
    /// `https://HOST[:PORT]` of an API server.
    pub server: String,
    /// Who issued its serving certificate.
    pub ca_file: PathBuf,
    /// Our credential there: a certificate with its key, or a token.
    pub credential: ReviewCredential,
    /// One question, from dial to answer.
    pub timeout: Duration,
    /// How long an accepted token is accepted without asking again.
    pub authorized_ttl: Duration,
    /// How long a refused token is refused without asking again.
    pub unauthorized_ttl: Duration,
}

/// What the asking process proves itself with. It needs the role system:auth-delegator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReviewCredential {
    /// A client certificate.
    Certificate {
        /// The chain.
        cert_file: PathBuf,
        /// Its key.
        key_file: PathBuf,
    },
    /// A bearer token, read anew for each question: mounted ones are replaced.
    Token {
        /// The file.
        file: PathBuf,
    },
}
