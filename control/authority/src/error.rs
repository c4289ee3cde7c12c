//! Errors in the form of Kubernetes: the object `Status` (apimachinery `pkg/api/errors/errors.go`).
//!
//! Reasons and codes are what clients act upon; texts follow upstream's where scripts read them.

use super::object::{GROUP, KIND, RESOURCE};
use eyesplice_proto::causes::chain;
use hyper::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    ListMeta, Status, StatusCause, StatusDetails,
};

/// A refusal as a client gets it.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: StatusCode,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// Which object it is about, causes, and for how long the client should stay away.
    details: Box<StatusDetails>,
    /// Where a list that expired can be gone on with.
    resume: Option<Box<str>>,
}

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{field}: {problem}")]
pub(crate) struct FieldError {
    pub(crate) field: String,
    pub(crate) problem: Problem,
}

/// What is wrong with a field (apimachinery `pkg/util/validation/field/errors.go`).
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub(crate) enum Problem {
    #[display("Required value{}{_0}", if _0.is_empty() { "" } else { ": " })]
    Required(String),
    #[display("Invalid value: {value}: {why}")]
    Invalid { value: String, why: String },
    #[display("Unsupported value: {value:?}: supported values: {known}")]
    Unsupported { value: String, known: String },
    #[display("Duplicate value: {_0:?}")]
    Duplicate(String),
    #[display("Forbidden: {_0}")]
    Forbidden(String),
    #[display("Too long: may not be more than {limit} bytes")]
    TooLong { limit: usize },
}

impl Problem {
    fn reason(&self) -> &'static str {
        match self {
            Self::Required(_) => "FieldValueRequired",
            Self::Invalid { .. } => "FieldValueInvalid",
            Self::Unsupported { .. } => "FieldValueNotSupported",
            Self::Duplicate(_) => "FieldValueDuplicate",
            Self::Forbidden(_) => "FieldValueForbidden",
            Self::TooLong { .. } => "FieldValueTooLong",
        }
    }
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: Box::default(),
            resume: None,
        }
    }

    /// It is about a resource, or, for an invalid object, about its kind.
    fn about(mut self, kind: &str, name: &str) -> Self {
        self.details.group = Some(GROUP.to_owned());
        self.details.kind = Some(kind.to_owned());
        self.details.name = (!name.is_empty()).then(|| name.to_owned());
        self
    }

    fn after(mut self, seconds: u32) -> Self {
        self.details.retry_after_seconds = Some(seconds.try_into().unwrap_or(i32::MAX));
        self
    }

    /// For how long the client should stay away.
    pub(crate) fn retry_after_s(&self) -> Option<i32> {
        self.details.retry_after_seconds
    }

    /// There is no such path.
    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// There is no such object.
    pub(crate) fn not_found(name: &str) -> Self {
        let message = format!("{RESOURCE}.{GROUP} {name:?} not found");
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(RESOURCE, name)
    }

    /// The name is taken.
    pub(crate) fn exists(name: &str) -> Self {
        let message = format!("{RESOURCE}.{GROUP} {name:?} already exists");
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(RESOURCE, name)
    }

    /// Somebody else changed it first, or it is another object of the same name.
    pub(crate) fn conflict(name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {RESOURCE}.{GROUP} {name:?}: {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(RESOURCE, name)
    }

    /// The user may not do that.
    pub(crate) fn forbidden(name: &str, why: &str) -> Self {
        let message = if name.is_empty() {
            format!("{RESOURCE}.{GROUP} is forbidden: {why}")
        } else {
            format!("{RESOURCE}.{GROUP} {name:?} is forbidden: {why}")
        };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(RESOURCE, name)
    }

    /// The user may not ask whose a token is.
    pub(crate) fn forbidden_review(why: &str) -> Self {
        let message = format!("tokenreviews.authentication.k8s.io is forbidden: {why}");
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// Nobody may do that, whatever it is about.
    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// The body is compressed.
    pub(crate) fn content_encoding() -> Self {
        let message = "the body of the request has a content encoding, and none is supported; send \
                       it as it is";
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(code, "UnsupportedMediaType", message)
    }

    /// Fields are wrong; there is at least one.
    pub(crate) fn invalid(name: &str, errors: &[FieldError]) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let texts = match &texts[..] {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let message = format!("{KIND}.{GROUP} {name:?} is invalid: {texts}");
        let error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        let mut error = error.about(KIND, name);
        let cause = |error: &FieldError| StatusCause {
            reason: Some(error.problem.reason().to_owned()),
            message: Some(error.problem.to_string()),
            field: Some(error.field.clone()),
        };
        error.details.causes = Some(errors.iter().map(cause).collect());
        error
    }

    /// The object says what nobody here would obey.
    pub(crate) fn not_obeyed(name: &str, field: &str) -> Self {
        let why = "this authority has no garbage collector that would obey it; leave it out";
        let problem = Problem::Forbidden(why.to_owned());
        let field = format!("metadata.{field}");
        Self::invalid(name, &[FieldError { field, problem }])
    }

    /// Nobody is who this request says.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The method is not for this path.
    pub(crate) fn method() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// The body's media type is not known.
    pub(crate) fn media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(code, "UnsupportedMediaType", message)
    }

    /// No media type that the client accepts can be written.
    pub(crate) fn not_acceptable(known: &str) -> Self {
        let message = format!("only the following media types are accepted: {known}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// The body is too long.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        let code = StatusCode::PAYLOAD_TOO_LARGE;
        Self::new(code, "RequestEntityTooLarge", message)
    }

    /// The client shall come back later.
    pub(crate) fn too_many(message: impl Into<String>, retry_after_s: u32) -> Self {
        let code = StatusCode::TOO_MANY_REQUESTS;
        Self::new(code, "TooManyRequests", message).after(retry_after_s)
    }

    /// The changes since then are not kept.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The state of an earlier page is not kept; `resume` lists the rest of what is there now.
    pub(crate) fn expired_page(resume: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list \
                       result. You can start a new list without the continue parameter, or use the \
                       continue token in this response to retrieve the remainder of the results. \
                       Continuing with the provided token results in an inconsistent list - objects \
                       that were created, modified, or deleted between the time the first chunk was \
                       returned and now may show up in the list.";
        let mut error = Self::new(StatusCode::GONE, "Expired", message);
        error.resume = Some(resume.into());
        error
    }

    /// The state of that revision is not kept.
    pub(crate) fn expired_list() -> Self {
        let message = "The resourceVersion for the provided list is too old.";
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The client knows a revision that this store has not reached.
    pub(crate) fn from_the_future(asked: u64, current: u64) -> Self {
        let message = format!("Too large resource version: {asked}, current: {current}");
        let mut error = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).after(1);
        error.details.causes = Some(vec![StatusCause {
            reason: Some("ResourceVersionTooLarge".to_owned()),
            message: Some("Too large resource version".to_owned()),
            field: None,
        }]);
        error
    }

    /// Something here failed; the log has more.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let code = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(code, "InternalError", message)
    }

    /// Something here failed, and a later try may do.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let code = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(code, "ServiceUnavailable", message).after(1)
    }

    /// The object `Status`.
    pub(crate) fn status(&self) -> Status {
        let details = (*self.details != StatusDetails::default()).then(|| (*self.details).clone());
        Status {
            status: Some("Failure".to_owned()),
            message: Some(self.message.clone()),
            reason: Some(self.reason.to_owned()),
            code: Some(self.code.as_u16().into()),
            details,
            metadata: ListMeta {
                continue_: self.resume.as_deref().map(str::to_owned),
                ..ListMeta::default()
            },
        }
    }
}

