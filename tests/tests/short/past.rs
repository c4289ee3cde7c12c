//! Streams that go straight to the kubelet.

use crate::bed::{Bed, EXEC, SPDY, TOKEN, TRUSTED, echoed};
use eyesplice_dataplane::seam::{ApiPath, Reason, RecordKind, VerificationResult};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::WEBSOCKET_KEY;
use eyesplice_tests::pki::NODE;
use eyesplice_tests::world::NODE_PATH;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names and values.
type Headers<'a> = Vec<(&'a str, &'a str)>;

/// The headers of an upgrade to a WebSocket with this subprotocol.
fn websocket(protocol: &str) -> Headers<'_> {
    vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", WEBSOCKET_KEY),
        ("Sec-WebSocket-Protocol", protocol),
        TOKEN,
    ]
}

#[test]
fn exec_by_spdy_passes_no_api_server() {
    let bed = Bed::new(TRUSTED);
    let (client, head) = bed.exec();
    assert_eq!(head.status(), 101, "{}", head.raw);
    let begun = bed.front.running().began();
    assert_eq!(begun.kind, RecordKind::Start);
    let labels = begun.exchange_labels.as_ref().unwrap();
    assert_eq!(
        (labels.action, labels.path),
        (Action::Exec, Some(ApiPath::Short))
    );
    assert_eq!(labels.container.as_deref(), Some("app"));
    echoed(client);
    let record = bed.went(ApiPath::Short);
    assert_eq!(record.reason, Reason::Completed);
    assert_eq!(record.node.as_deref(), Some(NODE));
    let verified = matches!(record.verification, VerificationResult::Verified(_));
    assert!(verified, "{:?}", record.verification);
    assert_eq!(record.exchange_labels.unwrap().user.as_deref(), Some("tom"));
    assert_eq!(bed.through(), Vec::<String>::new());
    let heads = bed.kubelet.heads();
    let wanted = "/exec/shop/web-0/app?command=hunter2&error=1&input=1&output=1";
    assert_eq!(heads[0].target(), wanted);
    assert_eq!(heads[0].get("authorization"), None);
    assert_eq!(heads[0].get("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        heads[0].get("x-stream-protocol-version"),
        Some("v4.channel.k8s.io")
    );
    bed.front.running().assert_nothing_held();
}

#[test]
fn user_with_a_certificate_passes_no_api_server_either() {
    let bed = Bed::new(TRUSTED);
    let jane = bed.cluster.user("jane", "dev");
    let mut client = bed.front.client(&bed.cluster, Some(&jane));
    client.send(
        "POST",
        &format!("{}/{EXEC}", eyesplice_tests::world::POD),
        &SPDY,
    );
    let head = eyesplice_tests::http::read_head(&mut client.0).unwrap();
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    let record = bed.went(ApiPath::Short);
    assert_eq!(
        record.exchange_labels.unwrap().user.as_deref(),
        Some("jane")
    );
    assert_eq!(bed.through(), Vec::<String>::new());
    let asked = bed.server.heads();
    assert!(
        !asked
            .iter()
            .any(|head| head.target().ends_with("tokenreviews"))
    );
}

#[test]
fn every_stream_and_protocol_of_a_kubelet_passes_no_api_server() {
    let bed = Bed::new(TRUSTED);
    let features = json!(["ExtendWebSocketsToKubelet"]);
    bed.world.change(NODE_PATH, |node| {
        node["status"]["declaredFeatures"] = features;
    });
    let attach = "attach?container=app&stdout=true&stderr=true";
    let with_token = [&SPDY[..], &[TOKEN]].concat();
    let table: [(&str, &str, Headers<'_>, &str); 5] = [
        (
            "POST",
            attach,
            with_token.clone(),
            "/attach/shop/web-0/app?error=1&output=1",
        ),
        (
            "POST",
            "portforward?ports=80",
            with_token,
            "/portForward/shop/web-0/0a-1b?port=80",
        ),
        (
            "GET",
            attach,
            websocket("v4.channel.k8s.io"),
            "/attach/shop/web-0/app?error=1&output=1",
        ),
        (
            "GET",
            attach,
            websocket("v5.channel.k8s.io"),
            "/attach/shop/web-0/app?error=1&output=1",
        ),
        (
            "GET",
            "portforward",
            websocket("SPDY/3.1+portforward.k8s.io"),
            "/portForward/shop/web-0/0a-1b",
        ),
    ];
    for (method, stream, headers, wanted) in table {
        let (client, head) = bed.upgrade(method, stream, &headers);
        assert_eq!(head.status(), 101, "{stream}: {}", head.raw);
        echoed(client);
        bed.went(ApiPath::Short);
        assert_eq!(bed.past().pop().as_deref(), Some(wanted));
    }
    assert_eq!(bed.through(), Vec::<String>::new());
}

#[test]
fn log_passes_no_api_server_and_is_plain_text() {
    // Logs are not admitted, so nothing needs to be known of plugins.
    let bed = Bed::new("shortWay: {}");
    let mut client = bed.front.client(&bed.cluster, None);
    let target = format!("{}/log?follow=true", eyesplice_tests::world::POD);
    let reply = client.ask(&target, &[TOKEN, ("Accept-Encoding", "gzip")]);
    assert_eq!(
        (reply.head.status(), &*reply.text()),
        (200, "line one\nline two\n")
    );
    assert_eq!(reply.head.get("content-type"), Some("text/plain"));
    assert_eq!(reply.head.get("cache-control"), Some("no-cache, private"));
    bed.went(ApiPath::Short);
    let heads = bed.kubelet.heads();
    assert_eq!(
        heads[0].target(),
        "/containerLogs/shop/web-0/app?follow=true"
    );
    assert_eq!(heads[0].get("accept-encoding"), None);
    assert_eq!(heads[0].get("authorization"), None);
    // The next request on the same connection goes where it belongs.
    let reply = client.ask("/api/v1/pods", &[TOKEN]);
    assert_eq!(reply.text(), "tom [] by token");
    client.leave();
    assert_eq!(bed.through(), ["/api/v1/pods"]);
}

#[test]
fn stream_goes_on_when_its_user_may_no_more_and_the_api_server_fails() {
    let bed = Bed::new(TRUSTED);
    let (mut client, head) = bed.exec();
    assert_eq!(head.status(), 101, "{}", head.raw);
    bed.world.allow(false);
    bed.server.set_ready(500);
    client.0.write_all(b"still here").unwrap();
    assert_eq!(client.0.read_exact(10).unwrap(), b"still here");
    echoed(client);
    bed.went(ApiPath::Short);
}

/// A token that says when it ends.
fn ending_at(seconds: u64) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let claims = format!("{{\"exp\":{seconds}}}");
    let mut payload = String::new();
    for group in claims.as_bytes().chunks(3) {
        let at = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for index in 0..=group.len() {
            let digit = bits >> (18 - 6 * index) & 63;
            payload.push(char::from(DIGITS[usize::try_from(digit).unwrap()]));
        }
    }
    format!("Bearer e30.{payload}.YQ")
}

#[test]
fn stream_ends_with_the_token_of_its_user_if_that_is_wanted() {
    let bed = Bed::new("shortWay: {admission: trusted}, endWithCredential: true");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let token = ending_at(now + 3);
    let headers = [&SPDY[..], &[("Authorization", &*token)]].concat();
    let (mut client, head) = bed.upgrade("POST", EXEC, &headers);
    assert_eq!(head.status(), 101, "{}", head.raw);
    client.0.write_all(b"stdin").unwrap();
    assert_eq!(client.0.read_exact(5).unwrap(), b"stdin");
    client.0.read_to_end();
    let record = bed.went(ApiPath::Short);
    assert_eq!(record.reason, Reason::Expired);
}
