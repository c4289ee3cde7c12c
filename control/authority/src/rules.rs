//! The role table as Kubernetes writes rules: what `kubectl auth can-i` is told.
//!
//! A rule says what a role reaches at all. Which of the objects it is about (one's own, those of some
//! signers) is decided per object by `roles`, as upstream decides it by admission; `resourceNames` of
//! `signers` say for which.

use super::object::{GROUP, RESOURCE};
use super::roles::{Binding, Role, Roles};
use eyesplice_identity::user::UserInfo;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Upstream's virtual resource by which approving and signing are granted per signer.
const SIGNERS: &str = "signers";

/// A request as a rule judges it (authorization.k8s.io/v1 `ResourceAttributes`).
#[derive(Clone, PartialEq, Message, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) verb: String,
    #[prost(string, tag = "3")]
    pub(crate) group: String,
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) version: String,
    #[prost(string, tag = "5")]
    pub(crate) resource: String,
    #[prost(string, tag = "6")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) subresource: String,
    #[prost(string, tag = "7")]
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
}

/// What may be done to some resources (`ResourceRule`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) verbs: &'static [&'static str],
    pub(crate) api_groups: &'static [&'static str],
    pub(crate) resources: &'static [&'static str],
    /// Names, `domain/*` or `*`; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
}

