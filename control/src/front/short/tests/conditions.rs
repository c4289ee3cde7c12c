//! Each condition of the short way: everything else holds, and so it matters.

use super::bed::{Asking, Bed, EXEC, GROUP, NODE, POD, jane};
use crate::config::Admission;
use crate::front::short::{Outcome, Why};
use eyesplice_identity::testing::apiserver::Told;
use eyesplice_proto::head::Method;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// One thing that is otherwise.
type Change = fn(&mut Bed, &mut Asking);

/// What is otherwise in a request.
const REQUESTS: &[(&str, Change, Why)] = &[
    (
        "it acts as another user",
        |_, asking| asking.headers.push(("Impersonate-User", "joe".to_owned())),
        Why::Impersonation,
    ),
    (
        "it acts with other extras, in another spelling",
        |_, asking| {
            asking
                .headers
                .push(("impersonate_extra-a", "joe".to_owned()));
        },
        Why::Impersonation,
    ),
    (
        "it is a PUT",
        |_, asking| asking.method = Method::PUT,
        Why::Method,
    ),
    (
        "it is no upgrade",
        |_, asking| asking.upgrade = None,
        Why::Upgrade,
    ),
    (
        "it is a log by WebSocket",
        |_, asking| {
            asking.target = format!("{POD}/log");
            asking.method = Method::GET;
            asking.upgrade = Some("websocket");
        },
        Why::Upgrade,
    ),
    (
        "it is a log by POST",
        |_, asking| {
            asking.target = format!("{POD}/log");
            asking.upgrade = None;
        },
        Why::Method,
    ),
    (
        "it has a body",
        |_, asking| asking.has_body = true,
        Why::Body,
    ),
    (
        "it has an unknown parameter",
        |_, asking| asking.target.push_str("&env=A%3DB"),
        Why::Query,
    ),
    (
        "it has a parameter twice",
        |_, asking| asking.target.push_str("&stdin=true"),
        Why::Query,
    ),
    (
        "it offers an unknown subprotocol",
        |_, asking| *asking = Asking::websocket(EXEC, "v6.channel.k8s.io"),
        Why::Protocol,
    ),
    (
        "it offers subprotocols in two lines",
        |_, asking| {
            *asking = Asking::websocket(EXEC, "v4.channel.k8s.io")
                .with("Sec-WebSocket-Protocol", "channel.k8s.io");
        },
        Why::Protocol,
    ),
    (
        "it has no credential",
        |_, asking| asking.headers.retain(|(name, _)| *name != "Authorization"),
        Why::Anonymous,
    ),
    (
        "it has two tokens",
        |_, asking| {
            asking
                .headers
                .push(("authorization", "Bearer b".to_owned()));
        },
        Why::Identity,
    ),
    (
        "its token is no bearer's",
        |_, asking| {
            asking.headers.retain(|(name, _)| *name != "Authorization");
            asking
                .headers
                .push(("Authorization", "Basic amFuZTp4".to_owned()));
        },
        Why::Identity,
    ),
    (
        "it has a token among its subprotocols as well",
        |_, asking| {
            let token = "base64url.bearer.authorization.k8s.io.YWJj";
            *asking = Asking::websocket(EXEC, &format!("v4.channel.k8s.io,{token}"));
        },
        Why::Identity,
    ),
];

