//! Finds the rule of `front.breakGlass.allow` that allows a stream.

use crate::config::BreakGlassRule;
use crate::front::short::Place;
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::PodStream;

/// The first rule all of whose parts fit.
pub(super) fn allowing<'a>(
    rules: &'a [BreakGlassRule],
    user: &UserInfo,
    stream: &PodStream,
    place: &Place,
) -> Option<&'a BreakGlassRule> {
    rules.iter().find(|rule| fits(rule, user, stream, place))
}

/// Whether a rule allows a stream, if the pod has the labels: no other is worth remembering.
pub(super) fn may_allow(rules: &[BreakGlassRule], user: &UserInfo, stream: &PodStream) -> bool {
    rules.iter().any(|rule| may_fit(rule, user, stream))
}

fn fits(rule: &BreakGlassRule, user: &UserInfo, stream: &PodStream, place: &Place) -> bool {
    let labels = place.pod.labels();
    let is_labelled = |(name, value): (&String, &String)| {
        labels.is_some_and(|labels| labels.get(name) == Some(value))
    };
    may_fit(rule, user, stream) && rule.pod_labels.iter().all(is_labelled)
}

/// Whether a rule has a stream, whoever asks for it.
pub(super) fn any_has(rules: &[BreakGlassRule], stream: &PodStream) -> bool {
    rules.iter().any(|rule| has_stream(rule, stream))
}

fn may_fit(rule: &BreakGlassRule, user: &UserInfo, stream: &PodStream) -> bool {
    rule.groups.iter().any(|group| user.is_in(group)) && has_stream(rule, stream)
}

fn has_stream(rule: &BreakGlassRule, stream: &PodStream) -> bool {
    let has = |list: &[String], name: &str| list.iter().any(|one| one == name);
    rule.streams.contains(&stream.subresource)
        && has(&rule.namespaces, &stream.namespace)
        && (rule.pods.is_empty() || has(&rule.pods, &stream.pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_proto::api::Subresource;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    fn rule() -> BreakGlassRule {
        let one = |text: &str| vec![text.to_owned()];
        BreakGlassRule {
            name: "sre".into(),
            groups: one("sre"),
            streams: vec![Subresource::Exec],
            namespaces: one("shop"),
            pods: Vec::new(),
            pod_labels: BTreeMap::new(),
        }
    }

    fn is_allowed(rule: BreakGlassRule, labels: Value) -> bool {
        let pod = json!({"metadata": {"name": "web-0", "namespace": "shop", "labels": labels},
                         "spec": {"nodeName": "w-1", "containers": []}});
        let place = Place::of(pod, json!({"metadata": {"name": "w-1"}}));
        let user = UserInfo {
            username: "jane".to_owned(),
            groups: vec!["dev".to_owned(), "sre".to_owned()],
            ..UserInfo::default()
        };
        let stream = PodStream {
            subresource: Subresource::Exec,
            namespace: "shop".into(),
            pod: "web-0".into(),
        };
        allowing(&[rule], &user, &stream, &place).is_some()
    }

    #[test]
    fn rule_allows_only_if_each_of_its_parts_fits() {
        let labels = json!({"app": "web", "tier": "front"});
        let allowed = |change: fn(&mut BreakGlassRule)| {
            let mut rule = rule();
            change(&mut rule);
            is_allowed(rule, labels.clone())
        };
        assert!(allowed(|_| {}));
        assert!(allowed(|rule| rule.pods = vec!["web-0".to_owned()]));
        assert!(allowed(|rule| rule.streams.push(Subresource::Log)));
        assert!(!allowed(|rule| rule.groups = vec!["ops".to_owned()]));
        assert!(!allowed(|rule| rule.streams = vec![Subresource::Log]));
        assert!(!allowed(|rule| rule.namespaces = vec!["sho".to_owned()]));
        assert!(!allowed(|rule| rule.pods = vec!["web-1".to_owned()]));
        let with = |name: &str, value: &str| {
            let mut rule = rule();
            rule.pod_labels.insert("app".to_owned(), "web".to_owned());
            rule.pod_labels.insert(name.to_owned(), value.to_owned());
            rule
        };
        assert!(is_allowed(with("tier", "front"), labels.clone()));
        assert!(!is_allowed(with("tier", "back"), labels.clone()));
        assert!(!is_allowed(with("zone", ""), labels));
        assert!(!is_allowed(with("app", "web"), Value::Null));
    }

    #[test]
    fn what_no_rule_allows_by_any_label_is_not_worth_remembering() {
        let mut labelled = rule();
        labelled
            .pod_labels
            .insert("app".to_owned(), "web".to_owned());
        let of = |group: &str, namespace: &str| {
            let user = UserInfo {
                groups: vec![group.to_owned()],
                ..UserInfo::default()
            };
            let stream = PodStream {
                subresource: Subresource::Exec,
                namespace: namespace.into(),
                pod: "web-0".into(),
            };
            may_allow(std::slice::from_ref(&labelled), &user, &stream)
        };
        assert!(of("sre", "shop"));
        assert!(!of("dev", "shop") && !of("sre", "kube-system"));
    }
}
