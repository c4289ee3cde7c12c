//! One request to the API server: within a deadline, and with an error that says what to do.

use eyesplice_proto::causes::chain;
use std::time::Duration;
use tokio::time::timeout;

/// One answer; the API server itself cuts what takes longer than a minute, and nothing that is asked
/// here is slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// The manifest with every right that is needed.
pub(crate) const MANIFEST: &str = "control/dist/authority-rbac.yaml";

/// A verb, and the resource that it is about.
#[derive(Clone, Copy, Debug, derive_more::Display)]
#[display("{_0} {_1}")]
pub(crate) struct Act(pub(crate) &'static str, pub(crate) &'static str);

/// Why a request to the API server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The credential is not accepted; no role of any user would help.
    #[error(
        "the API server does not know this process, which wants to {0} ({1}); its credential has \
         expired, was revoked, or is another cluster's: renew it, and see \
         `eyesplice kubeconfig check`"
    )]
    Unauthorized(Act, String),
    #[error("the API server forbids to {0} ({1}); bind this user to the roles of {MANIFEST}")]
    Forbidden(Act, String),
    /// The object was changed since it was read, or is there already.
    #[error("cannot {0}: it was changed meanwhile")]
    Conflict(Act),
    #[error("cannot {0}: it is not there")]
    Missing(Act),
    #[error("cannot {0}: the API server answered {1}: {2}")]
    Refused(Act, u16, String),
    #[error("cannot {0}: the API server did not answer within {wait} s", wait = DEADLINE.as_secs())]
    Late(Act),
    #[error("cannot {0}: {1}; is the API server there?")]
    Transport(Act, String),
}

impl CallError {
    /// The word of metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Unauthorized(..) => "unauthorized",
            Self::Forbidden(..) => "forbidden",
            Self::Conflict(_) => "conflict",
            Self::Missing(_) => "missing",
            Self::Refused(..) => "refused",
            Self::Late(_) => "late",
            Self::Transport(..) => "transport",
        }
    }

    /// Words what the client says of a failed request.
    pub(crate) fn of(act: Act, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::answered(act, status.code, status.message.clone()),
            error => Self::Transport(act, chain(error)),
        }
    }

    /// Says whether a person has to change something at the API server before it can be otherwise.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(self, Self::Unauthorized(..) | Self::Forbidden(..))
    }

    /// Words an answer that is no success.
    pub(crate) fn answered(act: Act, code: u16, message: String) -> Self {
        match code {
            401 => Self::Unauthorized(act, message),
            403 => Self::Forbidden(act, message),
            404 => Self::Missing(act),
            409 => Self::Conflict(act),
            code => Self::Refused(act, code, message),
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
        Ok(Err(error)) => Err(CallError::of(Act(verb, resource), &error)),
        Err(_) => Err(CallError::Late(Act(verb, resource))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;

    fn answered(code: u16) -> CallError {
        CallError::answered(Act("list", "nodes"), code, "words of the server".to_owned())
    }

    #[test]
    fn answer_that_is_no_success_says_what_to_do() {
        for (code, word, needs_a_person, expected) in [
            (401, "unauthorized", true, "renew it"),
            (403, "forbidden", true, MANIFEST),
            (404, "missing", false, "cannot list nodes: it is not there"),
            (409, "conflict", false, "changed meanwhile"),
            (500, "refused", false, "answered 500: words of the server"),
        ] {
            let error = answered(code);
            assert_eq!(error.as_str(), word, "{code}");
            assert_eq!(error.needs_a_person(), needs_a_person, "{code}");
            let text = error.to_string();
            assert!(text.contains(expected), "{text}");
        }
        let text = answered(401).to_string();
        assert!(!text.contains("role"), "no role helps: {text}");
        let text = answered(403).to_string();
        assert!(
            !text.contains("credential"),
            "the credential is good: {text}"
        );
    }

    #[test]
    fn failure_of_the_client_keeps_the_code_of_the_server() {
        let status = Status::failure("words", "Unauthorized").with_code(401);
        let error = CallError::of(Act("get", "leases"), &kube::Error::Api(status.boxed()));
        assert_eq!(error.as_str(), "unauthorized");
        let refused = std::io::Error::other("no route");
        let error = CallError::of(Act("get", "leases"), &kube::Error::Service(refused.into()));
        assert_eq!(error.as_str(), "transport");
        assert!(error.to_string().contains("no route"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn call_without_an_answer_ends_at_its_deadline() {
        let error = call::<()>("get", "leases", std::future::pending()).await;
        assert_eq!(error.map_err(|error| error.as_str()), Err("late"));
        let answer = call("get", "leases", async { Ok(7) }).await;
        assert!(matches!(answer, Ok(7)));
    }
}
