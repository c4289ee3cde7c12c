//! Requests as kubectl makes them, one after another on one connection.

use eyesplice_dataplane::seam::{ApiPath, StreamMode};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::Request;
use eyesplice_tests::front::{Front, Judged, Rule, leave, read_some, server};
use eyesplice_tests::http::{read_head, read_reply};
use eyesplice_tests::kubelet::{self, request};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::variant::Variant;
use std::sync::Mutex;
use std::sync::mpsc;

matrix! { tcp:
    requests_share_a_connection_and_each_has_its_record,
    request_bodies_pass_in_either_framing,
    pipelined_requests_are_answered_in_order,
    events_of_a_watch_come_one_by_one,
    interim_reply_is_passed_on_to_who_expects_it,
    head_request_has_no_body,
    control_that_takes_its_time_holds_up_nothing,
    headers_of_one_hop_are_taken_off_and_names_with_underscores_stay,
    reload_leaves_the_connection_and_judges_the_next_request_by_itself,
}

fn requests_share_a_connection_and_each_has_its_record(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant);
    let rule = Rule {
        user: Some("jane"),
        path: ApiPath::Through(Some("not_configured")),
        action: Action::Logs,
        ..Rule::to(api.address())
    };
    let front = front.leads(rule);
    let mut conn = front.client();
    for number in 1..=5 {
        let reply = Request::get("/api/v1/namespaces/default/pods?limit=500").ask(&mut conn);
        assert_eq!((reply.head.status(), reply.text().as_str()), (200, "ok"));
        assert!(
            reply.head.all("connection").is_empty(),
            "{}",
            reply.head.raw
        );
        let record = front.assert_passed();
        assert_eq!((record.exchange, record.status), (number, Some(200)));
        assert_eq!(record.mode, StreamMode::Front);
        assert_eq!(
            (record.address, record.generation),
            (Some(api.address()), 1)
        );
        let labels = record.exchange_labels.unwrap();
        assert_eq!((labels.action, labels.protocol), (Action::Logs, None));
        assert_eq!(labels.user.as_deref(), Some("jane"));
        assert_eq!(labels.path, Some(ApiPath::Through(Some("not_configured"))));
    }
    leave(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    let held: Vec<_> = front.control.seen().iter().map(|seen| seen.held).collect();
    assert_eq!(held, [None, Some(1), Some(1), Some(1), Some(1)]);
    front.assert_nothing_held();
}

fn request_bodies_pass_in_either_framing(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let body = Rng::new(1).bytes(300_000);
    let reply = Request::new("POST", "/api/v1/namespaces")
        .body(&body)
        .ask(&mut conn);
    assert!(reply.body.bytes() == body);
    let chunked =
        Request::new("PATCH", "/api/v1/namespaces/a").header("Transfer-Encoding", "chunked");
    chunked.send(&mut conn);
    for chunk in body.chunks(70_000) {
        conn.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
            .unwrap();
        conn.write_all(chunk).unwrap();
        conn.write_all(b"\r\n").unwrap();
    }
    conn.write_all(b"0\r\n\r\n").unwrap();
    assert!(read_reply(&mut conn, "PATCH").unwrap().body.bytes() == body);
    leave(conn);
    api.finish();
    assert!(front.control.seen().iter().all(|seen| seen.has_body));
    for _ in 0..2 {
        assert!(front.assert_passed().bytes.up >= 300_000);
    }
    front.assert_nothing_held();
}

