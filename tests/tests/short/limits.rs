//! Limits of streams by user, pod and node.

use crate::bed::{Bed, EXEC, SPDY, echoed};
use eyesplice_dataplane::seam::{ApiPath, Reason};
use eyesplice_tests::cluster::Client;
use eyesplice_tests::http::{Head, read_body};
use eyesplice_tests::wait::eventually;
use serde_json::Value;

/// The `Status` of a refusal.
fn status(client: &mut Client, head: &Head) -> Value {
    let body = read_body(&mut client.0, head, false);
    serde_json::from_slice(body.bytes()).unwrap()
}

#[test]
fn stream_over_a_limit_is_refused_until_another_has_ended() {
    for (limits, code, reason, words) in [
        (
            "shortWay: {admission: trusted}, limits: {maxStreamsPerUser: 1}",
            429,
            "TooManyRequests",
            "eyesplice: user \"tom\" has 1 streams, as many as front.limits.maxStreamsPerUser \
             allows; end some, or raise it",
        ),
        (
            "shortWay: {admission: trusted}, limits: {maxStreamsPerPod: 1}",
            503,
            "ServiceUnavailable",
            "eyesplice: pod shop/web-0 has 1 streams, as many as front.limits.maxStreamsPerPod \
             allows; end some, or raise it",
        ),
        (
            "shortWay: {admission: trusted}, limits: {maxStreamsPerNode: 1}",
            503,
            "ServiceUnavailable",
            "eyesplice: node worker-3 has 1 streams, as many as front.limits.maxStreamsPerNode \
             allows; end some, or raise it",
        ),
    ] {
        let bed = Bed::new(limits);
        let (first, head) = bed.exec();
        assert_eq!(head.status(), 101, "{}", head.raw);
        let (mut second, head) = bed.exec();
        assert_eq!(head.status(), code, "{limits}: {}", head.raw);
        let status = status(&mut second, &head);
        assert_eq!(status["code"], code, "{status}");
        assert_eq!(status["reason"], reason, "{status}");
        assert_eq!(status["message"], words);
        second.leave();
        assert_eq!(bed.went(ApiPath::Answered).reason, Reason::Limit);
        echoed(first);
        bed.went(ApiPath::Short);
        let third = || {
            let (client, head) = bed.exec();
            (head.status() == 101).then_some(client)
        };
        echoed(eventually(third, || "a place".to_owned()));
    }
}

#[test]
fn stream_through_the_api_server_counts_for_its_pod() {
    let bed = Bed::new("shortWay: {}, limits: {maxStreamsPerPod: 1, maxStreamsPerNode: 1}");
    let (first, head) = bed.upgrade("POST", EXEC, &SPDY);
    assert_eq!(head.status(), 101, "{}", head.raw);
    let (mut second, head) = bed.upgrade("POST", EXEC, &SPDY);
    assert_eq!(head.status(), 503, "{}", head.raw);
    let message = status(&mut second, &head)["message"].to_string();
    assert!(
        message.contains("front.limits.maxStreamsPerPod"),
        "{message}"
    );
    second.leave();
    // What is no stream of a pod is not counted.
    let mut other = bed.front.client(&bed.cluster, None);
    assert_eq!(other.ask("/api/v1/pods", &[]).head.status(), 200);
    other.leave();
    echoed(first);
}
