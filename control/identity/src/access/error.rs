//! Why the API servers of a cluster gave no answer.

use super::Section;
use crate::https::{EndpointError, HttpsError};
use crate::pem::PemError;
use crate::token::{BearerError, FileFault};
use hyper::StatusCode;
use std::sync::Arc;
use std::time::Duration;

/// Whom to ask about tokens cannot be made out.
#[derive(Debug, thiserror::Error)]
pub enum ReviewSetupError {
    /// The server is no URL.
    #[error("tokenReview.server {0}; write it like https://10.0.0.1:6443")]
    Endpoint(EndpointError),
    /// A file of our identity or trust.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// rustls takes no such identity.
    #[error("tokenReview.clientCertFile cannot be used by a TLS client")]
    Tls(#[from] rustls::Error),
}

/// A question that got no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AskError {
    /// Too many wait already.
    #[error("{0} questions to API servers wait already; check whether they are slow")]
    Busy(usize),
    /// Time is up.
    #[error("no API server answered within {0:?}; check their load and the network")]
    Timeout(Duration),
    /// None can be reached; the cause is the last one's.
    #[error("cannot ask API server {0}; check its address and the caFile in {1}, and the network")]
    Unreachable(String, Section, #[source] Arc<HttpsError>),
    /// It does not talk to us.
    #[error(
        "API server {0} refused our question with status {1}; give our user there the rights of \
         {rights}, and check that our credential has not expired", rights = .2.rights()
    )]
    Refused(String, StatusCode, Section),
    /// There is no such thing.
    #[error("API server {0} has no such object")]
    Missing(String),
    /// It failed.
    #[error("API server {0} answered with status {1}")]
    Status(String, StatusCode),
    /// It answered something else than was asked.
    #[error("the answer to {0} is something else, or too much; check which server is asked")]
    Answer(String),
    /// It accepted a token, but did not say for whom.
    #[error("the token is accepted without regard to its audience, by a server that knows none")]
    Audience,
    /// Our own token cannot be read.
    #[error("our own token cannot be read")]
    Token(#[source] Arc<FileFault>),
    /// Our own token is none.
    #[error("{0} holds no token: {1}")]
    BadToken(String, BearerError),
}
