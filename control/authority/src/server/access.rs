//! Answers what the asker itself may do: `kubectl auth can-i`, with and without `--list`.
//!
//! Only about the asker. What others may do (SubjectAccessReview) is asked by kubelets about pods and
//! nodes, of which the role table knows nothing.

use super::body::{self, Body};
use super::call::Asked;
use super::respond;
use crate::error::ApiError;
use crate::rules;
use crate::rules::Attributes;
use hyper::{Response, StatusCode};
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The API group.
pub(super) const GROUP: &str = "authorization.k8s.io";
const VERSION: &str = "authorization.k8s.io/v1";

/// Resource and kind of "may I do that?".
pub(super) const ACCESS: (&str, &str) = ("selfsubjectaccessreviews", "SelfSubjectAccessReview");
/// Resource and kind of "what may I do?".
pub(super) const RULES: (&str, &str) = ("selfsubjectrulesreviews", "SelfSubjectRulesReview");

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Access,
    Rules,
}

impl Question {
    pub(super) fn of(path: &str) -> Option<Self> {
        let resource = path.strip_prefix("/apis/authorization.k8s.io/v1/")?;
        [(ACCESS, Self::Access), (RULES, Self::Rules)]
            .into_iter()
            .find_map(|((name, _), question)| (name == resource).then_some(question))
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Access => ACCESS.1,
            Self::Rules => RULES.1,
        }
    }
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AccessSpec {
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_attributes: Option<Attributes>,
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "Option::is_none")]
    non_resource_attributes: Option<PathAttributes>,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct PathAttributes {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    verb: String,
}

#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
struct RulesSpec {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    namespace: String,
}

/// Answers a question.
pub(super) fn answer(
    asked: &Asked,
    question: Question,
    bytes: &[u8],
) -> Result<Response<Body>, ApiError> {
    let own = (question.kind(), VERSION);
    let (spec, status) = match question {
        Question::Access => {
            let spec: AccessSpec = body::review(asked, own, bytes)?;
            let status = access(asked, &spec)?;
            (json!(spec), status)
        }
        Question::Rules => {
            let spec: RulesSpec = body::review(asked, own, bytes)?;
            (json!(spec), all(asked))
        }
    };
    let answer = json!({
        "kind": question.kind(),
        "apiVersion": VERSION,
        "metadata": {"creationTimestamp": null},
        "spec": spec,
        "status": status,
    });
    Ok(respond::json(StatusCode::CREATED, &answer))
}

fn access(asked: &Asked, spec: &AccessSpec) -> Result<Value, ApiError> {
    let (roles, user) = (&asked.material.roles, &asked.user);
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(attributes), None) => Ok(match rules::allows(roles, user, attributes) {
            Some(_) => json!({"allowed": true}),
            None => json!({"allowed": false, "reason": why_not(attributes)}),
        }),
        (None, Some(PathAttributes { path, verb })) => {
            Ok(json!({"allowed": rules::allows_path(roles, user, verb, path)}))
        }
        _ => {
            let message = "exactly one of spec.resourceAttributes and \
                           spec.nonResourceAttributes must be given";
            Err(ApiError::bad_request(message))
        }
    }
}

fn all(asked: &Asked) -> Value {
    let (roles, user) = (&asked.material.roles, &asked.user);
    json!({
        "resourceRules": rules::rules(roles, user),
        "nonResourceRules": rules::path_rules(roles, user),
        "incomplete": false,
    })
}

fn why_not(asked: &Attributes) -> &'static str {
    match asked.group.as_str() {
        "certificates.k8s.io" | GROUP | "authentication.k8s.io" => {
            "no role of your groups allows it; see roles in the authority's configuration"
        }
        _ => "the authority serves no such resource",
    }
}
