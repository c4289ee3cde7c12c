//! Several requests on one connection, and what comes between them.

use eyesplice_dataplane::seam::{Phase, Reason, Side};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::{read_head, read_reply};
use eyesplice_tests::kubelet::{self, Kubelet, request};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::variant::Variant;

matrix! {
    requests_share_a_connection_and_each_has_its_record,
    pipelined_requests_are_answered_in_order,
    head_request_has_no_body,
    kubelet_that_closes_while_idle_ends_the_connection_cleanly,
    kubelet_that_closes_on_the_next_request_is_a_close_without_answer,
    kubelet_that_resets_while_idle_ends_the_connection,
    client_that_closes_while_idle_ends_the_connection_cleanly,
    client_that_never_asks_leaves_one_record,
    session_tickets_do_not_disturb_an_idle_connection,
    interim_reply_is_passed_on_to_who_expects_it,
    endless_interim_replies_are_502,
    reply_that_wants_to_close_closes,
    request_that_wants_to_close_closes,
    second_reply_that_nobody_asked_for_is_not_delivered,
    bytes_that_no_request_asked_for_end_the_connection,
    kubelet_without_alpn_and_kubelet_that_prefers_h2_both_work,
}

fn requests_share_a_connection_and_each_has_its_record(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let actions = [
        ("/healthz", Action::Other),
        ("/metrics/cadvisor", Action::Metrics),
        ("/pods", Action::Pods),
        ("/containerLogs/default/web/app?follow=true", Action::Logs),
        ("/stats/summary", Action::Metrics),
    ];
    for (number, (path, action)) in (1..).zip(actions) {
        let reply = Request::get(path).ask(&mut conn);
        assert_eq!(reply.head.status(), 200);
        assert!(
            reply.head.all("connection").is_empty(),
            "{}",
            reply.head.raw
        );
        let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
        assert_eq!((record.exchange, record.status), (number, Some(200)));
        let labels = record.exchange_labels.unwrap();
        assert_eq!((labels.action, labels.protocol), (action, None));
    }
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    assert_eq!(kubelet.connections(), 1);
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn pipelined_requests_are_answered_in_order(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let mut bytes = Vec::new();
    for number in 0..20 {
        let body = Rng::new(number).bytes(1000);
        bytes.extend(
            Request::new("POST", "/run/default/web/app")
                .body(&body)
                .bytes(),
        );
    }
    conn.write_all(&bytes).unwrap();
    for number in 0..20 {
        let reply = read_reply(&mut conn, "POST").unwrap();
        assert!(reply.body.bytes() == Rng::new(number).bytes(1000));
        assert_eq!(u64::from(gateway.ended().exchange), number + 1);
    }
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn head_request_has_no_body(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::new("HEAD", "/healthz").ask(&mut conn);
    assert_eq!(reply.head.get("content-length"), Some("2"));
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    kubelet.finish();
    assert_eq!((gateway.ended().exchange, gateway.ended().exchange), (1, 2));
    gateway.assert_nothing_held();
}

/// Answers one request with `ok`.
fn answer_one(conn: &mut eyesplice_tests::conn::Conn, log: &kubelet::Log) {
    request(conn, log);
    conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        .unwrap();
}

fn kubelet_that_closes_while_idle_ends_the_connection_cleanly(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        answer_one(conn, log);
        conn.shut().unwrap();
        log.ending(conn.read_to_end().1);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn kubelet_that_closes_on_the_next_request_is_a_close_without_answer(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        answer_one(conn, log);
        request(conn, log);
        conn.shut().unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    Request::get("/healthz").send(&mut conn);
    // Go repeats a request after exactly this; a 502 it would hand to its user.
    let (received, ending) = conn.read_to_end();
    assert!(
        received.is_empty() && ending.is_cut(),
        "{received:?} {ending:?}"
    );
    drop(conn);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    let record = gateway.assert_ended(Reason::Truncated, Side::Upstream, Phase::Exchange);
    assert_eq!((record.exchange, record.status), (2, None));
    gateway.assert_nothing_held();
}

fn kubelet_that_resets_while_idle_ends_the_connection(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        answer_one(conn, log);
        // The next request is the sign that the answer has arrived.
        assert_eq!(conn.read_exact(1).unwrap(), b"G");
        conn.reset_when_closed();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    assert_eq!(gateway.ended().reason, Reason::Completed);
    Request::get("/healthz").send(&mut conn);
    let (received, ending) = conn.read_to_end();
    assert!(
        received.is_empty() && ending.is_cut(),
        "{received:?} {ending:?}"
    );
    drop(conn);
    kubelet.finish();
    gateway.assert_ended(Reason::Reset, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn client_that_closes_while_idle_ends_the_connection_cleanly(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    drop(gateway.ended());
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn client_that_never_asks_leaves_one_record(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Completed, Side::Downstream, Phase::Exchange);
    assert_eq!((record.exchange, record.status), (0, Some(200)));
    gateway.assert_nothing_held();
}

fn session_tickets_do_not_disturb_an_idle_connection(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    // rustls sends two tickets right after a TLS 1.3 handshake: they meet an idle connection.
    let mut conn = gateway.api_server().open(&kubelet.target());
    gateway.until("an idle exchange", |totals| totals.streams_established == 1);
    for _ in 0..3 {
        assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
        assert_eq!(gateway.ended().reason, Reason::Completed);
    }
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn interim_reply_is_passed_on_to_who_expects_it(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        let head = request(conn, log);
        assert_eq!(head.get("expect"), Some("100-continue"));
        conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(conn.read_exact(4).unwrap(), b"body");
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            .unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let ask = Request::new("POST", "/run/default/web/app")
        .header("Expect", "100-continue")
        .header("Content-Length", "4");
    ask.send(&mut conn);
    assert_eq!(read_head(&mut conn).unwrap().status(), 100);
    conn.write_all(b"body").unwrap();
    assert_eq!(read_reply(&mut conn, "POST").unwrap().text(), "done");
    conn.shut().unwrap();
    assert_eq!(conn.read_to_end().1, Ending::Clean);
    kubelet.finish();
    let record = gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    assert_eq!(record.status, Some(200));
    gateway.assert_nothing_held();
}

fn endless_interim_replies_are_502(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        while conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() && conn.ended().is_none() {}
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::get("/healthz").ask(&mut conn);
    assert_eq!(reply.head.status(), 502);
    drop(conn);
    kubelet.finish();
    gateway.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn reply_that_wants_to_close_closes(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        log.ending(conn.read_to_end().1);
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::get("/healthz").ask(&mut conn);
    assert_eq!(
        (reply.text().as_str(), reply.head.all("connection")),
        ("ok", vec!["close"])
    );
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn request_that_wants_to_close_closes(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = Request::get("/healthz")
        .header("Connection", "close")
        .ask(&mut conn);
    assert_eq!(
        (reply.text().as_str(), reply.head.all("connection")),
        ("ok", vec!["close"])
    );
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(kubelet.ending(), Ending::Clean);
    kubelet.finish();
    assert_eq!(gateway.ended().reason, Reason::Completed);
    gateway.assert_nothing_held();
}

fn second_reply_that_nobody_asked_for_is_not_delivered(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
              HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        )
        .unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    // Both requests are there before the replies, so that no pause can show the surplus.
    let mut both = Request::get("/healthz").bytes();
    both.extend(Request::get("/pods").bytes());
    conn.write_all(&both).unwrap();
    assert_eq!(read_reply(&mut conn, "GET").unwrap().text(), "ok");
    let (rest, _) = conn.read_to_end();
    let rest = String::from_utf8_lossy(&rest);
    assert!(!rest.contains("poison"), "{rest}");
    drop(conn);
    assert_eq!(
        kubelet.heads().len(),
        1,
        "the second request is not forwarded"
    );
    kubelet.finish();
    // The first exchange was as it should be; then the kubelet was found to talk out of turn.
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    let record = gateway.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange);
    assert_eq!((record.exchange, record.bytes.down), (0, 0));
    gateway.assert_nothing_held();
}

fn bytes_that_no_request_asked_for_end_the_connection(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        answer_one(conn, log);
        conn.write_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        conn.read_to_end();
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    let (received, _) = conn.read_to_end();
    assert!(received.is_empty(), "{received:?}");
    drop(conn);
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    let record = gateway.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange);
    assert_eq!((record.exchange, record.bytes.down), (0, 0));
    gateway.assert_nothing_held();
}

fn kubelet_without_alpn_and_kubelet_that_prefers_h2_both_work(variant: Variant) {
    use eyesplice_tests::pki::{Presented, pki};
    use eyesplice_tests::tls;
    let gateway = Gateway::start(variant);
    let mut api_server = gateway.api_server();
    api_server.adjust(|config| config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()]);
    let pki = pki();
    for protocols in [vec![], vec![b"h2".to_vec(), b"http/1.1".to_vec()]] {
        let mut config = tls::server(&Presented::Good.identity(pki), &pki.clients, variant.tls);
        config.alpn_protocols = protocols;
        let kubelet = Kubelet::with(Some(config), kubelet::serve);
        let mut conn = api_server.open(&kubelet.target());
        assert_eq!(conn.alpn().as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
        conn.shut().unwrap();
        assert_eq!(conn.read_to_end().1, Ending::Clean);
        kubelet.finish();
        assert_eq!(gateway.ended().reason, Reason::Completed);
    }
    gateway.assert_nothing_held();
}
