//! What the kubelet is asked, and over which connection.

use super::bed::{Asking, Bed, EXEC, NODE, POD};
use data_encoding::BASE64URL_NOPAD;
use eyesplice_identity::document::FileRef;
use eyesplice_proto::head::RequestHead;
use serde_json::json;
use std::fs;
use std::time::{Duration, SystemTime};

fn shown(head: &RequestHead) -> (String, Vec<String>) {
    let line = |(name, value): (
        &eyesplice_proto::headers::HeaderName,
        &eyesplice_proto::headers::HeaderValue,
    )| { format!("{}: {}", name.as_str(), value.to_str().unwrap()) };
    let first = format!("{} {}", head.method, head.target.as_str());
    (first, head.headers.iter().map(line).collect())
}

#[tokio::test]
async fn upgrade_goes_on_with_the_clients_headers_and_nobodys_identity() {
    let mut bed = Bed::new().await;
    let asking = Asking::spdy(EXEC)
        .with("X-Remote-User", "root")
        .with("x_remote_group", "system:masters")
        .with("X-Forwarded-For", "127.0.0.1")
        .with("Cookie", "a=b");
    let request = bed.kubelet(&asking).await;
    let (first, lines) = shown(&request.head);
    assert_eq!(
        first,
        "POST /exec/shop/web-0/app?command=sh&error=1&input=1&output=1"
    );
    assert_eq!(
        lines,
        [
            "Host: front.example:6444",
            "User-Agent: kubectl/v1.31",
            "X-Stream-Protocol-Version: v4.channel.k8s.io",
            "Connection: upgrade",
            "Upgrade: SPDY/3.1",
            "Cookie: a=b",
            "X-Forwarded-For: 192.0.2.9",
        ]
    );
    assert_eq!(request.container.as_deref(), Some("app"));
    assert!(request.reply.is_empty());
    assert_eq!(&*request.fresh.server, "kubelet of node worker-3");
    assert_eq!(request.fresh.node.as_deref(), Some("worker-3"));
    assert_eq!(request.fresh.key, None);
    let wanted = bed.places.wanted.lock().unwrap();
    assert_eq!(
        (&*wanted[0].node, &*wanted[0].at),
        ("worker-3", "10.0.0.7:10251")
    );
    assert!(wanted[0].with_certificate);
}

#[tokio::test]
async fn token_among_subprotocols_is_the_users_and_goes_no_further() {
    let mut bed = Bed::new().await;
    let token = BASE64URL_NOPAD.encode(b"janes-token");
    let bearer = format!("base64url.bearer.authorization.k8s.io.{token}");
    let asking = Asking::websocket(EXEC, &format!("{bearer}, v4.channel.k8s.io"));
    let request = bed.kubelet(&asking.without("Authorization")).await;
    let (first, lines) = shown(&request.head);
    assert!(first.starts_with("GET /exec/shop/web-0/app?"), "{first}");
    assert!(lines.contains(&"Sec-WebSocket-Protocol: v4.channel.k8s.io".to_owned()));
    assert!(!lines.iter().any(|line| line.contains(&token)), "{lines:?}");
    let asked = bed.server.asked();
    let review = asked
        .iter()
        .find(|it| it.path.ends_with("tokenreviews"))
        .unwrap();
    assert_eq!(review.body["spec"]["token"], "janes-token");
}

#[tokio::test]
async fn log_is_asked_for_without_headers_of_the_client() {
    let mut bed = Bed::new().await;
    let request = bed
        .kubelet(&Asking::log("?follow=true&tailLines=5").with("Range", "x"))
        .await;
    let (first, lines) = shown(&request.head);
    assert_eq!(
        first,
        "GET /containerLogs/shop/web-0/app?follow=true&tailLines=5"
    );
    assert_eq!(lines, ["Host: 10.0.0.7:10251"]);
    assert_eq!(request.container.as_deref(), Some("app"));
    let replied = request
        .reply
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
    let wanted = [
        ("Content-Type", "text/plain"),
        ("Cache-Control", "no-cache, private"),
    ];
    assert_eq!(replied.collect::<Vec<_>>(), wanted);
    // Admission is none of a log's business.
    assert_eq!(bed.server.count("admissionregistration"), 0);
}