fn pipelined_requests_are_answered_in_order(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let mut bytes = Vec::new();
    for number in 0..20 {
        let body = Rng::new(number).bytes(1000);
        bytes.extend(Request::new("POST", "/apis").body(&body).bytes());
    }
    conn.write_all(&bytes).unwrap();
    for number in 0..20 {
        let reply = read_reply(&mut conn, "POST").unwrap();
        assert!(reply.body.bytes() == Rng::new(number).bytes(1000));
        assert_eq!(u64::from(front.assert_passed().exchange), number + 1);
    }
    leave(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    front.assert_nothing_held();
}

fn events_of_a_watch_come_one_by_one(variant: Variant) {
    let (ask, asked) = mpsc::channel::<()>();
    let asked = Mutex::new(asked);
    let api = server(variant, move |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        // The next event comes when the client has the last one.
        while asked.lock().unwrap().recv().is_ok() {
            conn.write_all(b"a\r\n{\"type\":1}\r\n").unwrap();
        }
        conn.write_all(b"0\r\n\r\n").unwrap();
        kubelet::serve(conn, log);
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    Request::get("/api/v1/pods?watch=1").send(&mut conn);
    assert_eq!(read_head(&mut conn).unwrap().status(), 200);
    for _ in 0..50 {
        ask.send(()).unwrap();
        assert_eq!(read_some(&mut conn, 15), b"a\r\n{\"type\":1}\r\n");
    }
    drop(ask);
    assert_eq!(read_some(&mut conn, 5), b"0\r\n\r\n");
    // The connection goes on.
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    leave(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    assert_eq!(front.assert_passed().bytes.down, 50 * 15 + 5);
    front.assert_passed();
    front.assert_nothing_held();
}

fn interim_reply_is_passed_on_to_who_expects_it(variant: Variant) {
    let api = server(variant, |conn, log| {
        let head = request(conn, log);
        assert_eq!(head.get("expect"), Some("100-continue"));
        conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        assert_eq!(conn.read_exact(4).unwrap(), b"body");
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
            .unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    Request::new("POST", "/apis/apps/v1/namespaces/a/deployments")
        .header("Expect", "100-continue")
        .header("Content-Length", "4")
        .send(&mut conn);
    assert_eq!(read_head(&mut conn).unwrap().status(), 100);
    conn.write_all(b"body").unwrap();
    assert_eq!(read_reply(&mut conn, "POST").unwrap().text(), "done");
    leave(conn);
    api.finish();
    assert_eq!(front.assert_passed().status, Some(200));
    front.assert_nothing_held();
}

fn head_request_has_no_body(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::new("HEAD", "/healthz").ask(&mut conn);
    assert_eq!(reply.head.get("content-length"), Some("2"));
    assert_eq!(Request::get("/healthz").ask(&mut conn).text(), "ok");
    leave(conn);
    api.finish();
    assert_eq!((front.ended().exchange, front.ended().exchange), (1, 2));
    front.assert_nothing_held();
}

fn control_that_takes_its_time_holds_up_nothing(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant);
    let rule = Rule::to(api.address());
    front.control.say(move |_| Judged::Later(rule.clone()));
    let mut conn = front.client();
    for _ in 0..10 {
        assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
        front.assert_passed();
    }
    leave(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    front.assert_nothing_held();
}

fn headers_of_one_hop_are_taken_off_and_names_with_underscores_stay(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version")
        .header("Connection", "keep-alive, X-Mine")
        .header("X-Mine", "1")
        .header("Keep-Alive", "timeout=5")
        .header("TE", "trailers")
        .header("Proxy-Authorization", "Basic x")
        .header("x_trace_id", "7")
        .header("Authorization", "Bearer abc")
        .ask(&mut conn);
    assert_eq!(reply.text(), "ok");
    leave(conn);
    let heads = api.heads();
    let [head] = heads.as_slice() else {
        panic!("{heads:?}");
    };
    for gone in [
        "connection",
        "x-mine",
        "keep-alive",
        "te",
        "proxy-authorization",
    ] {
        assert!(head.all(gone).is_empty(), "{gone} in {}", head.raw);
    }
    assert_eq!(head.get("x_trace_id"), Some("7"));
    assert_eq!(head.get("authorization"), Some("Bearer abc"));
    assert_eq!(head.get("host"), Some("127.0.0.1:10250"));
    api.finish();
    front.assert_passed();
    front.assert_nothing_held();
}

fn reload_leaves_the_connection_and_judges_the_next_request_by_itself(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    for generation in 1..=3 {
        let reply = Request::get("/version").ask(&mut conn);
        assert!(reply.head.all("connection").is_empty());
        assert_eq!(front.assert_passed().generation, generation);
        front.reload();
    }
    let rule = Rule {
        key: Some(2),
        ..Rule::to(api.address())
    };
    front.control.say(move |_| Judged::On(rule.clone()));
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    assert_eq!(front.assert_passed().generation, 4);
    leave(conn);
    assert_eq!(api.connections(), 2);
    api.finish();
    front.assert_nothing_held();
}
