//! Answers who the asker is: `kubectl auth whoami`.

use super::body::{self, Body};
use super::call::Asked;
use super::respond;
use crate::error::ApiError;
use hyper::{Response, StatusCode};
use serde_json::json;

/// Resource and kind.
pub(super) const WHOAMI: (&str, &str) = ("selfsubjectreviews", "SelfSubjectReview");

/// The versions of authentication.k8s.io that are served, the preferred one first. kubectl 1.27 asks
/// in v1beta1, newer ones in v1.
pub(super) const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The group.
pub(super) const GROUP: &str = "authentication.k8s.io";

/// In which version a path asks who the asker is, if it does.
pub(super) fn version_of(path: &str) -> Option<&'static str> {
    let (version, resource) = path
        .strip_prefix("/apis/authentication.k8s.io/")?
        .split_once('/')?;
    let known = VERSIONS.into_iter().find(|known| *known == version)?;
    (resource == WHOAMI.0).then_some(known)
}

/// Answers in the version that was asked in.
pub(super) fn answer(
    asked: &Asked,
    version: &'static str,
    bytes: &[u8],
) -> Result<Response<Body>, ApiError> {
    let own = format!("{GROUP}/{version}");
    // The question has no spec.
    let () = body::review(asked, (WHOAMI.1, &own), bytes)?;
    let answer = json!({
        "kind": WHOAMI.1,
        "apiVersion": own,
        "metadata": {"creationTimestamp": null},
        "status": {"userInfo": asked.user},
    });
    Ok(respond::json(StatusCode::CREATED, &answer))
}