/// What is otherwise in the cluster.
const CLUSTERS: &[(&str, Change, Why)] = &[
    (
        "the token is nobody's",
        |bed, _| bed.world().token = json!({"authenticated": false}),
        Why::Identity,
    ),
    (
        "nobody says whose the token is",
        |bed, _| {
            bed.world()
                .instead
                .push(("tokenreviews", Told::Says(403, Value::Null)));
        },
        Why::Identity,
    ),
    (
        "the user is anonymous",
        |bed, _| {
            let groups = json!(["system:unauthenticated"]);
            let user = json!({"username": "system:anonymous", "groups": groups});
            bed.world().token = json!({"authenticated": true, "user": user});
        },
        Why::Anonymous,
    ),
    (
        "the user is in no group of users",
        |bed, _| {
            let user = json!({"username": "jane", "groups": ["dev"]});
            bed.world().token = json!({"authenticated": true, "user": user});
        },
        Why::Anonymous,
    ),
    (
        "the user may not",
        |bed, _| {
            drop(
                bed.world()
                    .access
                    .insert("create", json!({"allowed": false})),
            );
        },
        Why::Denied,
    ),
    (
        "the user may, if a condition holds",
        |bed, _| {
            let status = json!({"allowed": false, "conditions": [{"id": "x"}]});
            drop(bed.world().access.insert("create", status));
        },
        Why::Access,
    ),
    (
        "nobody says whether the user may",
        |bed, _| {
            let told = Told::Says(500, Value::Null);
            bed.world().instead.push(("subjectaccessreviews", told));
        },
        Why::Access,
    ),
    (
        "plugins are not known",
        |bed, _| bed.settings.admission = Admission::Pass,
        Why::AdmissionStatic,
    ),
    (
        "a webhook may be called",
        |bed, _| {
            let rule = json!({
                "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
                "resources": ["pods/exec"]
            });
            let hook = json!({"metadata": {"name": "w"}, "webhooks": [{"rules": [rule]}]});
            bed.world().list("validatingwebhookconfigurations", &[hook]);
        },
        Why::Admission,
    ),
    (
        "nobody says which webhooks there are",
        |bed, _| {
            let told = Told::Says(403, Value::Null);
            bed.world()
                .instead
                .push(("mutatingwebhookconfigurations", told));
        },
        Why::AdmissionUnknown,
    ),
    (
        "nobody says which policies are bound",
        |bed, _| {
            let told = Told::HangsUp;
            bed.world().instead.push(("admissionpolicybindings", told));
        },
        Why::AdmissionUnknown,
    ),
    (
        "the list of policies is something else",
        |bed, _| {
            let path = format!("{GROUP}/v1/validatingadmissionpolicies");
            *bed.world().at(&path) = json!({"kind": "Status"});
        },
        Why::AdmissionUnknown,
    ),
    (
        "the pod is not there",
        |bed, _| drop(bed.world().objects.remove(POD)),
        Why::Pod,
    ),
    (
        "the pod is another one",
        |bed, _| bed.world().at(POD)["metadata"]["name"] = json!("web-1"),
        Why::Pod,
    ),
    (
        "we may not see the pod",
        |bed, _| {
            bed.world()
                .instead
                .push((POD, Told::Says(403, Value::Null)));
        },
        Why::Pod,
    ),
    (
        "the pod has no node",
        |bed, _| bed.world().at(POD)["spec"]["nodeName"] = json!(""),
        Why::Unscheduled,
    ),
    (
        "the container is not there",
        |_, asking| asking.target = asking.target.replace("container=app", "container=other"),
        Why::Container,
    ),
    (
        "no container is named, and there are two",
        |bed, asking| {
            asking.target = asking.target.replace("container=app&", "");
            bed.world().at(POD)["spec"]["containers"] = json!([{"name": "app"}, {"name": "b"}]);
        },
        Why::Container,
    ),
    (
        "the log's container has not begun",
        |bed, asking| {
            *asking = Asking::log("?container=app");
            let state = json!({"waiting": {"reason": "ContainerCreating"}});
            bed.world().at(POD)["status"]["containerStatuses"][0]["state"] = state;
        },
        Why::ContainerState,
    ),
    (
        "the log's container had no run before",
        |_, asking| *asking = Asking::log("?container=app&previous=true"),
        Why::ContainerState,
    ),
    (
        "the node is not there",
        |bed, _| drop(bed.world().objects.remove(NODE)),
        Why::Node,
    ),
    (
        "the node has another name than any node can have",
        |bed, _| bed.world().at(POD)["spec"]["nodeName"] = json!("../pods"),
        Why::Node,
    ),
    (
        "the node has no address of the kinds that are dialled",
        |bed, _| {
            let addresses = json!([{"type": "ExternalIP", "address": "192.0.2.7"}]);
            bed.world().at(NODE)["status"]["addresses"] = addresses;
        },
        Why::Node,
    ),
    (
        "the node's address is none",
        |bed, _| {
            let addresses = json!([{"type": "InternalIP", "address": "10.0.0.7:22"}]);
            bed.world().at(NODE)["status"]["addresses"] = addresses;
        },
        Why::Node,
    ),
    (
        "the kubelet does not understand the subprotocol",
        |_, asking| *asking = Asking::websocket(EXEC, "v5.channel.k8s.io"),
        Why::Translation,
    ),
    (
        "the rules do not allow the kubelet",
        |bed, _| bed.places.refused = Some(Why::Egress),
        Why::Egress,
    ),
    (
        "kubelets are not validated",
        |bed, _| bed.places.refused = Some(Why::VerificationOff),
        Why::VerificationOff,
    ),
    (
        "there is no trust in kubelets",
        |bed, _| bed.places.refused = Some(Why::NotConfigured),
        Why::NotConfigured,
    ),
    (
        "our token for kubelets cannot be read",
        |bed, _| {
            let file = eyesplice_identity::document::FileRef::new("x", "/nonexistent/token");
            bed.settings.kubelet_token_file = Some(file);
        },
        Why::Credential,
    ),
    (
        "the API server hangs up on a review",
        |bed, _| {
            bed.world()
                .instead
                .push(("subjectaccessreviews", Told::HangsUp));
        },
        Why::Unreachable,
    ),
    (
        "the API server does not answer in time",
        |bed, _| {
            bed.patience = Duration::from_millis(300);
            bed.world().instead.push((NODE, Told::Silent));
        },
        Why::Slow,
    ),
];

#[tokio::test]
async fn stream_of_which_everything_holds_goes_to_the_kubelet() {
    let mut bed = Bed::new().await;
    let request = bed.kubelet(&Asking::spdy(EXEC)).await;
    assert_eq!(request.user.username, "jane");
}

