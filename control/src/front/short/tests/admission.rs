//! Which admission may concern a stream, as API servers of several versions list it.

use super::bed::{Asking, Bed, EXEC, GROUP, KINDS, list};
use crate::front::short::{Outcome, Why};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn rule(resource: &str) -> Value {
    json!({
        "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": [resource]
    })
}

fn webhook(resource: &str) -> Value {
    // A selector may not match, and counts as matching.
    let selector = json!({"matchLabels": {"exec": "guarded"}});
    let hook = json!({"name": "a", "rules": [rule(resource)], "namespaceSelector": selector});
    json!({"metadata": {"name": "w"}, "webhooks": [hook]})
}

fn policy(name: &str, resource: &str) -> Value {
    let constraints = json!({"resourceRules": [rule(resource)]});
    json!({"metadata": {"name": name}, "spec": {"matchConstraints": constraints}})
}

fn binding(policy: &str) -> Value {
    json!({"metadata": {"name": "b"}, "spec": {"policyName": policy}})
}

#[tokio::test]
async fn webhook_of_either_kind_concerns_the_streams_that_its_rules_name() {
    let attach = "attach?container=app&stdout=true&stderr=true";
    for kind in &KINDS[..2] {
        for (stream, other) in [
            (EXEC, attach),
            (attach, "portforward"),
            ("portforward", EXEC),
        ] {
            let resource = format!("pods/{}", stream.split('?').next().unwrap());
            let mut bed = Bed::new().await;
            bed.world()
                .list(kind, &[webhook("pods"), webhook(&resource)]);
            assert_eq!(
                bed.why(&Asking::spdy(stream)).await,
                Why::Admission,
                "{kind}"
            );
            bed.kubelet(&Asking::spdy(other)).await;
            bed.kubelet(&Asking::log("")).await;
        }
    }
}

#[tokio::test]
async fn policy_of_either_kind_concerns_streams_once_it_is_bound() {
    for kinds in [&KINDS[2..4], &KINDS[4..]] {
        for (bound, why) in [("p", Some(Why::Admission)), ("q", None)] {
            let mut bed = Bed::new().await;
            bed.world().list(kinds[0], &[policy("p", "pods/*")]);
            bed.world().list(kinds[1], &[binding(bound)]);
            let found = match bed.judge(&Asking::spdy(EXEC)).await {
                Outcome::Through { why, .. } => Some(why),
                Outcome::Kubelet(_) => None,
            };
            assert_eq!(found, why, "{kinds:?} bound to {bound}");
        }
        let mut bed = Bed::new().await;
        bed.world().list(kinds[0], &[policy("p", "pods/attach")]);
        bed.world().list(kinds[1], &[binding("p")]);
        bed.kubelet(&Asking::spdy(EXEC)).await;
    }
}

#[tokio::test]
async fn kind_that_is_not_there_is_not_asked_for_each_time_and_others_are() {
    let mut bed = Bed::new().await;
    bed.world()
        .objects
        .retain(|path, _| !path.contains("policies") && !path.contains("bindings"));
    for _ in 0..3 {
        bed.kubelet(&Asking::spdy(EXEC)).await;
    }
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let path = format!("{GROUP}/{version}/mutatingadmissionpolicies");
        assert_eq!(bed.server.count(&path), 1, "{version}");
    }
}

#[tokio::test]
async fn policy_of_an_older_version_counts() {
    for version in ["v1beta1", "v1alpha1"] {
        let mut bed = Bed::new().await;
        {
            let mut world = bed.world();
            world
                .objects
                .retain(|path, _| !path.contains("admissionpolic"));
            for (kind, item) in [(KINDS[2], policy("p", "*/*")), (KINDS[3], binding("p"))] {
                let path = format!("{GROUP}/{version}/{kind}");
                world.objects.insert(path, (200, list(&[item])));
            }
        }
        assert_eq!(
            bed.why(&Asking::spdy(EXEC)).await,
            Why::Admission,
            "{version}"
        );
    }
}

#[tokio::test]
async fn webhook_that_is_added_or_removed_counts_within_a_second() {
    let mut bed = Bed::new().await;
    let asking = Asking::spdy(EXEC);
    bed.kubelet(&asking).await;
    for items in [vec![webhook("pods/exec")], vec![]] {
        bed.world().list(KINDS[0], &items);
        let began = Instant::now();
        loop {
            let through = matches!(bed.judge(&asking).await, Outcome::Through { .. });
            if through != items.is_empty() {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "{items:?}");
        }
    }
}

#[tokio::test]
async fn lists_are_asked_for_once_by_all_who_ask_at_a_time() {
    let mut bed = Bed::new().await;
    bed.kubelet(&Asking::spdy(EXEC)).await;
    let began = Instant::now();
    let mut judged = 1;
    while began.elapsed() < Duration::from_millis(1) || judged < 4 {
        bed.kubelet(&Asking::spdy(EXEC)).await;
        judged += 1;
    }
    let spans = usize::try_from(began.elapsed().as_millis() / 500).unwrap() + 1;
    for kind in KINDS {
        let asked = bed.server.count(&format!("/v1/{kind}"));
        assert!(asked <= spans + 1, "{kind}: {asked} in {judged}");
    }
}