#[tokio::test]
async fn ports_are_forwarded_by_the_pods_uid_unless_it_is_a_mirror_pods() {
    let mut bed = Bed::new().await;
    let asking = Asking::spdy("portforward?ports=80");
    let request = bed.kubelet(&asking).await;
    assert_eq!(
        shown(&request.head).0,
        "POST /portForward/shop/web-0/0a-1b?port=80"
    );
    assert_eq!(request.container, None);
    let mirror = json!({"kubernetes.io/config.mirror": "x"});
    bed.world().at(POD)["metadata"]["annotations"] = mirror;
    let request = bed.kubelet(&asking).await;
    assert_eq!(
        shown(&request.head).0,
        "POST /portForward/shop/web-0?port=80"
    );
}

#[tokio::test]
async fn subprotocol_that_is_translated_goes_to_kubelets_that_declare_it() {
    let features = json!(["Other", "ExtendWebSocketsToKubelet"]);
    for (stream, protocol) in [
        (EXEC, "v5.channel.k8s.io"),
        (
            "attach?container=app&stdout=true&stderr=true",
            "v5.channel.k8s.io",
        ),
        ("portforward", "SPDY/3.1+portforward.k8s.io"),
    ] {
        let mut bed = Bed::new().await;
        bed.world().at(NODE)["status"]["declaredFeatures"] = features.clone();
        let request = bed.kubelet(&Asking::websocket(stream, protocol)).await;
        let offered = format!("Sec-WebSocket-Protocol: {protocol}");
        assert!(shown(&request.head).1.contains(&offered), "{stream}");
    }
}

#[tokio::test]
async fn our_token_for_kubelets_takes_the_place_of_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut bed = Bed::new().await;
    bed.settings.kubelet_token_file = Some(FileRef::new(
        "front.shortWay.kubeletTokenFile",
        file.clone(),
    ));
    for token in ["one", "two"] {
        fs::write(&file, format!("{token}\n")).unwrap();
        for asking in [Asking::spdy(EXEC), Asking::log("")] {
            let request = bed.kubelet(&asking).await;
            let lines = shown(&request.head).1;
            let ours = lines
                .iter()
                .filter(|line| line.starts_with("Authorization: "));
            assert_eq!(
                ours.collect::<Vec<_>>(),
                [&format!("Authorization: Bearer {token}")]
            );
        }
    }
    let wanted = bed.places.wanted.lock().unwrap();
    assert!(wanted.iter().all(|kubelet| !kubelet.with_certificate));
}

#[tokio::test]
async fn stream_ends_with_its_credential_if_that_is_wanted() {
    let until = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let claims = BASE64URL_NOPAD.encode(b"{\"exp\":4000000000}");
    let token = Asking::spdy(EXEC)
        .without("Authorization")
        .with("Authorization", &format!("Bearer e30.{claims}.YQ"));
    let mut certificate = Asking::spdy(EXEC).without("Authorization");
    certificate.by_certificate = Some((super::bed::jane(), until));
    for asking in [token, certificate] {
        let mut bed = Bed::new().await;
        assert_eq!(bed.kubelet(&asking).await.until, None);
        let mut bed = Bed::new().await;
        bed.settings.end_with_credential = true;
        assert_eq!(bed.kubelet(&asking).await.until, Some(until));
    }
    let mut bed = Bed::new().await;
    bed.settings.end_with_credential = true;
    assert_eq!(bed.kubelet(&Asking::spdy(EXEC)).await.until, None);
}

#[tokio::test]
async fn token_that_has_expired_by_its_own_words_is_nobodys_though_it_is_remembered() {
    let claims = BASE64URL_NOPAD.encode(b"{\"exp\":4000000000}");
    let mut asking = Asking::spdy(EXEC)
        .without("Authorization")
        .with("Authorization", &format!("Bearer e30.{claims}.YQ"));
    let mut bed = Bed::new().await;
    bed.kubelet(&asking).await;
    asking.now = SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    assert_eq!(bed.why(&asking).await, crate::front::short::Why::Identity);
}
