//! Asks what a user may do: SubjectAccessReview of authorization.k8s.io.

use super::review::{Kind, ask, status};
use super::{AskError, Cluster};
use crate::answers::Answers;
use crate::token::digest::{Digest, Digester};
use crate::user::UserInfo;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const REVIEW: Kind = Kind {
    path: "/apis/authorization.k8s.io/v1/subjectaccessreviews",
    api_version: "authorization.k8s.io/v1",
    kind: "SubjectAccessReview",
};

/// How long a yes is good; as long as an API server believes a token. A no is asked again at once.
const YES: Duration = Duration::from_secs(10);
/// Answers that are kept: at some 300 bytes each with the reason, a few MiB.
const CAPACITY: usize = 8192;

/// What a user wants to do to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access<'a> {
    /// `get` or `create`.
    pub verb: &'static str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// `exec`, `attach`, `portforward` or `log`; nothing for the pod itself.
    pub subresource: &'static str,
}

/// Asks, and remembers each yes for a while.
#[derive(Debug)]
pub struct AccessReviews {
    cluster: Arc<Cluster>,
    digester: Digester,
    answers: Answers<Digest, Result<Option<Arc<str>>, AskError>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    resource_attributes: Attributes<'a>,
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    groups: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: &'a BTreeMap<String, Vec<String>>,
}

/// As the API server's own authorizers get them.
#[derive(Serialize)]
struct Attributes<'a> {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    namespace: &'a str,
    name: &'a str,
}

/// An answer with a field that is not known here, like a condition, is no plain one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Status {
    #[serde(default)]
    allowed: bool,
    #[serde(default)]
    denied: bool,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    evaluation_error: String,
}

impl AccessReviews {
    /// Asks these API servers.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            digester: Digester::new(),
            answers: Answers::new(CAPACITY),
        }
    }

    /// Says why a user may do something; `None`: the user may not, or not plainly. With an error or
    /// under a condition is not.
    ///
    /// # Errors
    /// There is no answer, or one that cannot be read in full.
    pub async fn allows(
        &self,
        user: &UserInfo,
        access: Access<'_>,
    ) -> Result<Option<Arc<str>>, AskError> {
        let Some(question) = ask(&REVIEW, Spec::new(user, access)) else {
            return Err(AskError::Answer(REVIEW.kind.to_owned()));
        };
        let key = str::from_utf8(&question.body).map(|text| self.digester.digest(&[text]));
        let Ok(key) = key else {
            return Err(AskError::Answer(REVIEW.kind.to_owned()));
        };
        let cluster = Arc::clone(&self.cluster);
        let asked = || async move {
            let status: Status = status(&cluster, &REVIEW, &question).await?;
            let plain = !status.denied && status.evaluation_error.is_empty();
            Ok((status.allowed && plain).then(|| status.reason.into()))
        };
        let lasts = |answer: &Result<Option<Arc<str>>, AskError>| match answer {
            Ok(Some(_)) => YES,
            Ok(None) | Err(_) => Duration::ZERO,
        };
        let found = self.answers.find(key, lasts, asked).await;
        found.unwrap_or_else(|| Err(AskError::Answer(REVIEW.kind.to_owned())))
    }
}

impl<'a> Spec<'a> {
    fn new(user: &'a UserInfo, access: Access<'a>) -> Self {
        Self {
            resource_attributes: Attributes {
                verb: access.verb,
                group: "",
                version: "v1",
                resource: "pods",
                subresource: access.subresource,
                namespace: access.namespace,
                name: access.pod,
            },
            user: &user.username,
            uid: &user.uid,
            groups: &user.groups,
            extra: &user.extra,
        }
    }
}