impl From<super::store::StoreError> for ApiError {
    fn from(error: super::store::StoreError) -> Self {
        use super::store::StoreError;
        match &error {
            StoreError::Exists { name } => Self::exists(name),
            StoreError::Missing { name } => Self::not_found(name),
            other => {
                tracing::error!(error = chain(other), "store failed");
                // 503 with Retry-After, which client-go tries again by itself; a 507 it does not know.
                Self::unavailable(if other.is_full() {
                    "the authority's disk is full; its operator must make room"
                } else {
                    "the store of the authority cannot be written; see its log"
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn invalid_lists_every_field_as_upstream_does() {
        let errors = [
            FieldError {
                field: "spec.usages".to_owned(),
                problem: Problem::Required(String::new()),
            },
            FieldError {
                field: "spec.expirationSeconds".to_owned(),
                problem: Problem::Invalid {
                    value: "1".to_owned(),
                    why: "too short".to_owned(),
                },
            },
        ];
        let status = json!(ApiError::invalid("a", &errors).status());
        assert_eq!(
            status["message"],
            "CertificateSigningRequest.certificates.k8s.io \"a\" is invalid: [spec.usages: Required \
             value, spec.expirationSeconds: Invalid value: 1: too short]"
        );
        assert_eq!(status["details"]["kind"], KIND);
        assert_eq!(
            status["details"]["causes"][0]["reason"],
            "FieldValueRequired"
        );
        assert_eq!(
            status["details"]["causes"][1]["field"],
            "spec.expirationSeconds"
        );
        assert_eq!(status["code"], 422);
    }

    #[test]
    fn too_many_says_when_to_come_back() {
        let status = json!(ApiError::too_many("slow down", 7).status());
        assert_eq!(status["details"]["retryAfterSeconds"], 7);
        assert_eq!(
            (&status["code"], &status["reason"]),
            (&json!(429), &json!("TooManyRequests"))
        );
    }
}
