//! Webhook configurations, policies and bindings, as far as they say what they concern.
//!
//! What is missing or unknown counts as matching.

use eyesplice_proto::api::Subresource;
use serde::Deserialize;

const GROUP: &str = "admissionregistration.k8s.io/";

/// A list of any of the kinds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List {
    api_version: String,
    kind: String,
    #[serde(default)]
    metadata: ListMetadata,
    items: Option<Vec<Object>>,
}

#[derive(Debug, Default, Deserialize)]
struct ListMetadata {
    #[serde(default)]
    r#continue: String,
}

impl List {
    /// Gives its objects, if it is a list of such, and there are no more.
    pub(super) fn whole(self) -> Option<Vec<Object>> {
        let is_list = self.api_version.starts_with(GROUP) && self.kind.ends_with("List");
        let is_whole = is_list && self.metadata.r#continue.is_empty();
        is_whole.then(|| self.items.unwrap_or_default())
    }
}

/// An object of any of the kinds.
#[derive(Debug, Deserialize)]
pub(super) struct Object {
    metadata: Metadata,
    #[serde(default)]
    webhooks: Option<Vec<Webhook>>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Webhook {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    /// Of a policy.
    #[serde(default)]
    match_constraints: Constraints,
    /// Of a binding.
    #[serde(default)]
    policy_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Constraints {
    #[serde(default)]
    resource_rules: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    operations: Option<Vec<String>>,
    api_groups: Option<Vec<String>>,
    resources: Option<Vec<String>>,
    scope: Option<String>,
}

impl Object {
    pub(super) fn name(&self) -> &str {
        &self.metadata.name
    }

    /// Says whether one of its webhooks may be called for a stream. One without rules never is.
    pub(super) fn hooks_may_match(&self, subresource: Subresource) -> bool {
        let hooks = self.webhooks.iter().flatten();
        let mut rules = hooks.flat_map(|hook| hook.rules.iter().flatten());
        rules.any(|rule| rule.may_match(subresource))
    }

    /// Says whether the policy may concern a stream.
    pub(super) fn policy_may_match(&self, subresource: Subresource) -> bool {
        match &self.spec.match_constraints.resource_rules {
            None => true,
            Some(rules) => rules.is_empty() || rules.iter().any(|it| it.may_match(subresource)),
        }
    }

    /// Says whether this binding puts a policy in force.
    pub(super) fn binds(&self, policy: &Self) -> bool {
        self.spec.policy_name == policy.metadata.name
    }
}

impl Rule {
    /// Versions do not count: a rule for another one is converted to. Neither do names.
    fn may_match(&self, subresource: Subresource) -> bool {
        let any = |list: &Option<Vec<String>>, fits: &dyn Fn(&str) -> bool| match list {
            None => true,
            Some(list) => list.iter().any(|one| fits(one)),
        };
        let of_namespaces = self.scope.as_deref() != Some("Cluster");
        of_namespaces
            && any(&self.operations, &|one| matches!(one, "*" | "CONNECT"))
            && any(&self.api_groups, &|one| matches!(one, "*" | ""))
            && any(&self.resources, &|one| {
                let (resource, sub) = one.split_once('/').unwrap_or((one, ""));
                matches!(resource, "*" | "pods") && (sub == "*" || sub == subresource.as_str())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const EXEC: Subresource = Subresource::Exec;

    fn rule(change: Value) -> Value {
        let mut rule = json!({
            "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods/exec"]
        });
        for (name, value) in change.as_object().unwrap() {
            rule[name] = value.clone();
        }
        rule
    }

    fn object(value: Value) -> Object {
        serde_json::from_value(value).unwrap()
    }

    fn hook(rules: Value) -> Object {
        object(json!({
            "metadata": {"name": "w"},
            "webhooks": [{"name": "none", "rules": null}, {"name": "a", "rules": rules}]
        }))
    }

    fn policy(spec: Value) -> Object {
        object(json!({"metadata": {"name": "p"}, "spec": spec}))
    }

    #[test]
    fn rule_that_may_mean_a_stream_matches() {
        for change in [
            json!({}),
            json!({"operations": ["*"]}),
            json!({"operations": ["CREATE", "CONNECT"]}),
            json!({"operations": null}),
            json!({"apiGroups": ["*"]}),
            json!({"apiGroups": ["apps", ""]}),
            json!({"apiVersions": ["v9"]}),
            json!({"resources": ["*/*"]}),
            json!({"resources": ["pods/*"]}),
            json!({"resources": ["*/exec"]}),
            json!({"resources": ["nodes", "pods/exec"]}),
            json!({"scope": "Namespaced"}),
            json!({"scope": "*"}),
            json!({"scope": null}),
        ] {
            let rules = json!([rule(json!({"operations": []})), rule(change.clone())]);
            assert!(hook(rules.clone()).hooks_may_match(EXEC), "{change}");
            let constraints = json!({"matchConstraints": {"resourceRules": rules}});
            assert!(policy(constraints).policy_may_match(EXEC), "{change}");
        }
    }

    #[test]
    fn rule_that_means_something_else_does_not_match() {
        for change in [
            json!({"operations": ["CREATE", "UPDATE", "DELETE"]}),
            json!({"operations": []}),
            json!({"apiGroups": ["apps"]}),
            json!({"resources": ["*"]}),
            json!({"resources": ["pods"]}),
            json!({"resources": ["pods/attach", "pods/log", "services/*"]}),
            json!({"resources": ["pods/execs"]}),
            json!({"scope": "Cluster"}),
        ] {
            let rules = json!([rule(change.clone())]);
            assert!(!hook(rules.clone()).hooks_may_match(EXEC), "{change}");
            let constraints = json!({"matchConstraints": {"resourceRules": rules}});
            assert!(!policy(constraints).policy_may_match(EXEC), "{change}");
        }
        assert!(!hook(json!(null)).hooks_may_match(EXEC));
        assert!(!object(json!({"metadata": {"name": "w"}})).hooks_may_match(EXEC));
    }

    #[test]
    fn policy_that_does_not_say_what_it_concerns_matches() {
        for spec in [
            json!({}),
            json!({"matchConstraints": {}}),
            json!({"matchConstraints": {"resourceRules": []}}),
        ] {
            assert!(policy(spec).policy_may_match(EXEC));
        }
    }

    #[test]
    fn binding_is_of_the_policy_that_it_names() {
        let binding = |name: &str| policy(json!({"policyName": name}));
        assert!(binding("p").binds(&policy(json!({}))));
        assert!(!binding("q").binds(&policy(json!({}))));
    }

    #[test]
    fn list_that_goes_on_or_is_of_something_else_is_not_whole() {
        let list = |change: Value| {
            let mut list = json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "PolicyList",
                "metadata": {}, "items": []
            });
            for (name, value) in change.as_object().unwrap() {
                list[name] = value.clone();
            }
            let list = serde_json::from_value::<List>(list).unwrap();
            list.whole().map(|all| all.len())
        };
        assert_eq!(list(json!({})), Some(0));
        assert_eq!(list(json!({"items": null})), Some(0));
        assert_eq!(
            list(json!({"items": [{"metadata": {"name": "a"}}]})),
            Some(1)
        );
        assert_eq!(list(json!({"metadata": {"continue": "x"}})), None);
        assert_eq!(list(json!({"kind": "Status"})), None);
        assert_eq!(list(json!({"apiVersion": "v1"})), None);
    }
}
