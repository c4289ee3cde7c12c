//! Answers reviews, for kubelets, API servers and whoever else asks `TokenReview`.
//!
//! Whoever mounts it decides who may ask: the answer to a question is whether a token is valid, so
//! askers need what Kubernetes calls system:auth-delegator.

use super::{Authenticator, AuthnError};
use crate::protobuf::{MEDIA_TYPE, open_spec};
use crate::token::BearerToken;
use crate::token::review::{API_VERSIONS, KIND, ReviewSpec, ReviewStatus, TokenReview, is_path};
use eyesplice_proto::causes::chain;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::json;
use std::error::Error;
use std::time::SystemTime;
use zeroize::Zeroizing;

/// Longest question: the longest token, audiences, and what clients put into metadata.
const MAX_QUESTION: usize = 128 << 10;
/// Audiences of one question.
const MAX_AUDIENCES: usize = 64;

/// Answers one request, in JSON or protobuf; in JSON, which every client that sends protobuf takes.
///
/// A token that is not accepted is an answer (201, `authenticated: false`), not an error; its cause
/// goes to the log, and `status.error` tells what the asker may know.
pub async fn handle<B>(
    authenticator: &Authenticator,
    request: Request<B>,
    now: SystemTime,
) -> Response<Full<Bytes>>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    if !is_path(request.uri().path()) {
        return refuse(
            StatusCode::NOT_FOUND,
            "NotFound",
            "there is no such resource",
        );
    }
    if request.method() != Method::POST {
        let words = "a TokenReview is created, nothing else";
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", words);
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    let Some(encoding) = Encoding::of(request.headers()) else {
        let words =
            "send the TokenReview as application/json or application/vnd.kubernetes.protobuf";
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            words,
        );
    };
    let Ok(body) = Limited::new(request.into_body(), MAX_QUESTION)
        .collect()
        .await
    else {
        let words = "the TokenReview is too large, or was cut off";
        return refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            words,
        );
    };
    let body = Zeroizing::new(body.to_bytes().to_vec());
    let (version, spec) = match read(encoding, &body) {
        Ok(read) => read,
        Err(words) => return refuse(StatusCode::BAD_REQUEST, "BadRequest", words),
    };
    let status = answer(authenticator, &spec, now).await;
    let answer = json!({
        // As it was asked, at either path: an API server's webhook file and its flag for the version
        // do not know of each other.
        "apiVersion": version,
        "kind": KIND,
        "metadata": {},
        // The token is not sent back; only its asker would read it, and every log on the way.
        "spec": {"audiences": spec.audiences},
        "status": status,
    });
    respond(StatusCode::CREATED, &answer)
}

async fn answer(authenticator: &Authenticator, spec: &ReviewSpec, now: SystemTime) -> ReviewStatus {
    let error = match BearerToken::new(&spec.token) {
        Ok(token) => match authenticator.review(&token, &spec.audiences, now).await {
            Ok(reviewed) => {
                return ReviewStatus {
                    authenticated: true,
                    user: reviewed.user,
                    audiences: reviewed.audiences,
                    error: String::new(),
                };
            }
            Err(error) => error,
        },
        Err(reason) => AuthnError::bearer(reason),
    };
    tracing::info!(
        error = chain(&error),
        cause = error.cause().as_str(),
        "token reviewed and not accepted"
    );
    ReviewStatus {
        error: error.words_for_reviewer().to_owned(),
        ..ReviewStatus::default()
    }
}

/// How a question is written.
#[derive(Clone, Copy)]
enum Encoding {
    Json,
    Protobuf,
}

impl Encoding {
    /// By Content-Type, with parameters or without; absent is JSON, as the API server takes it.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Some(Self::Json);
        };
        let text = value.to_str().ok()?;
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            MEDIA_TYPE => Some(Self::Protobuf),
            _ => None,
        }
    }
}

fn decode(encoding: Encoding, body: &[u8]) -> Result<TokenReview, &'static str> {
    match encoding {
        Encoding::Json => {
            serde_json::from_slice(body).map_err(|_| "the body is no TokenReview in JSON")
        }
        Encoding::Protobuf => {
            let (of, spec) = open_spec(body)
                .map_err(|_| "the body is no TokenReview in Kubernetes' protobuf")?;
            Ok(TokenReview {
                api_version: of.api_version,
                kind: of.kind,
                spec,
                ..TokenReview::default()
            })
        }
    }
}

fn read(encoding: Encoding, body: &[u8]) -> Result<(&'static str, ReviewSpec), &'static str> {
    let review = decode(encoding, body)?;
    let version = API_VERSIONS
        .into_iter()
        .find(|version| *version == review.api_version);
    let Some(version) = version.filter(|_| review.kind == KIND) else {
        return Err("the body is not kind TokenReview of authentication.k8s.io/v1 or v1beta1");
    };
    if review.spec.token.is_empty() {
        return Err("spec.token is required");
    }
    if review.spec.audiences.len() > MAX_AUDIENCES {
        return Err("spec.audiences has too many entries");
    }
    Ok((version, review.spec))
}

/// A refusal in Kubernetes' own form.
fn refuse(code: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    });
    respond(code, &status)
}

fn respond(code: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

#[cfg(test)]
mod tests;
