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

fn fits(rule: &BreakGlassRule, user: &UserInfo, stream: &PodStream, place: &Place) -> bool {
    let has = |list: &[String], name: &str| list.iter().any(|one| one == name);
    let labels = place.pod.labels();
    let is_labelled = |(name, value): (&String, &String)| {
        labels.is_some_and(|labels| labels.get(name) == Some(value))
    };
    rule.groups.iter().any(|group| user.is_in(group))
        && rule.streams.contains(&stream.subresource)
        && has(&rule.namespaces, &stream.namespace)
        && (rule.pods.is_empty() || has(&rule.pods, &stream.pod))
        && rule.pod_labels.iter().all(is_labelled)
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
}
