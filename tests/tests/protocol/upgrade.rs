//! Upgrades: granted, refused, wrong, and how upgraded streams end.

use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_dataplane::seam::{Phase, Reason, Side, StreamMode, VerificationResult};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::{Request, exec};
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::{Body, Reply};
use eyesplice_tests::kubelet::{self, Kubelet, Log, grant, request};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::variant::{Variant, ktls_policy};

matrix! {
    exec_is_carried_both_ways_and_ends_as_the_client_ends_it,
    websocket_is_granted_with_its_accept,
    bytes_in_the_write_of_the_101_are_delivered,
    early_bytes_of_the_client_are_delivered_after_the_101,
    success_to_an_upgrade_is_502,
    redirect_to_an_upgrade_is_502,
    refusal_of_an_upgrade_is_passed_on_and_closed,
    other_protocol_in_a_101_is_502,
    websocket_with_another_accept_is_502,
    unasked_101_is_502,
    interim_reply_to_an_upgrade_is_not_passed_on,
    cut_without_close_notify_upstream_is_a_cut_downstream,
    reset_upstream_is_a_cut_downstream,
    cut_without_close_notify_downstream_is_a_cut_upstream,
    reset_downstream_is_a_cut_upstream,
    kubelet_that_ends_first_leaves_the_other_direction_open,
    end_of_the_outer_session_does_not_destroy_the_rest,
    one_byte_at_a_time_is_enough,
    upgrade_of_what_no_kubelet_upgrades_is_read_over,
}

/// Asks for an exec of a kubelet that answers with these bytes.
fn answered(variant: Variant, upgrade: Request, answer: &'static str) -> (Gateway, Reply) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, move |conn, log| {
        request(conn, log);
        conn.write_all(answer.as_bytes()).unwrap();
        // What comes after the answer is none of the kubelet's business.
        log.ending(conn.read_to_end().1);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = upgrade.ask(&mut conn);
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean), "{reply:?}");
    drop(conn);
    kubelet.finish();
    (gateway, reply)
}

/// A stream that is upgraded; the script takes over after the 101.
fn upgraded(
    variant: Variant,
    script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
) -> (Gateway, Kubelet, Conn) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, move |conn, log| {
        grant(conn, log);
        script(conn, log);
    });
    let conn = exec(&gateway.api_server(), &kubelet.target());
    (gateway, kubelet, conn)
}

fn exec_is_carried_both_ways_and_ends_as_the_client_ends_it(variant: Variant) {
    let (mut gateway, kubelet, mut conn) = upgraded(variant, kubelet::echo);
    let input = Rng::new(1).bytes(1 << 20);
    let seen = converse(&mut conn, &input, Pace::even());
    assert!(
        seen.received == input,
        "{} of {} bytes",
        seen.received.len(),
        input.len()
    );
    assert_eq!(seen.ending, Ending::Clean);
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();

    if ktls_policy() == KtlsPolicy::Require {
        assert!(gateway.totals().ktls_legs > 0, "{:?}", gateway.totals());
    }
    let began = gateway.running().began();
    assert_eq!(began.exchange, 1);
    let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    assert_eq!((record.bytes.up, record.bytes.down), (1 << 20, 1 << 20));
    assert_eq!(
        (record.mode, record.status),
        (StreamMode::TerminateKubelet, Some(101))
    );
    assert_eq!(
        record.client.as_deref(),
        Some("CN=kube-apiserver-kubelet-client")
    );
    assert_eq!(record.node.as_deref(), Some("worker-3"));
    let identity = "CN=system:node:worker-3,O=system:nodes".into();
    assert_eq!(record.verification, VerificationResult::Verified(identity));
    let labels = record.exchange_labels.unwrap();
    assert_eq!(
        (labels.action, labels.protocol),
        (Action::Exec, Some("SPDY/3.1"))
    );
    let pod = (
        labels.namespace.unwrap(),
        labels.pod.unwrap(),
        labels.container.unwrap(),
    );
    assert_eq!((&*pod.0, &*pod.1, &*pod.2), ("default", "web", "app"));
    gateway.assert_nothing_held();
}