/// Paths that everybody with a name reads.
const PATHS: &[&str] = &[
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/healthz/*",
    "/livez",
    "/livez/*",
    "/openapi/*",
    "/readyz",
    "/readyz/*",
    "/version",
    "/version/",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
];

const READ: &[&str] = &["get", "list", "watch"];

/// Every rule of a user.
pub(crate) fn rules(roles: &Roles, user: &UserInfo) -> Vec<Rule> {
    let asks = &["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    let who = &["selfsubjectreviews"];
    let mut rules = vec![
        rule(&["create"], &["authorization.k8s.io"], asks),
        rule(&["create"], &["authentication.k8s.io"], who),
    ];
    for binding in roles.of(user) {
        for rule in of_role(binding) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// Says by which rule a user may do that, if by any.
pub(crate) fn allows(roles: &Roles, user: &UserInfo, asked: &Attributes) -> Option<Rule> {
    rules(roles, user)
        .into_iter()
        .find(|rule| rule.allows(asked))
}

/// What a user may do to paths that are no resource (`NonResourceRule`).
pub(crate) fn path_rules(roles: &Roles, user: &UserInfo) -> Value {
    if is_admin(roles, user) {
        return json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    }
    json!([{"verbs": ["get"], "nonResourceURLs": PATHS}])
}

fn is_admin(roles: &Roles, user: &UserInfo) -> bool {
    roles.of(user).any(|binding| binding.role == Role::Admin)
}

/// Says whether a user may read a path that is no resource.
pub(crate) fn allows_path(roles: &Roles, user: &UserInfo, verb: &str, path: &str) -> bool {
    if is_admin(roles, user) {
        return true;
    }
    let fits = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(base) => path.starts_with(base),
        None => path == *pattern,
    };
    verb == "get" && PATHS.iter().any(fits)
}

fn of_role(binding: &Binding) -> Vec<Rule> {
    let csrs = |verbs| rule(verbs, &[GROUP], &[RESOURCE]);
    let part = |resources| rule(&["get", "update"], &[GROUP], resources);
    let signers = |verbs| Rule {
        resource_names: binding.signers.clone(),
        ..rule(verbs, &[GROUP], &[SIGNERS])
    };
    let reviews = || rule(&["create"], &["authentication.k8s.io"], &["tokenreviews"]);
    let asks = csrs(&["create", "get", "list", "watch"]);
    match binding.role {
        Role::Admin => vec![rule(&["*"], &["*"], &["*"])],
        Role::Approver => vec![
            csrs(&["delete", "get", "list", "patch", "update", "watch"]),
            part(&["certificatesigningrequests/approval"]),
            signers(&["approve"]),
        ],
        Role::Signer => vec![
            csrs(READ),
            part(&["certificatesigningrequests/status"]),
            signers(&["sign"]),
        ],
        Role::Viewer => vec![csrs(READ)],
        Role::Reviewer => vec![reviews()],
        Role::Node => vec![asks, reviews()],
        Role::Requester
        | Role::Bootstrapper
        | Role::GatewayBootstrapper
        | Role::Gateway
        | Role::Agent => {
            vec![asks]
        }
    }
}

fn rule(
    verbs: &'static [&'static str],
    api_groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> Rule {
    Rule {
        verbs,
        api_groups,
        resources,
        resource_names: Vec::new(),
    }
}

impl Rule {
    fn allows(&self, asked: &Attributes) -> bool {
        let has = |list: &[&str], one: &str| list.iter().any(|each| *each == "*" || *each == one);
        let resource = if asked.subresource.is_empty() {
            asked.resource.clone()
        } else {
            format!("{}/{}", asked.resource, asked.subresource)
        };
        let named = |pattern: &String| match pattern.strip_suffix('*') {
            Some(domain) => asked.name.starts_with(domain),
            None => *pattern == asked.name,
        };
        has(self.verbs, &asked.verb)
            && has(self.api_groups, &asked.group)
            && has(self.resources, &resource)
            && (self.resource_names.is_empty() || self.resource_names.iter().any(named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::NODE_BOOTSTRAPPERS;
    use eyesplice_identity::x509::Signer;

    const ROLES: [(&str, Role); 5] = [
        ("approvers", Role::Approver),
        ("signers", Role::Signer),
        ("requesters", Role::Requester),
        ("viewers", Role::Viewer),
        ("reviewers", Role::Reviewer),
    ];

    fn roles() -> Roles {
        let rows = ROLES.map(|(group, role)| Binding {
            group: group.to_owned(),
            role,
            signers: vec![
                Signer::KubeletServing.name().to_owned(),
                "a.example/*".to_owned(),
            ],
        });
        Roles::new(&rows)
    }

    fn user(group: &str) -> UserInfo {
        UserInfo {
            username: "system:node:w".to_owned(),
            groups: vec![group.to_owned()],
            ..UserInfo::default()
        }
    }

    fn may(group: &str, verb: &str, what: &str, name: &str) -> bool {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let api = match resource {
            "tokenreviews" | "selfsubjectreviews" => "authentication.k8s.io",
            "selfsubjectaccessreviews" => "authorization.k8s.io",
            "pods" => "",
            _ => GROUP,
        };
        let asked = Attributes {
            verb: verb.to_owned(),
            group: api.to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..Attributes::default()
        };
        allows(&roles(), &user(group), &asked).is_some()
    }

    #[test]
    fn rules_of_every_role() {
        let approval = "certificatesigningrequests/approval";
        let status = "certificatesigningrequests/status";
        let serving = Signer::KubeletServing.name();
        for (verb, what, name, who) in [
            (
                "list",
                RESOURCE,
                "",
                "masters approvers signers requesters viewers bootstrappers nodes",
            ),
            (
                "create",
                RESOURCE,
                "",
                "masters requesters bootstrappers nodes",
            ),
            ("delete", RESOURCE, "a", "masters approvers"),
            ("patch", RESOURCE, "a", "masters approvers"),
            ("deletecollection", RESOURCE, "", "masters"),
            ("update", approval, "a", "masters approvers"),
            ("update", status, "a", "masters signers"),
            ("approve", SIGNERS, serving, "masters approvers"),
            ("approve", SIGNERS, "a.example/x", "masters approvers"),
            ("approve", SIGNERS, "b.example/x", "masters"),
            ("sign", SIGNERS, serving, "masters signers"),
            ("create", "tokenreviews", "", "masters reviewers nodes"),
            ("list", "pods", "", "masters"),
            (
                "create",
                "selfsubjectreviews",
                "",
                "masters approvers signers requesters viewers reviewers bootstrappers nodes nobody",
            ),
            (
                "create",
                "selfsubjectaccessreviews",
                "",
                "masters approvers signers requesters viewers reviewers bootstrappers nodes nobody",
            ),
        ] {
            for group in [
                "masters",
                "approvers",
                "signers",
                "requesters",
                "viewers",
                "reviewers",
                "bootstrappers",
                "nodes",
                "nobody",
            ] {
                let full = match group {
                    "bootstrappers" => NODE_BOOTSTRAPPERS.to_owned(),
                    "masters" | "nodes" => format!("system:{group}"),
                    own => own.to_owned(),
                };
                let expected = who.split(' ').any(|each| each == group);
                assert_eq!(
                    may(&full, verb, what, name),
                    expected,
                    "{group} {verb} {what} {name}"
                );
            }
        }
    }

    #[test]
    fn rules_agree_with_what_the_server_does() {
        use crate::roles::Sight;
        let roles = roles();
        let mut groups: Vec<&str> = ROLES.iter().map(|(group, _)| *group).collect();
        groups.extend([
            "system:masters",
            NODE_BOOTSTRAPPERS,
            "system:bootstrappers",
            "system:nodes",
            "nobody",
        ]);
        let serving = Signer::KubeletServing.name();
        for group in groups {
            let user = user(group);
            let sees = roles.sight(&user) != Sight::Nothing;
            assert_eq!(may(group, "list", RESOURCE, ""), sees, "{group}");
            for signer in [serving, "b.example/x"] {
                let approves = roles.may_approve(&user, signer).is_ok();
                assert_eq!(
                    may(group, "approve", SIGNERS, signer),
                    approves,
                    "{group} {signer}"
                );
                let signs = roles.may_sign(&user, signer).is_ok();
                assert_eq!(
                    may(group, "sign", SIGNERS, signer),
                    signs,
                    "{group} {signer}"
                );
            }
            let reviews = roles.may_review(&user).is_ok();
            assert_eq!(may(group, "create", "tokenreviews", ""), reviews, "{group}");
        }
    }

    #[test]
    fn paths_are_read_by_everybody_and_written_by_nobody() {
        let roles = roles();
        let nobody = user("nobody");
        for path in [
            "/version",
            "/apis",
            "/apis/certificates.k8s.io/v1",
            "/openapi/v2",
        ] {
            assert!(allows_path(&roles, &nobody, "get", path), "{path}");
            assert!(!allows_path(&roles, &nobody, "post", path), "{path}");
        }
        assert!(!allows_path(&roles, &nobody, "get", "/metrics"));
        assert!(allows_path(
            &roles,
            &user("system:masters"),
            "get",
            "/metrics"
        ));
    }
}