#[tokio::test]
async fn stream_of_which_one_thing_does_not_hold_goes_through_for_that_reason() {
    for (what, change, why) in REQUESTS.iter().chain(CLUSTERS) {
        let mut bed = Bed::new().await;
        let mut asking = Asking::spdy(EXEC);
        change(&mut bed, &mut asking);
        let outcome = bed.judge(&asking).await;
        let Outcome::Through { why: found, .. } = outcome else {
            panic!("{what}: went to the kubelet");
        };
        let slow_or_gone = [Why::Slow, Why::Unreachable];
        let same = found == *why || slow_or_gone.contains(why) && slow_or_gone.contains(&found);
        assert!(same, "{what}: {found}");
    }
}

#[tokio::test]
async fn reasons_all_have_a_test_and_a_label_of_their_own() {
    let tested = REQUESTS.iter().chain(CLUSTERS).map(|(_, _, why)| *why);
    // What cannot be recorded is sent through by who records (`events::tests`).
    let tested = tested.chain([Why::Audit]);
    let tested: Vec<Why> = tested.collect();
    let mut labels: Vec<&str> = Why::ALL.iter().map(|why| why.as_str()).collect();
    for why in Why::ALL {
        assert!(tested.contains(why), "{why}");
    }
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Why::ALL.len());
}

#[tokio::test]
async fn request_that_cannot_go_the_short_way_asks_nobody() {
    for (what, change, _) in REQUESTS {
        let mut bed = Bed::new().await;
        let mut asking = Asking::spdy(EXEC);
        change(&mut bed, &mut asking);
        bed.why(&asking).await;
        assert!(bed.server.asked().is_empty(), "{what}");
    }
}

#[tokio::test]
async fn websocket_needs_get_and_create() {
    for (verb, protocol) in [
        ("get", "v4.channel.k8s.io"),
        ("create", "v4.channel.k8s.io"),
    ] {
        let mut bed = Bed::new().await;
        let asking = Asking::websocket(EXEC, protocol);
        bed.kubelet(&asking).await;
        let mut bed = Bed::new().await;
        bed.world().access.insert(verb, json!({"allowed": false}));
        assert_eq!(bed.why(&asking).await, Why::Denied, "{verb}");
    }
    // SPDY needs no get, a log no create.
    let mut bed = Bed::new().await;
    bed.world().access.insert("get", json!({"allowed": false}));
    bed.kubelet(&Asking::spdy(EXEC)).await;
    assert_eq!(bed.why(&Asking::log("")).await, Why::Denied);
    let mut bed = Bed::new().await;
    bed.world()
        .access
        .insert("create", json!({"allowed": false}));
    bed.kubelet(&Asking::log("")).await;
}

#[tokio::test]
async fn yes_is_remembered_and_no_is_not() {
    let mut bed = Bed::new().await;
    bed.kubelet(&Asking::spdy(EXEC)).await;
    bed.world()
        .access
        .insert("create", json!({"allowed": false}));
    bed.kubelet(&Asking::spdy(EXEC)).await;
    assert_eq!(bed.server.count("subjectaccessreviews"), 1);
    assert_eq!(bed.server.count("tokenreviews"), 1);
    // The pod and the node are never remembered.
    assert_eq!(bed.server.count(POD), 2);
    assert_eq!(bed.server.count(NODE), 2);
    let mut bed = Bed::new().await;
    bed.world()
        .access
        .insert("create", json!({"allowed": false}));
    assert_eq!(bed.why(&Asking::spdy(EXEC)).await, Why::Denied);
    bed.world()
        .access
        .insert("create", json!({"allowed": true}));
    bed.kubelet(&Asking::spdy(EXEC)).await;
}

#[tokio::test]
async fn user_of_a_certificate_is_asked_about_with_the_group_of_all_users() {
    let mut bed = Bed::new().await;
    let mut asking = Asking::spdy(EXEC).without("Authorization");
    let mut user = jane();
    user.groups = vec!["dev".to_owned()];
    asking.by_certificate = Some((user, SystemTime::now()));
    bed.kubelet(&asking).await;
    assert_eq!(bed.server.count("tokenreviews"), 0);
    let asked = bed.server.asked();
    let review = asked
        .iter()
        .find(|it| it.path.ends_with("subjectaccessreviews"))
        .unwrap();
    assert_eq!(
        review.body["spec"]["groups"],
        json!(["dev", "system:authenticated"])
    );
    // A certificate goes before a token, as in the API server.
    bed.kubelet(&asking.with("Authorization", "Bearer x")).await;
    assert_eq!(bed.server.count("tokenreviews"), 0);
}

#[tokio::test]
async fn user_that_is_known_is_told_though_the_stream_goes_through() {
    let mut bed = Bed::new().await;
    bed.world()
        .access
        .insert("create", json!({"allowed": false}));
    let Outcome::Through { user, .. } = bed.judge(&Asking::spdy(EXEC)).await else {
        panic!("went to the kubelet");
    };
    assert_eq!(user.as_deref(), Some("jane"));
    bed.world().token = json!({});
    let other = Asking::spdy(EXEC)
        .without("Authorization")
        .with("Authorization", "Bearer other");
    let Outcome::Through { user, .. } = bed.judge(&other).await else {
        panic!("went to the kubelet");
    };
    assert_eq!(user, None);
}