fn websocket_is_granted_with_its_accept(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::exec_websocket().ask(&mut conn);
    assert_eq!(reply.head.status(), 101);
    assert_eq!(
        reply.head.get("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(reply.head.all("upgrade"), ["websocket"]);
    assert_eq!(reply.head.all("connection"), ["Upgrade"]);
    conn.write_all(b"frame").unwrap();
    assert_eq!(conn.read_exact(5).unwrap(), b"frame");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    assert_eq!(record.exchange_labels.unwrap().protocol, Some("websocket"));
    gateway.assert_nothing_held();
}

fn bytes_in_the_write_of_the_101_are_delivered(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        let head = request(conn, log);
        let mut first = kubelet::switching(&head).into_bytes();
        first.extend(Rng::new(2).bytes(70_000));
        conn.write_all(&first).unwrap();
        conn.shut().unwrap();
        log.ending(conn.read_to_end().1);
    });
    let mut conn = exec(&gateway.api_server(), &kubelet.target());
    let (received, ending) = conn.read_to_end();
    assert!(
        received == Rng::new(2).bytes(70_000),
        "{} bytes",
        received.len()
    );
    assert_eq!(ending, Ending::Clean);
    conn.shut().unwrap();
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Downstream, Phase::Relay);
    gateway.assert_nothing_held();
}

fn early_bytes_of_the_client_are_delivered_after_the_101(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let mut first = Request::exec_spdy().bytes();
    first.extend_from_slice(b"too early");
    conn.write_all(&first).unwrap();
    let reply = eyesplice_tests::http::read_reply(&mut conn, "POST").unwrap();
    assert_eq!(reply.head.status(), 101);
    assert_eq!(conn.read_exact(9).unwrap(), b"too early");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn assert_bad_upgrade(gateway: &Gateway, reply: &Reply, words: &str) {
    assert_eq!(reply.head.status(), 502);
    assert!(
        reply.body.is_whole() && reply.text().contains(words),
        "{}",
        reply.text()
    );
    // kubectl shows the message of a Status; words alone it would take for an empty one.
    let status = r#"{"kind":"Status","apiVersion":"v1","#;
    assert!(reply.text().starts_with(status), "{}", reply.text());
    assert!(reply.text().contains("eyesplice: "), "{}", reply.text());
    let record = gateway.assert_ended(Reason::BadUpgrade, Side::Upstream, Phase::Exchange);
    assert_eq!(record.status, Some(502));
    gateway.assert_nothing_held();
}

fn success_to_an_upgrade_is_502(variant: Variant) {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (gateway, reply) = answered(variant, Request::exec_spdy(), answer);
    assert_bad_upgrade(&gateway, &reply, "status 200");
}

fn redirect_to_an_upgrade_is_502(variant: Variant) {
    let answer =
        "HTTP/1.1 302 Found\r\nLocation: https://10.0.0.1:6443/\r\nContent-Length: 0\r\n\r\n";
    let (gateway, reply) = answered(variant, Request::exec_websocket(), answer);
    assert!(!reply.head.raw.contains("10.0.0.1"), "{}", reply.head.raw);
    assert_bad_upgrade(&gateway, &reply, "status 302");
}

fn refusal_of_an_upgrade_is_passed_on_and_closed(variant: Variant) {
    for (answer, status) in [
        (
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno\r\n",
            403,
        ),
        (
            "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nno\r\n\r\n0\r\n\r\n",
            500,
        ),
    ] {
        let (gateway, reply) = answered(variant, Request::exec_spdy(), answer);
        assert_eq!(reply.head.status(), status);
        assert_eq!(reply.body, Body::Whole(b"no\r\n".to_vec()));
        assert_eq!(reply.head.all("connection"), ["close"]);
        let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
        assert_eq!(record.status, Some(status));
        gateway.assert_nothing_held();
    }
}

fn other_protocol_in_a_101_is_502(variant: Variant) {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         Upgrade: SPDY/3.1\r\n\r\n",
    ] {
        let (gateway, reply) = answered(variant, Request::exec_spdy(), answer);
        assert_bad_upgrade(&gateway, &reply, "another protocol");
    }
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n";
    let (gateway, reply) = answered(variant, Request::exec_spdy(), answer);
    assert_bad_upgrade(&gateway, &reply, "malformed");
}

