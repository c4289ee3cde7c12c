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
    #[error("{waiting} token reviews wait for {server} already; check whether it is slow")]
    Busy {
        /// Whom.
        server: String,
        /// The bound.
        waiting: usize,
    },
    /// Time is up.
    #[error(
        "{server} did not answer a token review within {after:?}; check its load and the network"
    )]
    Timeout {
        /// Whom.
        server: String,
        /// The bound.
        after: Duration,
    },
    /// It cannot be reached.
    #[error(
        "cannot connect to {server} for a token review; check tokenReview.server and the network"
    )]
    Connect {
        /// Whom.
        server: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not whom it should be.
    #[error("TLS with {server} failed; check tokenReview.caFile and the server's certificate")]
    Tls {
        /// Whom.
        server: String,
        /// What rustls said.
        source: io::Error,
    },
    /// It broke off.
    #[error("{server} broke off a token review")]
    Http {
        /// Whom.
        server: String,
        /// What hyper said.
        source: hyper::Error,
    },
    /// It does not talk to us.
    #[error(
        "{server} refused our question with status {status}; bind our user there to the ClusterRole \
         system:auth-delegator, and check that our credential has not expired"
    )]
    Forbidden {
        /// Whom.
        server: String,
        /// 401 or 403.
        status: StatusCode,
    },
    /// It failed.
    #[error("{server} answered a token review with status {status}")]
    Status {
        /// Whom.
        server: String,
        /// What it said.
        status: StatusCode,
    },
    /// It answered something else.
    #[error("{server} answered a token review with something else; check tokenReview.server")]
    Answer {
        /// Whom.
        server: String,
    },
    /// It accepted the token, but did not say for whom.
    #[error(
        "{server} accepted the token without regard to its audience; it cannot be asked for one"
    )]
    Audience {
        /// Whom.
        server: String,
    },
    /// Our own token cannot be read.
    #[error("cannot read tokenReview.tokenFile")]
    Token(#[from] FileFault),
    /// Our own token is none.
    #[error("tokenReview.tokenFile holds no token: {0}")]
    BadToken(BearerError),
}
