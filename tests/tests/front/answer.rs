//! Answers of the gateway's own: control's, and those to what no control is asked about.

use eyesplice_dataplane::seam::{ApiPath, Phase, Reason, Side};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::front::{Front, Judged, Rule, TOKEN, leave, server};
use eyesplice_tests::http::read_reply;
use eyesplice_tests::kubelet;
use eyesplice_tests::matrix;
use eyesplice_tests::variant::Variant;
use std::time::Duration;

matrix! { tcp:
    answer_of_control_leaves_the_connection,
    answer_to_a_request_with_a_body_ends_the_connection,
    answer_between_two_requests_leaves_the_connection_to_the_server,
    control_that_never_answers_is_504,
    control_that_drops_the_question_is_503,
    requests_that_are_none_are_refused_with_a_status,
    connect_is_405,
    head_that_is_too_large_is_431,
    client_over_a_limit_reads_why,
}

const STATUS: &str = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":401}"#;

fn answer_of_control_leaves_the_connection(variant: Variant) {
    let front = Front::start(variant);
    front.control.say(|_| Judged::Answer(401, STATUS));
    let mut conn = front.client();
    for exchange in 1..=3 {
        let reply = Request::get("/api/v1/pods")
            .header("Authorization", TOKEN)
            .ask(&mut conn);
        assert_eq!((reply.head.status(), reply.text().as_str()), (401, STATUS));
        assert_eq!(reply.head.get("www-authenticate"), Some("Test"));
        assert_eq!(reply.head.get("content-type"), Some("application/json"));
        assert!(reply.head.all("connection").is_empty());
        let record = front.assert_ended(Reason::Denied, Side::Local, Phase::Verdict);
        assert_eq!((record.exchange, record.status), (exchange, Some(401)));
        assert_eq!(record.detail.as_deref(), Some("the test denies it"));
    }
    let reply = Request::new("HEAD", "/version").ask(&mut conn);
    assert_eq!(reply.head.get("content-length"), Some("65"));
    assert_eq!(STATUS.len(), 65);
    front.ended();
    leave(conn);
    front.assert_nothing_held();
}

fn answer_to_a_request_with_a_body_ends_the_connection(variant: Variant) {
    let front = Front::start(variant);
    front.control.say(|_| Judged::Answer(403, STATUS));
    let mut conn = front.client();
    Request::new("POST", "/api/v1/pods")
        .header("Content-Length", "1000000")
        .send(&mut conn);
    conn.write_all(&[b'x'; 100_000]).unwrap();
    let reply = read_reply(&mut conn, "POST").unwrap();
    assert_eq!((reply.head.status(), reply.text().as_str()), (403, STATUS));
    assert_eq!(reply.head.get("connection"), Some("close"));
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    let record = front.assert_ended(Reason::Denied, Side::Local, Phase::Verdict);
    assert_eq!((record.status, record.bytes.up), (Some(403), 0));
    front.assert_nothing_held();
}

fn answer_between_two_requests_leaves_the_connection_to_the_server(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant);
    let rule = Rule::to(api.address());
    front.control.say(move |seen| match seen.exchange {
        2 => Judged::Answer(403, STATUS),
        _ => Judged::On(rule.clone()),
    });
    let mut conn = front.client();
    for status in [200, 403, 200] {
        assert_eq!(
            Request::get("/version").ask(&mut conn).head.status(),
            status
        );
    }
    leave(conn);
    assert_eq!(api.connections(), 1);
    let address = Some(api.address());
    api.finish();
    // No server had a part in the answer.
    for (to, path) in [
        (address, ApiPath::Through(None)),
        (None, ApiPath::Answered),
        (address, ApiPath::Through(None)),
    ] {
        let record = front.ended();
        let labels = record.exchange_labels.unwrap();
        assert_eq!((record.address, labels.path), (to, Some(path)));
        assert_eq!(record.key_exchange.upstream.is_some(), to.is_some());
    }
    front.assert_nothing_held();
}

