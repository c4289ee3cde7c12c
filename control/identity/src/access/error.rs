//! Why the API servers of a cluster gave no answer.

use crate::https::HttpsError;
use crate::token::{BearerError, FileFault};
use hyper::StatusCode;
use std::sync::Arc;
use std::time::Duration;

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
    #[error(
        "cannot ask API server {0}; check apiservers.servers, apiservers.caFile and the network"
    )]
    Unreachable(String, #[source] Arc<HttpsError>),
    /// It does not talk to us.
    #[error(
        "API server {0} refused our question with status {1}; give our user there the rights of \
         front-rbac.yaml, and check that our credential has not expired"
    )]
    Refused(String, StatusCode),
    /// There is no such thing.
    #[error("API server {0} has no such object")]
    Missing(String),
    /// It failed.
    #[error("API server {0} answered with status {1}")]
    Status(String, StatusCode),
    /// It answered something else than was asked.
    #[error("what API servers answered to {0} is something else, or too much")]
    Answer(String),
    /// Our own token cannot be read.
    #[error(
        "cannot read our own token; check apiservers.tokenFile and front.shortWay.kubeletTokenFile"
    )]
    Token(#[source] Arc<FileFault>),
    /// Our own token is none.
    #[error("{0} holds no token: {1}")]
    BadToken(String, BearerError),
}
