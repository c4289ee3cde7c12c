//! What is remembered of streams that took the short way, and what makes it be forgotten.

use super::bed::{Asking, Bed, EXEC, GROUP, NODE, POD, jane, list, node, pod};
use crate::front::short::memory::{Memory, PLACES, REVIEWS};
use crate::front::short::{Outcome, Place, Review, Why};
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::api::{PodStream, Subresource};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const WITHIN: Duration = Duration::from_secs(3600);
const SPDY: &[&str] = &["create"];
const WEBSOCKET: &[&str] = &["get", "create"];

fn stream(pod: &str) -> PodStream {
    PodStream {
        subresource: Subresource::Exec,
        namespace: "shop".into(),
        pod: pod.into(),
    }
}

fn saw(memory: &Memory, pod_name: &str, verbs: &[&'static str], now: SystemTime) {
    let review = Review {
        user: Arc::new(jane()),
        reason: Arc::from("RBAC"),
        reads: true,
        at: now,
    };
    let place = Place::of(pod(), node());
    memory.saw(&review, (&stream(pod_name), verbs), &place);
}

#[test]
fn review_is_good_for_its_user_pod_stream_and_verbs_and_for_a_while() {
    let (memory, now) = (Memory::default(), SystemTime::now());
    saw(&memory, "web-0", SPDY, now);
    let at = |age: u64| (now + Duration::from_secs(age), WITHIN);
    let has = |user: &str, stream: &PodStream, verbs: &[&'static str], age: u64| {
        memory.review(user, (stream, verbs), at(age)).is_some()
    };
    let web = stream("web-0");
    assert!(has("jane", &web, SPDY, 0) && has("jane", &web, SPDY, 3600));
    assert!(!has("jane", &web, SPDY, 3601), "too old");
    let before = (now - Duration::from_secs(1), WITHIN);
    let review = memory.review("jane", (&web, SPDY), before);
    assert!(review.is_none(), "a clock that was set back");
    assert!(!has("joe", &web, SPDY, 0) && !has("jane", &stream("web-1"), SPDY, 0));
    assert!(!has("jane", &web, WEBSOCKET, 0), "`get` was not reviewed");
    let log = PodStream {
        subresource: Subresource::Log,
        ..web.clone()
    };
    assert!(!has("jane", &log, &["create"], 0));
    saw(&memory, "web-0", WEBSOCKET, now + Duration::from_secs(60));
    assert!(has("jane", &web, WEBSOCKET, 3660) && !has("jane", &web, WEBSOCKET, 3661));
    assert!(memory.place(&web, at(3660)).is_some() && memory.place(&web, at(3661)).is_none());
    memory.expire(now + Duration::from_secs(3660), WITHIN);
    assert_eq!(memory.counts(), (2, 1));
    memory.expire(now + Duration::from_secs(3661), WITHIN);
    assert_eq!(memory.counts(), (0, 0));
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let (memory, now) = (Memory::default(), SystemTime::now());
    let after = |index: usize| now + Duration::from_secs(u64::try_from(index).unwrap());
    for index in 0..=REVIEWS {
        saw(&memory, &format!("web-{index}"), SPDY, after(index));
    }
    assert_eq!(memory.counts(), (REVIEWS, PLACES));
    let lately = (after(REVIEWS), WITHIN * 24);
    let has = |pod: &str| {
        memory
            .review("jane", (&stream(pod), SPDY), lately)
            .is_some()
    };
    assert!(!has("web-0") && has("web-1"));
}

#[test]
fn place_with_too_much_in_it_is_not_kept() {
    let mut huge = pod();
    let labels = (0..65).map(|index| (format!("l-{index}"), json!("x")));
    huge["metadata"]["labels"] = labels.collect::<serde_json::Map<_, _>>().into();
    assert!(Place::of(huge, node()).to_keep().is_none());
    let mut noisy = pod();
    noisy["metadata"]["annotations"] = json!({"a": "b", "kubernetes.io/config.mirror": "x"});
    let kept = Place::of(noisy, node()).to_keep().unwrap();
    assert_eq!(kept.pod.uid(), None, "it is still a mirror pod");
    assert!(!format!("{kept:?}").contains("\"a\": \"b\""));
    let mut long = pod();
    let names = [
        "kubernetes.io/config.mirror",
        "kubectl.kubernetes.io/default-container",
    ];
    for name in names {
        long["metadata"]["annotations"][name] = json!("x".repeat(1 << 10));
    }
    let ports = (0..65).map(|port| json!({"name": format!("p-{port}"), "containerPort": port}));
    long["spec"]["containers"][0]["ports"] = ports.collect();
    let kept = Place::of(long, node()).to_keep().unwrap();
    assert_eq!(kept.pod.uid(), None);
    let shown = format!("{kept:?}");
    assert!(!shown.contains("xx") && !shown.contains("p-1"), "{shown}");
}

/// A bed in which one exec took the short way, and the memory of it.
async fn remembered() -> (Bed, Arc<Memory>) {
    let mut bed = Bed::new().await;
    let memory: Arc<Memory> = Arc::default();
    bed.memory = Some(Arc::clone(&memory));
    bed.kubelet(&Asking::spdy(EXEC)).await;
    assert_eq!(memory.counts(), (1, 1));
    (bed, memory)
}

#[tokio::test]
async fn stream_is_remembered_only_if_all_of_it_held() {
    let (_, memory) = remembered().await;
    let lately = (SystemTime::now(), WITHIN);
    let review = memory
        .review("jane", (&stream("web-0"), SPDY), lately)
        .unwrap();
    assert_eq!((&*review.reason, &*review.user), ("RBAC", &jane()));
    let (place, _) = memory.place(&stream("web-0"), lately).unwrap();
    assert_eq!(place.node.name(), "worker-3");
    for (path, status) in [(POD, 404), (NODE, 404)] {
        let mut bed = Bed::new().await;
        let memory: Arc<Memory> = Arc::default();
        bed.memory = Some(Arc::clone(&memory));
        bed.world().objects.get_mut(path).unwrap().0 = status;
        bed.why(&Asking::spdy(EXEC)).await;
        assert_eq!(memory.counts(), (0, 0), "{path}");
    }
}

#[tokio::test]
async fn stream_that_only_an_api_server_can_translate_is_remembered_as_well() {
    let mut bed = Bed::new().await;
    let memory: Arc<Memory> = Arc::default();
    bed.memory = Some(Arc::clone(&memory));
    let asking = Asking::websocket(EXEC, "v5.channel.k8s.io");
    assert_eq!(bed.why(&asking).await, Why::Translation);
    let lately = (SystemTime::now(), WITHIN);
    for verbs in [SPDY, WEBSOCKET] {
        let review = memory.review("jane", (&stream("web-0"), verbs), lately);
        assert!(review.is_some(), "{verbs:?}");
    }
}

#[tokio::test]
async fn review_knows_whether_its_user_may_get_the_pod_itself() {
    let no = json!({"allowed": false});
    let reads = |memory: &Memory| {
        let lately = (SystemTime::now(), WITHIN);
        let review = memory.review("jane", (&stream("web-0"), SPDY), lately);
        review.unwrap().reads
    };
    let mut bed = Bed::new().await;
    let memory: Arc<Memory> = Arc::default();
    bed.memory = Some(Arc::clone(&memory));
    bed.world().access.insert("get", no.clone());
    bed.kubelet(&Asking::spdy(EXEC)).await;
    assert!(!reads(&memory));
    // Later answers are as good in both directions.
    let other = Bed::new().await;
    other
        .short()
        .recheck(&memory, SystemTime::now(), || true)
        .await;
    assert!(reads(&memory));
    other.world().access.insert("get", no);
    other
        .short()
        .recheck(&memory, SystemTime::now(), || true)
        .await;
    assert!(!reads(&memory));
}

#[tokio::test]
async fn pod_that_cannot_be_kept_any_more_is_forgotten() {
    let (_, memory) = remembered().await;
    let labels: serde_json::Map<_, _> = (0..65).map(|n| (format!("l-{n}"), json!("x"))).collect();
    let mut pod = pod();
    pod["metadata"]["labels"] = labels.into();
    memory.moved(
        ("shop", "web-0"),
        &Place::of(pod, node()),
        SystemTime::now(),
    );
    assert_eq!(memory.counts(), (1, 0));
}

#[tokio::test]
async fn stream_of_a_user_with_endless_groups_is_not_remembered() {
    let (bed, memory) = remembered().await;
    let lately = (SystemTime::now(), WITHIN);
    let mut review = memory
        .review("jane", (&stream("web-0"), SPDY), lately)
        .unwrap();
    let groups = (0..1000)
        .map(|n| format!("oidc:a-long-name-of-a-group-{n}"))
        .collect();
    review.user = Arc::new(UserInfo {
        username: "joe".to_owned(),
        groups,
        ..UserInfo::default()
    });
    let (place, _) = memory.place(&stream("web-0"), lately).unwrap();
    memory.saw(&review, (&stream("web-0"), SPDY), &place);
    assert_eq!(memory.counts(), (1, 1));
    drop(bed);
}

#[tokio::test]
async fn recheck_ends_when_no_api_server_answers_any_more() {
    let (_, memory) = remembered().await;
    let gone = Bed::new().await;
    let short = gone.short();
    drop(gone);
    let asked = std::cell::Cell::new(0);
    let well = || {
        asked.set(asked.get() + 1);
        false
    };
    short.recheck(&memory, SystemTime::now(), well).await;
    assert_eq!((memory.counts(), asked.get()), ((1, 1), 1));
}

#[tokio::test]
async fn review_is_forgotten_when_the_next_one_says_no_or_a_webhook_may_match() {
    let (mut bed, memory) = remembered().await;
    // A yes is good for ten seconds; another verb is asked about at once.
    bed.world().access.insert("get", json!({"allowed": false}));
    let asking = Asking::websocket(EXEC, "v4.channel.k8s.io");
    assert_eq!(bed.why(&asking).await, Why::Denied);
    assert_eq!(memory.counts().0, 0);
    let (mut bed, memory) = remembered().await;
    hook(&bed);
    // A list may be half a second old.
    while let Outcome::Kubelet(_) = bed.judge(&Asking::spdy(EXEC)).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(bed.why(&Asking::spdy(EXEC)).await, Why::Admission);
    assert_eq!(memory.counts().0, 0);
}

fn hook(bed: &Bed) {
    let rule = json!({"operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
                      "resources": ["pods/exec"]});
    let hook = json!({"metadata": {"name": "guard"}, "webhooks": [{"rules": [rule]}]});
    *bed.world()
        .at(&format!("{GROUP}/v1/validatingwebhookconfigurations")) = list(&[hook]);
}

#[tokio::test]
async fn recheck_forgets_what_is_no_more_and_keeps_what_is_not_answered() {
    let now = SystemTime::now();
    let lately = (now, WITHIN);
    // Nobody answers: all of it stays.
    let (bed, memory) = remembered().await;
    let other = Bed::new().await;
    for kind in ["subjectaccessreviews", "pods", "nodes"] {
        let mut world = other.world();
        let hangs_up = eyesplice_identity::testing::apiserver::Told::HangsUp;
        world.instead.push((kind, hangs_up));
    }
    other.short().recheck(&memory, now, || true).await;
    assert_eq!(memory.counts(), (1, 1));
    drop(bed);
    // A right that was taken away.
    let other = Bed::new().await;
    let no = json!({"allowed": false});
    other.world().access.insert("create", no);
    other.short().recheck(&memory, now, || true).await;
    assert_eq!(memory.counts(), (0, 1));
    // A pod that moved, one that has no node, and one that is gone.
    let (_, memory) = remembered().await;
    let other = Bed::new().await;
    let mut moved = node();
    moved["metadata"]["name"] = json!("worker-4");
    let path = NODE.replace("worker-3", "worker-4");
    other.world().objects.insert(path, (200, moved));
    other.world().at(POD)["spec"]["nodeName"] = json!("worker-4");
    other.short().recheck(&memory, now, || true).await;
    let (place, _) = memory.place(&stream("web-0"), lately).unwrap();
    assert_eq!(place.node.name(), "worker-4");
    other.world().objects.get_mut(POD).unwrap().0 = 404;
    other.short().recheck(&memory, now, || true).await;
    assert_eq!(memory.counts(), (1, 0));
    // A webhook.
    let (_, memory) = remembered().await;
    let other = Bed::new().await;
    hook(&other);
    other.short().recheck(&memory, now, || true).await;
    assert_eq!(memory.counts().0, 0);
}