fn control_that_never_answers_is_504(variant: Variant) {
    let front = Front::with(variant, |setup| {
        setup.admission.admit_timeout = Duration::from_millis(50);
    });
    front.control.say(|_| Judged::Silence);
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_eq!(reply.head.status(), 504);
    assert!(
        reply.text().contains("timeouts.verdict"),
        "{}",
        reply.text()
    );
    drop(conn);
    front.assert_ended(Reason::Timeout, Side::Local, Phase::Verdict);
    front.assert_nothing_held();
}

fn control_that_drops_the_question_is_503(variant: Variant) {
    let front = Front::start(variant);
    front.control.say(|_| Judged::Dropped);
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_eq!(reply.head.status(), 503);
    assert!(
        reply.text().contains("\"reason\":\"ServiceUnavailable\""),
        "{}",
        reply.text()
    );
    drop(conn);
    front.assert_ended(Reason::Internal, Side::Local, Phase::Verdict);
    front.assert_nothing_held();
}

const BOTH_FRAMINGS: &[u8] =
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";

fn requests_that_are_none_are_refused_with_a_status(variant: Variant) {
    let front = Front::start(variant);
    let cases: [(&[u8], u16); 6] = [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Authorization\r\n\r\n",
            400,
        ),
        (BOTH_FRAMINGS, 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 505),
    ];
    for (bytes, status) in cases {
        let mut conn = front.client();
        conn.write_all(bytes).unwrap();
        let reply = read_reply(&mut conn, "GET").unwrap();
        assert_eq!(reply.head.status(), status, "{}", bytes.escape_ascii());
        let text = reply.text();
        assert!(text.starts_with(r#"{"kind":"Status""#), "{text}");
        assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
        drop(conn);
        front.assert_ended(Reason::Protocol, Side::Downstream, Phase::Exchange);
    }
    assert!(front.control.seen().is_empty());
    front.assert_nothing_held();
}

fn connect_is_405(variant: Variant) {
    let front = Front::start(variant);
    let mut conn = front.client();
    conn.write_all(b"CONNECT 10.0.0.1:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let reply = read_reply(&mut conn, "GET").unwrap();
    assert_eq!(reply.head.status(), 405);
    drop(conn);
    front.assert_ended(Reason::Protocol, Side::Downstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn head_that_is_too_large_is_431(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule {
        user: Some("jane"),
        ..Rule::to(api.address())
    });
    let large = "x".repeat(500 << 10);
    // Who is not known yet may send less.
    let mut conn = front.client();
    Request::get("/version")
        .header("X-Large", &large)
        .send(&mut conn);
    let reply = read_reply(&mut conn, "GET").unwrap();
    assert_eq!(reply.head.status(), 431);
    drop(conn);
    front.assert_ended(Reason::Protocol, Side::Downstream, Phase::Exchange);
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    let ask = Request::get("/version").header("X-Large", &large);
    assert_eq!(ask.ask(&mut conn).text(), "ok");
    leave(conn);
    api.finish();
    front.assert_passed();
    front.assert_passed();
    front.assert_nothing_held();
}

fn client_over_a_limit_reads_why(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::with(variant, |setup| {
        setup.workers = 1;
        setup.admission.max_streams_per_peer = 1;
    });
    let front = front.leads(Rule::to(api.address()));
    let mut first = front.client();
    assert_eq!(Request::get("/version").ask(&mut first).text(), "ok");
    front.assert_passed();
    let mut second = front.client();
    let reply = Request::get("/version").ask(&mut second);
    assert_eq!(reply.head.status(), 503);
    assert!(
        reply.text().contains("limits.maxStreamsPerPeer"),
        "{}",
        reply.text()
    );
    assert_eq!(second.read_to_end(), (Vec::new(), Ending::Clean));
    drop(second);
    let record = front.assert_ended(Reason::Limit, Side::Local, Phase::Request);
    assert_eq!(record.status, Some(503));
    leave(first);
    api.finish();
    front.assert_nothing_held();
}
