//! API servers that close, break and refuse, and connections that are kept to them.

use eyesplice_dataplane::seam::{ApiPath, Phase, Reason, Side};
use eyesplice_tests::api_server::Request;
use eyesplice_tests::closed::Closed;
use eyesplice_tests::conn::{Conn, Ending};
use eyesplice_tests::front::{Front, Judged, Rule, leave, server};
use eyesplice_tests::gateway::TUNNEL;
use eyesplice_tests::http::{Reply, read_head, read_reply};
use eyesplice_tests::kubelet::{self, Kubelet, Log, request};
use eyesplice_tests::matrix;
use eyesplice_tests::tunnel::{self, AGENT, Agent};
use eyesplice_tests::variant::Variant;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;

matrix! { tcp:
    server_that_wants_to_close_is_closed_and_the_client_goes_on,
    server_that_closes_while_idle_is_not_seen_by_the_client,
    server_that_resets_while_idle_is_not_seen_by_the_client,
    server_that_talks_out_of_turn_is_dropped_and_not_delivered,
    request_without_body_is_made_again_when_its_connection_was_closed,
    request_is_made_again_once,
    request_with_a_body_is_not_made_again,
    server_that_closes_a_new_connection_is_502,
    reply_that_is_cut_is_cut_for_the_client,
    reply_until_the_end_ends_the_connection,
    connection_that_control_does_not_want_again_serves_one_request,
    early_refusal_of_an_upload_reaches_the_client,
    refused_dial_names_the_server,
    server_of_an_unknown_issuer_is_502,
    server_that_speaks_no_http_is_502,
    request_through_an_agent_is_the_agents_and_the_next_is_not,
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn answer_one(conn: &mut Conn, log: &Log) {
    request(conn, log);
    conn.write_all(OK).unwrap();
}

/// A Status of ours says so.
#[track_caller]
fn assert_status(reply: &Reply, status: u16, words: &str) {
    let text = reply.text();
    assert_eq!(reply.head.status(), status, "{text}");
    assert_eq!(reply.head.get("content-type"), Some("application/json"));
    assert_eq!(reply.head.get("connection"), Some("close"));
    assert!(
        text.starts_with(r#"{"kind":"Status","apiVersion":"v1","#),
        "{text}"
    );
    assert!(
        text.contains(r#""message":"eyesplice: "#) && text.contains(words),
        "{text}"
    );
    assert!(text.ends_with(&format!(r#""code":{status}}}"#)), "{text}");
}

fn server_that_wants_to_close_is_closed_and_the_client_goes_on(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        log.ending(conn.read_to_end().1);
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    for _ in 0..3 {
        let reply = Request::get("/version").ask(&mut conn);
        assert_eq!(reply.text(), "ok");
        assert!(reply.head.all("connection").is_empty());
        assert_eq!(api.ending(), Ending::Clean);
        front.assert_passed();
    }
    leave(conn);
    assert_eq!(api.connections(), 3);
    api.finish();
    assert!(front.control.seen().iter().all(|seen| seen.held.is_none()));
    front.assert_nothing_held();
}

/// Asks, waits until the server has gone, and asks again.
fn goes_between(variant: Variant, go: fn(&mut Conn)) {
    let (gone, wait) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let api = server(variant, move |conn, log| {
        answer_one(conn, log);
        go(conn);
        // Whether the test still waits changes nothing.
        let _ = gone.lock().unwrap().send(());
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    for _ in 0..4 {
        assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
        wait.recv().unwrap();
        front.assert_passed();
    }
    leave(conn);
    api.finish();
    front.assert_nothing_held();
}

fn server_that_closes_while_idle_is_not_seen_by_the_client(variant: Variant) {
    goes_between(variant, |conn| {
        conn.shut().unwrap();
        conn.read_to_end();
    });
}

fn server_that_resets_while_idle_is_not_seen_by_the_client(variant: Variant) {
    goes_between(variant, |conn| conn.reset_when_closed());
}

fn server_that_talks_out_of_turn_is_dropped_and_not_delivered(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\
              HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        )
        .unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    // Both requests are there before the replies, so that no pause can show the surplus.
    let mut both = Request::get("/healthz").bytes();
    both.extend(Request::get("/version").bytes());
    conn.write_all(&both).unwrap();
    for _ in 0..2 {
        assert_eq!(read_reply(&mut conn, "GET").unwrap().text(), "ok");
        front.assert_passed();
    }
    leave(conn);
    assert_eq!(api.connections(), 2);
    api.finish();
    front.assert_nothing_held();
}

/// A server whose first connection serves one request and closes on the second; others are good.
fn closes_on_the_second(variant: Variant, others: usize) -> Kubelet {
    let connections = AtomicUsize::new(0);
    server(variant, move |conn, log| {
        if connections.fetch_add(1, SeqCst) > others {
            return kubelet::serve(conn, log);
        }
        if connections.load(SeqCst) == 1 {
            answer_one(conn, log);
        }
        request(conn, log);
        conn.shut().unwrap();
        conn.read_to_end();
    })
}

fn request_without_body_is_made_again_when_its_connection_was_closed(variant: Variant) {
    let api = closes_on_the_second(variant, 0);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    assert_eq!(Request::get("/api/v1/nodes").ask(&mut conn).text(), "ok");
    leave(conn);
    api.finish();
    let asked = front.control.seen();
    let asked: Vec<_> = asked
        .iter()
        .map(|seen| (seen.exchange, &*seen.line, seen.held))
        .collect();
    let expected = [
        (1, "GET /version", None),
        (2, "GET /api/v1/nodes", Some(1)),
        (2, "GET /api/v1/nodes", None),
    ];
    assert_eq!(asked, expected);
    front.assert_passed();
    assert_eq!(front.assert_passed().exchange, 2);
    front.assert_nothing_held();
}

fn request_is_made_again_once(variant: Variant) {
    let api = closes_on_the_second(variant, 1);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    let reply = Request::get("/version").ask(&mut conn);
    assert_status(&reply, 502, "API server closed the connection");
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(api.connections(), 2);
    api.finish();
    front.assert_passed();
    front.assert_ended(Reason::Truncated, Side::Upstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn request_with_a_body_is_not_made_again(variant: Variant) {
    let api = closes_on_the_second(variant, 0);
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
    Request::new("POST", "/api/v1/namespaces")
        .body(b"{}")
        .send(&mut conn);
    // Its client knows whether it may be made again, if it sees what it would without us.
    let (received, ending) = conn.read_to_end();
    assert!(
        received.is_empty() && ending.is_cut(),
        "{received:?} {ending:?}"
    );
    drop(conn);
    assert_eq!(api.connections(), 1);
    api.finish();
    front.assert_passed();
    let record = front.ended();
    assert_eq!((record.exchange, record.status), (2, None));
    assert_eq!(record.side, Side::Upstream);
    front.assert_nothing_held();
}

fn server_that_closes_a_new_connection_is_502(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.shut().unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_status(&reply, 502, "API server closed the connection");
    drop(conn);
    api.finish();
    front.assert_ended(Reason::Truncated, Side::Upstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn reply_that_is_cut_is_cut_for_the_client(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
            .unwrap();
        conn.shut().unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert!(!reply.body.is_whole(), "{reply:?}");
    assert_eq!(reply.body.bytes(), b"some");
    drop(conn);
    api.finish();
    front.assert_ended(Reason::Truncated, Side::Upstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn reply_until_the_end_ends_the_connection(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
        conn.shut().unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_eq!(reply.head.get("connection"), Some("close"));
    assert_eq!(
        (reply.text().as_str(), reply.body.is_whole()),
        ("all of it", true)
    );
    drop(conn);
    api.finish();
    front.assert_passed();
    front.assert_nothing_held();
}

fn connection_that_control_does_not_want_again_serves_one_request(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let front = Front::start(variant).leads(Rule {
        key: None,
        ..Rule::to(api.address())
    });
    let mut conn = front.client();
    for _ in 0..3 {
        assert_eq!(Request::get("/version").ask(&mut conn).text(), "ok");
        assert_eq!(api.ending(), Ending::Clean);
        front.assert_passed();
    }
    leave(conn);
    assert_eq!(api.connections(), 3);
    api.finish();
    front.assert_nothing_held();
}

fn early_refusal_of_an_upload_reaches_the_client(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .unwrap();
        conn.shut().unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    Request::new("POST", "/api/v1/configmaps")
        .header("Content-Length", "100000000")
        .send(&mut conn);
    conn.write_all(&[b' '; 100_000]).unwrap();
    let head = read_head(&mut conn).unwrap();
    assert_eq!(
        (head.status(), head.get("connection")),
        (413, Some("close"))
    );
    assert_eq!(conn.read_exact(3).unwrap(), b"big");
    drop(conn);
    api.finish();
    assert_eq!(front.ended().status, Some(413));
    front.assert_nothing_held();
}

fn refused_dial_names_the_server(variant: Variant) {
    let closed = Closed::port();
    let address = closed.address();
    let front = Front::start(variant).leads(Rule::to(address));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_status(
        &reply,
        502,
        &format!("API server: {address} refused the connection"),
    );
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    let record = front.assert_ended(Reason::DialFailed, Side::Upstream, Phase::Dial);
    assert_eq!((record.address, record.status), (None, Some(502)));
    let labels = record.exchange_labels.unwrap();
    assert_eq!(labels.path, Some(ApiPath::Through(None)));
    front.assert_nothing_held();
}

fn server_of_an_unknown_issuer_is_502(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let rule = Rule {
        distrusted: true,
        ..Rule::to(api.address())
    };
    let front = Front::start(variant);
    front.control.say(move |_| Judged::On(rule.clone()));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_status(
        &reply,
        502,
        &format!("API server: TLS with {} failed", api.address()),
    );
    drop(conn);
    assert_eq!(api.refused().len(), 1);
    api.finish();
    front.assert_ended(Reason::Unverified, Side::Upstream, Phase::UpstreamHandshake);
    front.assert_nothing_held();
}

fn server_that_speaks_no_http_is_502(variant: Variant) {
    let api = server(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"SSH-2.0-OpenSSH\r\n\r\n").unwrap();
        conn.read_to_end();
    });
    let front = Front::start(variant).leads(Rule::to(api.address()));
    let mut conn = front.client();
    let reply = Request::get("/version").ask(&mut conn);
    assert_status(&reply, 502, "HTTP");
    drop(conn);
    api.finish();
    front.assert_ended(Reason::Protocol, Side::Upstream, Phase::Exchange);
    front.assert_nothing_held();
}

fn request_through_an_agent_is_the_agents_and_the_next_is_not(variant: Variant) {
    let api = server(variant, kubelet::serve);
    let mut front = Front::with(variant, |setup| setup.tunnel = Some(tunnel::limits()));
    front
        .control
        .grant(Some(tunnel::grant(AGENT, tunnel::ROUTE)));
    let gateway = tunnel::peer(
        "gateway",
        front.running().address_of(TUNNEL),
        tunnel::client(AGENT),
    );
    let agent = Agent::holding(&[gateway]);
    front.until("an agent", |totals| totals.tunnel_agents == 1);
    let to = Rule::to(api.address());
    front.control.say(move |seen| {
        let tunnel = seen.line.ends_with("/far");
        Judged::On(Rule {
            tunnel,
            key: Some(u64::from(tunnel)),
            ..to.clone()
        })
    });
    let mut conn = front.client();
    for (path, via) in [
        ("/far", Some(AGENT)),
        ("/near", None),
        ("/far", Some(AGENT)),
    ] {
        assert_eq!(Request::get(path).ask(&mut conn).text(), "ok");
        let record = front.assert_passed();
        assert_eq!(record.via.as_deref(), via);
        assert_eq!(record.address, Some(api.address()));
        let agents = front.running().engine().agents();
        assert_eq!(agents[0].streams, usize::from(via.is_some()));
    }
    // Its end concerns no request that does not go through it.
    assert_eq!(Request::get("/near").ask(&mut conn).text(), "ok");
    front.control.grant(None);
    front.reload();
    front.until("no agent", |totals| totals.tunnel_agents == 0);
    assert_eq!(Request::get("/near").ask(&mut conn).text(), "ok");
    let reply = Request::get("/far").ask(&mut conn);
    assert_status(&reply, 503, "no agent is connected");
    drop(conn);
    drop(agent);
    api.finish();
}
