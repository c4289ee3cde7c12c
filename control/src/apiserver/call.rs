//! One request to the API server: within a deadline, and with an error that says what to do.

use crate::cli::chain;
use std::time::Duration;
use tokio::time::timeout;

/// One answer; the API server itself cuts what takes longer than a minute, and nothing that is asked
/// here is slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The manifest with every right that is needed.
pub(crate) const MANIFEST: &str = "control/dist/authority-rbac.yaml";

/// Why a request to the API server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error(
        "the API server forbids to {verb} {resource} ({message}); bind this user to the roles of \
         {MANIFEST}"
    )]
    Forbidden {
        verb: &'static str,
        resource: &'static str,
        message: String,
    },
    /// The object was changed since it was read, or is there already.
    #[error("cannot {verb} {resource}: it was changed meanwhile")]
    Conflict {
        verb: &'static str,
        resource: &'static str,
    },
    #[error("cannot {verb} {resource}: it is not there")]
    Missing {
        verb: &'static str,
        resource: &'static str,
    },
    #[error("cannot {verb} {resource}: the API server answered {code}: {message}")]
    Refused {
        verb: &'static str,
        resource: &'static str,
        code: u16,
        message: String,
    },
    #[error(
        "cannot {verb} {resource}: the API server did not answer within {} s",
        DEADLINE.as_secs()
    )]
    Late {
        verb: &'static str,
        resource: &'static str,
    },
    #[error("cannot {verb} {resource}: {message}; is the API server there?")]
    Transport {
        verb: &'static str,
        resource: &'static str,
        message: String,
    },
}

impl CallError {
    /// The word of metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "forbidden",
            Self::Conflict { .. } => "conflict",
            Self::Missing { .. } => "missing",
            Self::Refused { .. } => "refused",
            Self::Late { .. } => "late",
            Self::Transport { .. } => "transport",
        }
    }

    /// Words what the client says of a failed request.
    pub(crate) fn of(verb: &'static str, resource: &'static str, error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self::Transport {
                verb,
                resource,
                message: chain(error),
            };
        };
        Self::answered(verb, resource, status.code, status.message.clone())
    }

    /// Words an answer that is no success.
    pub(crate) fn answered(
        verb: &'static str,
        resource: &'static str,
        code: u16,
        message: String,
    ) -> Self {
        match code {
            401 | 403 => Self::Forbidden {
                verb,
                resource,
                message,
            },
            404 => Self::Missing { verb, resource },
            409 => Self::Conflict { verb, resource },
            code => Self::Refused {
                verb,
                resource,
                code,
                message,
            },
        }
    }
}

/// Waits for one answer.
pub(crate) async fn call<T>(
    verb: &'static str,
    resource: &'static str,
    answer: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match timeout(DEADLINE, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(CallError::of(verb, resource, &error)),
        Err(_) => Err(CallError::Late { verb, resource }),
    }
}
