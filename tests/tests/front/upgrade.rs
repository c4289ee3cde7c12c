//! Upgrades: exec and its kin through an API server or to a kubelet, and what asks for others.

use eyesplice_dataplane::seam::{ApiPath, Phase, Reason, RecordKind, Side};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::Request;
use eyesplice_tests::conn::Ending;
use eyesplice_tests::duplex::{Pace, converse};
use eyesplice_tests::front::{Front, Rule, TOKEN, leave, read_some, server};
use eyesplice_tests::http::read_head;
use eyesplice_tests::kubelet::{self, echo, request, switching};
use eyesplice_tests::matrix;
use eyesplice_tests::rng::Rng;
use eyesplice_tests::variant::Variant;
use std::time::Duration;

matrix! { tcp:
    exec_is_carried_both_ways_and_has_two_records,
    exec_follows_other_requests_on_their_connection,
    bytes_behind_an_upgrade_come_first,
    unknown_protocol_is_read_over,
    several_protocols_are_400,
    refused_upgrade_is_passed_on_and_closes,
    answer_of_an_api_server_that_upgrades_nothing_is_passed_on,
    answer_of_a_kubelet_that_upgrades_nothing_is_502,
    switch_to_another_protocol_is_502,
    kubelet_that_never_answers_an_upgrade_is_504,
    upgrade_that_cannot_be_recorded_is_503,
}

/// An exec as kubectl asks an API server for it.
fn exec(request: Request) -> Request {
    request.header("Authorization", TOKEN)
}

fn rule(api: &kubelet::Kubelet, path: ApiPath) -> Rule {
    Rule {
        path,
        action: Action::Exec,
        user: Some("jane"),
        ..Rule::to(api.address())
    }
}

const THROUGH: ApiPath = ApiPath::Through(Some("websocket_v5"));

fn exec_is_carried_both_ways_and_has_two_records(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(rule(&api, ApiPath::Short));
    for (number, ask) in (2..).zip([Request::exec_spdy(), Request::exec_websocket()]) {
        let mut conn = front.client();
        let reply = exec(ask.clone()).ask(&mut conn);
        assert_eq!(reply.head.status(), 101, "{}", reply.head.raw);
        let start = front.began();
        assert_eq!(start.kind, RecordKind::Start);
        assert_eq!((start.exchange, start.address), (1, Some(api.address())));
        let input = Rng::new(number).bytes(400_000);
        let seen = converse(&mut conn, &input, Pace::even());
        assert!(seen.received == input && seen.ending == Ending::Clean);
        drop(conn);
        let record = front.ended();
        assert_eq!(record.reason, Reason::Completed);
        assert_eq!((record.exchange, record.status), (1, Some(101)));
        assert_eq!(record.bytes.up, 400_000);
        assert_eq!(record.bytes.down, 400_000);
        let labels = record.exchange_labels.unwrap();
        assert_eq!(
            (labels.action, labels.path),
            (Action::Exec, Some(ApiPath::Short))
        );
        assert_eq!(labels.user.as_deref(), Some("jane"));
        assert!(labels.protocol.is_some());
    }
    api.finish();
    let upgrades: Vec<_> = front.control.seen().iter().map(|it| it.upgrade).collect();
    assert_eq!(upgrades, [Some("SPDY/3.1"), Some("websocket")]);
    front.assert_nothing_held();
}

