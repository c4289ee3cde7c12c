//! Puts a review to the API servers of a cluster: an object whose status is the answer.

use super::{Ask, AskError, Cluster};
use hyper::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest answer: a user of a thousand long groups, or as many words of a webhook.
const MAX_ANSWER: usize = 256 << 10;

/// A kind of review.
pub(super) struct Kind {
    pub(super) path: &'static str,
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<S> {
    api_version: &'static str,
    kind: &'static str,
    spec: S,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered<T> {
    api_version: String,
    kind: String,
    status: T,
}

/// Builds the question; `None`: it cannot be put into JSON.
pub(super) fn ask(kind: &Kind, spec: impl Serialize) -> Option<Ask> {
    let asked = Asked {
        api_version: kind.api_version,
        kind: kind.kind,
        spec,
    };
    Some(Ask {
        method: Method::POST,
        path: kind.path.to_owned(),
        body: serde_json::to_vec(&asked).ok()?,
        limit: MAX_ANSWER,
    })
}

/// Asks, and gives the status of an answer of the same kind.
pub(super) async fn status<T: DeserializeOwned>(
    cluster: &Cluster,
    kind: &Kind,
    ask: &Ask,
) -> Result<T, AskError> {
    let answered: Answered<T> = cluster.read(ask).await?;
    if answered.kind == kind.kind && answered.api_version == kind.api_version {
        Ok(answered.status)
    } else {
        Err(AskError::Answer(kind.kind.to_owned()))
    }
}