fn websocket_with_another_accept_is_502(variant: Variant) {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";
    let (gateway, reply) = answered(variant, Request::exec_websocket(), answer);
    assert_bad_upgrade(&gateway, &reply, "Sec-WebSocket-Accept");
}

fn unasked_101_is_502(variant: Variant) {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
    let (gateway, reply) = answered(variant, Request::logs(), answer);
    assert_eq!(reply.head.status(), 502);
    gateway.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn interim_reply_to_an_upgrade_is_not_passed_on(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        let head = request(conn, log);
        conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        conn.write_all(kubelet::switching(&head).as_bytes())
            .unwrap();
        kubelet::echo(conn, log);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    Request::exec_spdy().send(&mut conn);
    let head = eyesplice_tests::http::read_head(&mut conn).unwrap();
    assert_eq!(head.status(), 101, "{}", head.raw);
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn cut_without_close_notify_upstream_is_a_cut_downstream(variant: Variant) {
    let (gateway, kubelet, mut conn) = upgraded(variant, |conn, log| {
        conn.write_all(b"all that there is").unwrap();
        conn.fin().unwrap();
        log.ending(conn.read_to_end().1);
    });
    let (received, ending) = conn.read_to_end();
    assert_eq!(received, b"all that there is");
    assert!(ending.is_cut(), "a silent cut");
    let record = gateway.assert_ended(Reason::Truncated, Side::Upstream, Phase::Relay);
    assert_eq!(record.bytes.down, 17);
    drop(conn);
    assert!(kubelet.ending().is_cut());
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn reset_upstream_is_a_cut_downstream(variant: Variant) {
    let (gateway, kubelet, mut conn) = upgraded(variant, |conn, _| {
        assert_eq!(conn.read_exact(1).unwrap(), b"x");
        conn.reset_when_closed();
    });
    conn.write_all(b"x").unwrap();
    assert!(conn.read_to_end().1.is_cut(), "a silent cut");
    gateway.assert_ended(Reason::Reset, Side::Upstream, Phase::Relay);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn cut_without_close_notify_downstream_is_a_cut_upstream(variant: Variant) {
    let (gateway, kubelet, mut conn) = upgraded(variant, kubelet::echo);
    conn.write_all(b"x").unwrap();
    assert_eq!(conn.read_exact(1).unwrap(), b"x");
    conn.fin().unwrap();
    assert!(kubelet.ending().is_cut(), "a silent cut");
    assert!(conn.read_to_end().1.is_cut());
    kubelet.finish();
    gateway.assert_ended(Reason::Truncated, Side::Downstream, Phase::Relay);
    gateway.assert_nothing_held();
}

fn reset_downstream_is_a_cut_upstream(variant: Variant) {
    let (gateway, kubelet, mut conn) = upgraded(variant, kubelet::echo);
    conn.write_all(b"x").unwrap();
    assert_eq!(conn.read_exact(1).unwrap(), b"x");
    conn.reset_when_closed();
    drop(conn);
    assert!(kubelet.ending().is_cut(), "a silent cut");
    kubelet.finish();
    let record = gateway.ended();
    // A UNIX socket has no reset: it is closed without close_notify.
    assert_eq!(
        (record.side, record.phase),
        (Side::Downstream, Phase::Relay)
    );
    assert!(
        matches!(record.reason, Reason::Reset | Reason::Truncated),
        "{record:?}"
    );
    gateway.assert_nothing_held();
}

fn kubelet_that_ends_first_leaves_the_other_direction_open(variant: Variant) {
    let (gateway, kubelet, mut conn) = upgraded(variant, |conn, log| {
        conn.write_all(b"done").unwrap();
        conn.shut().unwrap();
        let (received, ending) = conn.read_to_end();
        assert!(
            received == Rng::new(3).bytes(300_000),
            "{} bytes",
            received.len()
        );
        log.ending(ending);
    });
    assert_eq!(conn.read_to_end(), (b"done".to_vec(), Ending::Clean));
    conn.write_all(&Rng::new(3).bytes(300_000)).unwrap();
    conn.shut().unwrap();
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Completed, Side::Downstream, Phase::Relay);
    assert_eq!(record.bytes.up, 300_000);
    gateway.assert_nothing_held();
}

fn end_of_the_outer_session_does_not_destroy_the_rest(variant: Variant) {
    // Fits the buffers of one socket: all of it is on its way when the stream is over.
    const REST: usize = 100_000;
    let (gateway, kubelet, mut conn) = upgraded(variant, |conn, log| {
        let ending = conn.read_to_end().1;
        conn.write_all(&Rng::new(10).bytes(REST)).unwrap();
        conn.shut().unwrap();
        log.ending(ending);
    });
    // Go ends a session inside of another without a word to the outer one.
    conn.shut_top().unwrap();
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    gateway.until("the end of the stream", |totals| {
        totals.bytes_down == REST as u64 && totals.streams_established == 0
    });
    conn.shut().unwrap();
    let (received, ending) = conn.read_to_end();
    assert!(
        received == Rng::new(10).bytes(REST),
        "{} bytes",
        received.len()
    );
    assert_eq!(ending, Ending::Clean);
    drop(conn);
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Relay);
    gateway.assert_nothing_held();
}

fn one_byte_at_a_time_is_enough(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        conn.chop(1, Rng::new(4));
        kubelet::serve(conn, log);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    conn.chop(1, Rng::new(5));
    assert_eq!(
        Request::logs().ask(&mut conn).text(),
        "line one\nline two\n"
    );
    assert_eq!(Request::exec_spdy().ask(&mut conn).head.status(), 101);
    let input = Rng::new(6).bytes(3000);
    let seen = converse(&mut conn, &input, Pace::even());
    assert!(
        seen.received == input && seen.ending == Ending::Clean,
        "{:?}",
        seen.ending
    );
    kubelet.finish();
    assert_eq!(gateway.ended().exchange, 1);
    assert_eq!(gateway.ended().exchange, 2);
    gateway.assert_nothing_held();
}

/// A kubelet reads over an `Upgrade` on these paths, and one that would not is no kubelet.
fn upgrade_of_what_no_kubelet_upgrades_is_read_over(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        let head = request(conn, log);
        assert_eq!(head.get("upgrade"), None, "{}", head.raw);
        assert_eq!(head.get("connection"), None, "{}", head.raw);
        let answer = match head.target() {
            "/pods" => {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
            }
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        };
        conn.write_all(answer.as_bytes()).unwrap();
        conn.read_to_end();
    });
    for target in [
        "/containerLogs/default/web/app",
        "/metrics",
        "/run/default/web/app?cmd=id",
        "/configz",
    ] {
        let mut conn = gateway.api_server().open(&kubelet.target());
        let upgrade = Request::get(target)
            .header("Connection", "Upgrade")
            .header("Upgrade", "SPDY/3.1");
        let reply = upgrade.ask(&mut conn);
        assert_eq!(
            (reply.head.status(), &*reply.text()),
            (200, "ok"),
            "{target}"
        );
        conn.shut().unwrap();
        conn.read_to_end();
        let record = gateway.ended();
        assert_eq!(record.exchange_labels.unwrap().protocol, None, "{target}");
    }
    let mut conn = gateway.api_server().open(&kubelet.target());
    let upgrade = Request::get("/pods")
        .header("Connection", "Upgrade")
        .header("Upgrade", "SPDY/3.1");
    assert_eq!(upgrade.ask(&mut conn).head.status(), 502);
    drop(conn);
    assert_eq!(gateway.ended().reason, Reason::Protocol);
    kubelet.finish();
    gateway.assert_nothing_held();
}
