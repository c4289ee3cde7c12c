//! Why a request has no user.
//!
//! `Display` is for our log and names what failed. A caller gets [`AuthnError::public_message`],
//! which does not tell an unknown token from a wrong one.

use super::certificate::CertificateRefusal;
use hyper::StatusCode;
use std::error::Error;
use std::fmt;

/// Why a request has no user.
#[derive(Debug, thiserror::Error)]
pub enum AuthnError {
    /// There is nothing to authenticate by.
    #[error(
        "the request has neither a client certificate nor a bearer token; anonymous requests are \
         refused"
    )]
    Missing,
    /// A credential was checked and is not accepted.
    #[error("{credential} refused: {reason}")]
    Refused {
        /// Which kind of credential.
        credential: CredentialKind,
        /// Why; part of the message, so no source of it.
        reason: Refusal,
    },
    /// A credential could not be checked.
    #[error("{credential} cannot be checked now")]
    Unavailable {
        /// Which kind of credential.
        credential: CredentialKind,
        /// What failed.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl AuthnError {
    /// The answer's status: 401, or 503 where a retry may succeed.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::Refused { .. } => StatusCode::UNAUTHORIZED,
            Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What a caller may know, in Kubernetes' own word for it.
    pub fn public_message(&self) -> &'static str {
        match self {
            Self::Missing | Self::Refused { .. } => "Unauthorized",
            Self::Unavailable { .. } => "authentication is not available; try again later",
        }
    }
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// The certificate of the connection.
    ClientCertificate,
    /// A bearer token of no known kind.
    BearerToken,
}

impl CredentialKind {
    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientCertificate => "x509",
            Self::BearerToken => "token",
        }
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientCertificate => "client certificate",
            Self::BearerToken => "bearer token",
        })
    }
}

/// Why a credential is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The certificate names nobody, or its time is not now.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// The header has another scheme than Bearer, or no token.
    #[error("the Authorization header is not `Bearer TOKEN`; send a bearer token")]
    Scheme,
    /// The token has bytes that no token has.
    #[error("the token has bytes outside of RFC 6750's alphabet; check for quotes and line ends")]
    Alphabet,
    /// The token is longer than any.
    #[error("the token is longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// No source has it.
    #[error("no configured source knows the token; check which cluster it was made for")]
    Unknown,
}
