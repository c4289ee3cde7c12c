//! Writes answers.

use super::body::Body;
use crate::error::ApiError;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WARNING,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// An answer in JSON.
pub(super) fn json<T: Serialize + ?Sized>(code: StatusCode, value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => bytes_of(code, JSON, bytes.into()),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON; this is a bug");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer cannot be written\n",
            )
        }
    }
}

/// A refusal.
pub(super) fn error(error: &ApiError) -> Response<Body> {
    let mut response = json(error.code, &error.status());
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after_s() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if error.code == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if error.code == StatusCode::METHOD_NOT_ALLOWED {
        let allow = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
        headers.insert(ALLOW, allow);
    }
    response
}

/// A line of text.
pub(super) fn text(code: StatusCode, body: impl Into<String>) -> Response<Body> {
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    bytes_of(code, kind, Bytes::from(body.into()))
}

/// Bytes of another media type.
pub(super) fn bytes_of(code: StatusCode, kind: HeaderValue, body: Bytes) -> Response<Body> {
    finish(code, kind, Body::Whole(Full::new(body)))
}

/// A stream of JSON objects, one per line.
pub(super) fn stream(events: mpsc::Receiver<Bytes>) -> Response<Body> {
    finish(StatusCode::OK, JSON, Body::Stream(events))
}

fn finish(code: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, PRIVATE);
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(HeaderName::from_static("x-content-type-options"), nosniff);
    response
}

/// Adds warnings, which kubectl prints (RFC 7234, section 5.5, code 299).
pub(super) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {warning:?}")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}