fn exec_follows_other_requests_on_their_connection(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(rule(&api, THROUGH));
    let mut conn = front.client();
    assert_eq!(Request::get("/api/v1/pods/web").ask(&mut conn).text(), "ok");
    front.assert_passed();
    assert_eq!(exec(Request::exec_spdy()).ask(&mut conn).head.status(), 101);
    assert_eq!(front.began().exchange, 2);
    conn.write_all(b"ls\n").unwrap();
    assert_eq!(read_some(&mut conn, 3), b"ls\n");
    leave(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    let record = front.ended();
    assert_eq!((record.exchange, record.reason), (2, Reason::Completed));
    front.assert_nothing_held();
}

fn bytes_behind_an_upgrade_come_first(variant: Variant) {
    let api = server(variant, |conn, log| {
        let head = request(conn, log);
        let mut first = switching(&head).into_bytes();
        first.extend_from_slice(b"server first");
        conn.write_all(&first).unwrap();
        echo(conn, log);
    });
    let front = Front::start(variant).leads(rule(&api, THROUGH));
    let mut conn = front.client();
    let mut bytes = exec(Request::exec_spdy()).bytes();
    bytes.extend_from_slice(b"client first");
    conn.write_all(&bytes).unwrap();
    assert_eq!(read_head(&mut conn).unwrap().status(), 101);
    assert_eq!(read_some(&mut conn, 24), b"server firstclient first");
    leave(conn);
    api.finish();
    assert_eq!(front.ended().reason, Reason::Completed);
    front.assert_nothing_held();
}

fn unknown_protocol_is_read_over(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version")
        .header("Connection", "Upgrade, HTTP2-Settings")
        .header("Upgrade", "h2c")
        .header("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")
        .ask(&mut conn);
    assert_eq!(reply.text(), "ok");
    leave(conn);
    let heads = api.heads();
    for gone in ["upgrade", "connection", "http2-settings"] {
        assert!(heads[0].all(gone).is_empty(), "{}", heads[0].raw);
    }
    api.finish();
    assert_eq!(front.control.seen()[0].upgrade, None);
    front.assert_passed();
    front.assert_nothing_held();
}

fn several_protocols_are_400(variant: Variant) {
    let front = Front::start(variant);
    let mut conn = front.client();
    let reply = Request::get("/version")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket, SPDY/3.1")
        .ask(&mut conn);
    assert_eq!(reply.head.status(), 400);
    assert!(
        reply.text().contains("more than one upgrade"),
        "{}",
        reply.text()
    );
    drop(conn);
    assert!(front.control.seen().is_empty());
    front.assert_ended(Reason::Protocol, Side::Downstream, Phase::Exchange);
    front.assert_nothing_held();
}

/// What a client sees of a server that answers so, on a way of this kind.
fn answered(variant: Variant, path: ApiPath, answer: &'static str) -> (u16, String) {
    let api = server(variant, move |conn, log| {
        request(conn, log);
        conn.write_all(answer.as_bytes()).unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(rule(&api, path));
    let mut conn = front.client();
    let reply = exec(Request::exec_websocket()).ask(&mut conn);
    assert_eq!(reply.head.get("connection"), Some("close"));
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    api.finish();
    assert_eq!(front.ended().status, Some(reply.head.status()));
    front.assert_nothing_held();
    (reply.head.status(), reply.text())
}

fn refused_upgrade_is_passed_on_and_closes(variant: Variant) {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope";
    for path in [THROUGH, ApiPath::Short] {
        assert_eq!(answered(variant, path, refusal), (403, "nope".into()));
    }
}

const NOT_SWITCHED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlist";

fn answer_of_an_api_server_that_upgrades_nothing_is_passed_on(variant: Variant) {
    assert_eq!(
        answered(variant, THROUGH, NOT_SWITCHED),
        (200, "list".into())
    );
}

fn answer_of_a_kubelet_that_upgrades_nothing_is_502(variant: Variant) {
    let (status, text) = answered(variant, ApiPath::Short, NOT_SWITCHED);
    assert!(status == 502 && text.contains("instead of 101"), "{text}");
}

fn switch_to_another_protocol_is_502(variant: Variant) {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for path in [THROUGH, ApiPath::Short] {
        let (status, text) = answered(variant, path, switch);
        assert!(status == 502 && text.contains("another protocol"), "{text}");
    }
}

fn kubelet_that_never_answers_an_upgrade_is_504(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        log.ending(conn.read_to_end().1);
    });
    let front = Front::with(variant, |setup| {
        setup.limits.head_timeout = Duration::from_millis(100);
    });
    let front = front.leads(rule(&api, ApiPath::Short));
    let mut conn = front.client();
    let reply = exec(Request::exec_spdy()).ask(&mut conn);
    assert_eq!(reply.head.status(), 504);
    assert!(
        reply.text().contains("did not answer the upgrade"),
        "{}",
        reply.text()
    );
    drop(conn);
    assert!(api.ending().is_cut());
    api.finish();
    front.assert_ended(Reason::Timeout, Side::Upstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn upgrade_that_cannot_be_recorded_is_503(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(rule(&api, THROUGH));
    front.control.keep_no_records("the audit log is full");
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    let reply = exec(Request::exec_spdy()).ask(&mut conn);
    assert_eq!(reply.head.status(), 503);
    assert!(
        reply.text().contains("the audit log is full"),
        "{}",
        reply.text()
    );
    drop(conn);
    api.finish();
    front.assert_passed();
    front.assert_ended(Reason::Unaudited, Side::Local, Phase::Exchange);
    front.assert_nothing_held();
}
