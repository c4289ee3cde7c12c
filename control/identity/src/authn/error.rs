//! Why a request has no user.
//!
//! `Display` is for our log and names what failed. A caller gets [`AuthnError::public_message`],
//! which does not tell an unknown token from a wrong one.

use super::certificate::CertificateRefusal;
use crate::access::{PodError, PodRefusal};
use crate::token::{BearerError, Cause, bootstrap, serviceaccount};
use std::error::Error;

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
    /// A bearer token that is refused before anybody looks it up, or after everybody did.
    pub fn bearer(reason: impl Into<Refusal>) -> Self {
        Self::Refused {
            credential: CredentialKind::BearerToken,
            reason: reason.into(),
        }
    }

    /// The kind of credential that was looked at, as metrics name it; `none` if there was none.
    pub fn credential(&self) -> &'static str {
        match self {
            Self::Missing => "none",
            Self::Refused { credential, .. } | Self::Unavailable { credential, .. } => {
                credential.as_str()
            }
        }
    }

    /// Which part of the matter failed.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Missing => Cause::Token,
            Self::Unavailable { .. } => Cause::Network,
            Self::Refused { reason, .. } => reason.cause(),
        }
    }

    /// What somebody may know who asks about another's token (TokenReview): more only where the
    /// token is authentic, so that no question helps to guess one.
    pub fn words_for_reviewer(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "the token cannot be checked now; ask again later",
            Self::Refused { reason, .. } if reason.is_authentic() => match reason.cause() {
                Cause::Expiry => "the token has expired",
                Cause::Clock => "the token is not valid yet",
                Cause::Audience => "the token is for other audiences",
                Cause::Token | Cause::Signature | Cause::Network => "the token is not accepted",
            },
            Self::Missing | Self::Refused { .. } => "the token is not accepted",
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

impl From<PodError> for AuthnError {
    fn from(error: PodError) -> Self {
        let credential = CredentialKind::PodToken;
        match error {
            PodError::Refused(refusal) => Self::Refused {
                credential,
                reason: refusal.into(),
            },
            PodError::Asking(_) | PodError::Forbidden { .. } => Self::Unavailable {
                credential,
                source: error.into(),
            },
        }
    }
}

/// A kind of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum CredentialKind {
    /// The certificate of the connection.
    #[display("client certificate")]
    ClientCertificate,
    /// A bearer token of no known kind.
    #[display("bearer token")]
    BearerToken,
    /// A bearer token of the form of a bootstrap token.
    #[display("bootstrap token")]
    BootstrapToken,
    /// A bearer token that says that it is one of a service account.
    #[display("service-account token")]
    ServiceAccountToken,
    /// A bearer token that another API server was asked about.
    #[display("token under review")]
    ReviewedToken,
    /// A bearer token for the audience of pods that an API server was asked about.
    #[display("token of a pod")]
    PodToken,
}

impl CredentialKind {
    /// The word used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientCertificate => "x509",
            Self::BearerToken => "token",
            Self::BootstrapToken => "bootstrap",
            Self::ServiceAccountToken => "serviceaccount",
            Self::ReviewedToken => "tokenreview",
            Self::PodToken => "pod",
        }
    }
}

/// Why a credential is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The certificate names nobody, or its time is not now.
    #[error(transparent)]
    Certificate(#[from] CertificateRefusal),
    /// There is no bearer token in the header.
    #[error(transparent)]
    Bearer(#[from] BearerError),
    /// It is a bootstrap token that authenticates nobody.
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::Refusal),
    /// It is a service-account token that is not accepted.
    #[error(transparent)]
    ServiceAccount(#[from] serviceaccount::Refusal),
    /// It proves no node.
    #[error(transparent)]
    Pod(#[from] PodRefusal),
    /// It is somebody's, but not for these audiences.
    #[error("the token is for the audiences {accepted} of this authority, not for {wanted}")]
    Audience {
        /// What is configured.
        accepted: String,
        /// What was asked for.
        wanted: String,
    },
    /// Nobody knows it, another API server included.
    #[error("neither a configured source nor the API server that was asked knows the token")]
    Denied,
    /// No source has it.
    #[error("no configured source knows the token; check which cluster it was made for")]
    Unknown,
}

impl Refusal {
    /// Which part of the matter failed.
    pub fn cause(&self) -> Cause {
        match self {
            Self::ServiceAccount(refusal) => refusal.cause(),
            Self::Bootstrap(
                bootstrap::Refusal::Expired(..) | bootstrap::Refusal::UnreadableExpiry(_),
            )
            | Self::Certificate(CertificateRefusal::Expired(..)) => Cause::Expiry,
            Self::Certificate(CertificateRefusal::NotYetValid(..)) => Cause::Clock,
            Self::Audience { .. } => Cause::Audience,
            Self::Certificate(_)
            | Self::Bootstrap(_)
            | Self::Bearer(_)
            | Self::Pod(_)
            | Self::Denied
            | Self::Unknown => Cause::Token,
        }
    }

    /// Says whether the token is genuine all the same, so that its holder may know more.
    fn is_authentic(&self) -> bool {
        match self {
            Self::ServiceAccount(refusal) => refusal.is_authentic(),
            // The secret is compared before its time.
            Self::Bootstrap(bootstrap::Refusal::Expired(..)) | Self::Audience { .. } => true,
            _ => false,
        }
    }
}
