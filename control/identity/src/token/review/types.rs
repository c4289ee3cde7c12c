//! The objects of a review, as the API has them.

use crate::user::UserInfo;
use prost::Message;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// Where reviews are posted.
pub const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Where they are posted by those who ask in v1beta1.
pub const BETA_PATH: &str = "/apis/authentication.k8s.io/v1beta1/tokenreviews";

/// Says whether reviews are posted there, with a slash at its end or without.
pub fn is_path(path: &str) -> bool {
    [PATH, BETA_PATH].contains(&path.strip_suffix('/').unwrap_or(path))
}

/// The version of the API that we ask in.
pub(crate) const API_VERSION: &str = "authentication.k8s.io/v1";
/// The versions that we answer in, each in its own: an API server asks its webhook in v1beta1 unless
/// `--authentication-token-webhook-version=v1`. Their fields are the same.
pub(crate) const API_VERSIONS: [&str; 2] = [API_VERSION, "authentication.k8s.io/v1beta1"];
/// The kind of object.
pub(crate) const KIND: &str = "TokenReview";

/// A question about a token, and its answer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenReview {
    /// `authentication.k8s.io/v1`.
    #[serde(default)]
    pub api_version: String,
    /// `TokenReview`.
    #[serde(default)]
    pub kind: String,
    /// Means nothing for a review; echoed by the API server, left out here.
    #[serde(default, skip_serializing)]
    pub metadata: serde::de::IgnoredAny,
    /// The question.
    #[serde(default)]
    pub spec: ReviewSpec,
    /// The answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ReviewStatus>,
}

/// The question, in JSON and in protobuf (api `authentication/v1/generated.proto`).
#[derive(Clone, PartialEq, Message, Serialize, Deserialize, derive_more::Debug)]
#[prost(skip_debug)]
#[debug("ReviewSpec({audiences:?})")]
pub struct ReviewSpec {
    /// The token; never written by `Debug`, wiped when dropped.
    #[prost(string, tag = "1")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// For whom it must be; empty: for the API server itself.
    #[prost(string, repeated, tag = "2")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
}

impl Drop for ReviewSpec {
    fn drop(&mut self) {
        self.token.zeroize();
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewStatus {
    /// Whether the token is somebody's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub authenticated: bool,
    /// Whose.
    #[serde(default)]
    pub user: UserInfo,
    /// For which of the audiences that were asked for; empty if the answerer knows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub audiences: Vec<String>,
    /// Why not, in words for the asker.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}
