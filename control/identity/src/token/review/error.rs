//! Why another API server gave no answer about a token.

use crate::https::EndpointError;
use crate::pem::PemError;
use crate::token::BearerError;
use crate::token::FileFault;
use hyper::StatusCode;
use std::io;
use std::time::Duration;

/// A review client that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ReviewSetupError {
    /// Its server is no URL.
    #[error("tokenReview.server {0}; write it like https://10.0.0.1:6443")]
    Endpoint(EndpointError),
    /// A file of its identity or trust.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// rustls takes no such identity.
    #[error("tokenReview.clientCertFile cannot be used by a TLS client")]
    Tls(#[from] rustls::Error),
}

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Too many are asked already.
    #[error("{1} token reviews wait for {0} already; check whether it is slow")]
    Busy(String, usize),
    /// Time is up.
    #[error("{0} did not answer a token review within {1:?}; check its load and the network")]
    Timeout(String, Duration),
    /// It cannot be reached.
    #[error("cannot connect to {0} for a token review; check tokenReview.server and the network")]
    Connect(String, #[source] io::Error),
    /// It is not whom it should be.
    #[error("TLS with {0} failed; check tokenReview.caFile and the server's certificate")]
    Tls(String, #[source] io::Error),
    /// It broke off.
    #[error("{0} broke off a token review")]
    Http(String, #[source] hyper::Error),
    /// It does not talk to us.
    #[error(
        "{0} refused our question with status {1}; bind our user there to the ClusterRole \
         system:auth-delegator, and check that our credential has not expired"
    )]
    Forbidden(String, StatusCode),
    /// It failed.
    #[error("{0} answered a token review with status {1}")]
    Status(String, StatusCode),
    /// It answered something else.
    #[error("{0} answered a token review with something else; check tokenReview.server")]
    Answer(String),
    /// It accepted the token, but did not say for whom.
    #[error("{0} accepted the token without regard to its audience; it cannot be asked for one")]
    Audience(String),
    /// Our own token cannot be read.
    #[error("cannot read tokenReview.tokenFile")]
    Token(#[from] FileFault),
    /// Our own token is none.
    #[error("tokenReview.tokenFile holds no token: {0}")]
    BadToken(BearerError),
}
