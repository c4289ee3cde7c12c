//! Requests that mean one thing to us and could mean another to a kubelet: refused, and not seen by it.

use eyesplice_dataplane::seam::{Phase, Reason, Side};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::{EXEC, Request, WEBSOCKET_KEY};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::gateway::Gateway;
use eyesplice_tests::http::{Reply, read_reply};
use eyesplice_tests::kubelet::{self, Kubelet, request};
use eyesplice_tests::matrix;
use eyesplice_tests::variant::Variant;

matrix! {
    second_request_after_a_refused_upgrade_is_not_forwarded,
    second_request_after_a_502_is_not_forwarded,
    ambiguous_requests_are_400_and_not_seen,
    paths_that_a_router_could_read_otherwise_are_400_and_not_seen,
    upgrades_that_nobody_asked_for_are_400_and_not_seen,
    bodies_on_streaming_requests_are_400_and_not_seen,
    head_beyond_the_limit_is_431,
    duplicate_connection_lines_become_one,
    forged_identities_are_not_seen,
    names_that_look_like_forged_identities_are_400_and_not_seen,
    credentials_of_the_client_are_passed_on,
    denied_action_is_403_and_others_pass,
    denied_action_behind_an_allowed_one_is_403,
    smuggled_request_in_a_chunked_body_is_not_seen,
    broken_chunk_of_a_request_is_an_error,
    garbage_inside_the_tunnel_is_told_by_an_alert,
    hostile_connects_are_refused,
}

fn second_request_after_a_refused_upgrade_is_not_forwarded(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nno\n")
            .unwrap();
        // A second request would be seen here (CVE-2018-1002105).
        while let Ok(head) = eyesplice_tests::http::read_head(conn) {
            log.request(&head);
        }
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let mut bytes = Request::exec_spdy().bytes();
    bytes.extend(Request::new("POST", "/run/kube-system/api/etcd?cmd=id").bytes());
    conn.write_all(&bytes).unwrap();
    let reply = read_reply(&mut conn, "POST").unwrap();
    assert_eq!((reply.head.status(), reply.text().as_str()), (400, "no\n"));
    assert_eq!(conn.read_to_end().0, b"");
    drop(conn);
    assert_eq!(kubelet.heads().len(), 1, "{:?}", kubelet.heads());
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn second_request_after_a_502_is_not_forwarded(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, |conn, log| {
        request(conn, log);
        conn.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .unwrap();
        while let Ok(head) = eyesplice_tests::http::read_head(conn) {
            log.request(&head);
        }
    });
    let mut conn = gateway.api_server().open(&kubelet.target());
    let mut bytes = Request::exec_websocket().bytes();
    bytes.extend(Request::get("/pods").bytes());
    conn.write_all(&bytes).unwrap();
    assert_eq!(read_reply(&mut conn, "GET").unwrap().head.status(), 502);
    assert_eq!(conn.read_to_end().0, b"");
    drop(conn);
    assert_eq!(kubelet.heads().len(), 1);
    kubelet.finish();
    gateway.assert_ended(Reason::BadUpgrade, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

/// Sends bytes that must be answered by `status` and must not reach the kubelet.
fn assert_refused(variant: Variant, cases: &[(&str, u16)]) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    for (bytes, status) in cases {
        let mut conn = gateway.api_server().open(&kubelet.target());
        conn.write_all(bytes.as_bytes()).unwrap();
        let reply = read_reply(&mut conn, "GET")
            .unwrap_or_else(|error| panic!("{bytes:?}: no answer: {error:?}"));
        assert_eq!(reply.head.status(), *status, "{bytes:?}: {}", reply.text());
        assert!(reply.text().starts_with("eyesplice: "), "{}", reply.text());
        assert_eq!(reply.head.all("connection"), ["close"]);
        assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean), "{bytes:?}");
        drop(conn);
        let record = gateway.assert_ended(Reason::Protocol, Side::Downstream, Phase::Exchange);
        assert_eq!((record.exchange, record.status), (1, Some(*status)));
    }
    assert!(kubelet.heads().is_empty(), "{:?}", kubelet.heads());
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn ambiguous_requests_are_400_and_not_seen(variant: Variant) {
    assert_refused(
        variant,
        &[
            (
                "POST /run/d/w/a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
                 Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /pods HTTP/1.1\r\nHost: x\r\n\r\n",
                400,
            ),
            (
                "POST /run/d/w/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
                400,
            ),
            (
                "POST /run/d/w/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na",
                400,
            ),
            (
                "POST /run/d/w/a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                400,
            ),
            (
                "POST /run/d/w/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                400,
            ),
            (
                "POST /run/d/w/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
                400,
            ),
            ("GET /pods HTTP/1.1\r\nHost : x\r\n\r\n", 400),
            (
                "GET /pods HTTP/1.1\r\nHost: x\r\nA: b\r\n folded: c\r\n\r\n",
                400,
            ),
            ("GET /pods HTTP/1.1\nHost: x\n\n", 400),
            (
                "GET /pods HTTP/1.1\r\nHost: x\r\nA: b\nTransfer-Encoding: chunked\r\n\r\n",
                400,
            ),
            ("GET /pods HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
            ("GET /pods HTTP/1.1\r\n\r\n", 400),
            ("GET  /pods HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("GET /pods HTTP/1.1 \r\nHost: x\r\n\r\n", 400),
            ("GET /pods\r\n\r\n", 400),
            ("GET /pods HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n", 400),
            (
                "GET /pods HTTP/1.1\r\nHost: x\r\nConnection: Authorization\r\n\r\n",
                400,
            ),
            ("GET http://10.0.0.1/pods HTTP/1.1\r\nHost: x\r\n\r\n", 400),
            ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ],
    );
    // An HTTP/2 preface is another version.
    assert_refused(variant, &[("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)]);
}

fn paths_that_a_router_could_read_otherwise_are_400_and_not_seen(variant: Variant) {
    let paths = [
        "//exec/d/w/a",
        "/./exec/d/w/a",
        "/pods/../exec/d/w/a",
        "/%65xec/d/w/a",
        "/Exec/d/w/a",
        "/EXEC/d/w/a",
        "/exec/d/w/a/",
        "/exec/d%2fw/a",
        "/exec/d/w",
        "/exec",
        "/portforward/d/w",
        "/cri/exec/token",
        "/logs/%2e%2e/etc/shadow",
        "/exec;v=1/d/w/a",
        "/exec\\d/w/a",
        "exec/d/w/a",
    ];
    let requests: Vec<_> = paths
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    let cases: Vec<_> = requests
        .iter()
        .map(|request| (request.as_str(), 400))
        .collect();
    assert_refused(variant, &cases);
}

fn upgrades_that_nobody_asked_for_are_400_and_not_seen(variant: Variant) {
    let upgrade = |rest: &str| {
        format!("GET /exec/d/w/a?command=hunter2 HTTP/1.1\r\nHost: x\r\n{rest}\r\n\r\n")
    };
    let socket = format!(
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\n\
         Sec-WebSocket-Key: {WEBSOCKET_KEY}"
    );
    assert_refused(
        variant,
        &[
            (
                &upgrade(
                    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A",
                ),
                400,
            ),
            (
                &upgrade("Connection: Upgrade\r\nUpgrade: SPDY/3.1, websocket"),
                400,
            ),
            (
                &upgrade("Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nUpgrade: SPDY/3.1"),
                400,
            ),
            (&upgrade("Connection: Upgrade\r\nUpgrade: tls/1.2"), 400),
            (&upgrade("Connection: xupgrade\r\nUpgrade: SPDY/3.1"), 400),
            (
                &upgrade("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"),
                400,
            ),
            (&upgrade(&socket), 426),
            (
                "PUT /exec/d/w/a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
                405,
            ),
        ],
    );
}

fn bodies_on_streaming_requests_are_400_and_not_seen(variant: Variant) {
    let post = |path: &str, rest: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\n{rest}");
    let form =
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\n\r\ninput=1";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n7\r\ninput=1\r\n0\r\n\r\n";
    let upgrade = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
    assert_refused(
        variant,
        &[
            (&post(EXEC, form), 400),
            (&post(EXEC, chunked), 400),
            (&post(EXEC, &format!("{upgrade}{form}")), 400),
            (&post(EXEC, &format!("{upgrade}{chunked}")), 400),
            (&post("/attach/d/w/a?input=1", form), 400),
            (&post("/portForward/d/w", form), 400),
        ],
    );
}

fn head_beyond_the_limit_is_431(variant: Variant) {
    let line = format!("Authorization: {}\r\n", "a".repeat(1 << 20));
    let many = "A: b\r\n".repeat(200);
    assert_refused(
        variant,
        &[
            (&format!("GET /pods HTTP/1.1\r\nHost: x\r\n{line}\r\n"), 431),
            (&format!("GET /pods HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431),
        ],
    );
}

/// Sends a request to an ordinary kubelet, and shows what of it arrived there.
fn seen(variant: Variant, ask: &Request) -> (Reply, eyesplice_tests::http::Head) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let reply = ask.ask(&mut conn);
    conn.shut().unwrap();
    conn.read_to_end();
    let head = kubelet.heads().pop().unwrap();
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, phase(&reply));
    gateway.assert_nothing_held();
    (reply, head)
}

fn phase(reply: &Reply) -> Phase {
    if reply.head.status() == 101 {
        Phase::Relay
    } else {
        Phase::Exchange
    }
}

fn duplicate_connection_lines_become_one(variant: Variant) {
    let ask = Request::new("POST", EXEC)
        .header("Connection", "keep-alive")
        .header("Keep-Alive", "timeout=5")
        .header("Connection", "X-Drop-Me, Upgrade")
        .header("X-Drop-Me", "1")
        .header("Upgrade", "SPDY/3.1")
        .header("TE", "trailers")
        .header("Proxy-Authorization", "Basic aHVudGVyMg==")
        .header("X-Stream-Protocol-Version", "v4.channel.k8s.io")
        .header("X-Stream-Protocol-Version", "v1.channel.k8s.io");
    let (reply, head) = seen(variant, &ask);
    assert_eq!(reply.head.status(), 101);
    assert_eq!(head.all("connection"), ["Upgrade"]);
    assert_eq!(head.all("upgrade"), ["SPDY/3.1"]);
    for gone in ["keep-alive", "x-drop-me", "te", "proxy-authorization"] {
        assert!(head.all(gone).is_empty(), "{gone}: {}", head.raw);
    }
    let versions = ["v4.channel.k8s.io", "v1.channel.k8s.io"];
    assert_eq!(head.all("x-stream-protocol-version"), versions);
}

fn forged_identities_are_not_seen(variant: Variant) {
    let forged = [
        "X-Remote-User",
        "x-remote-group",
        "X-REMOTE-EXTRA-scopes",
        "Impersonate-User",
        "impersonate-group",
        "Impersonate-Extra-x",
    ];
    let ask = forged.iter().fold(Request::get("/pods"), |ask, name| {
        ask.header(name, "system:masters")
    });
    let (reply, head) = seen(variant, &ask);
    assert_eq!(reply.head.status(), 200);
    assert!(!head.raw.contains("system:masters"), "{}", head.raw);
}

fn names_that_look_like_forged_identities_are_400_and_not_seen(variant: Variant) {
    // What a server behind CGI rules takes for the other spelling.
    let names = [
        "x_remote_user",
        "X-Remote_Group",
        "impersonate_user",
        "any_name",
    ];
    let requests: Vec<_> = names
        .iter()
        .map(|name| format!("GET /pods HTTP/1.1\r\nHost: x\r\n{name}: system:masters\r\n\r\n"))
        .collect();
    let cases: Vec<_> = requests
        .iter()
        .map(|request| (request.as_str(), 400))
        .collect();
    assert_refused(variant, &cases);
}

fn credentials_of_the_client_are_passed_on(variant: Variant) {
    // Hop by hop is only what RFC 9110 and the client say: a bearer token is the kubelet's to judge.
    let ask = Request::get("/pods")
        .header("Authorization", "Bearer t")
        .header("Accept", "*/*");
    let (_, head) = seen(variant, &ask);
    assert_eq!(head.get("authorization"), Some("Bearer t"));
    assert_eq!(head.get("accept"), Some("*/*"));
    assert_eq!(head.get("host"), Some("127.0.0.1:10250"));
    assert_eq!(head.first(), "GET /pods HTTP/1.1");
}

fn denied_action_is_403_and_others_pass(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| {
        setup.denied = vec![(Action::Exec, "no-exec"), (Action::Run, "no-run")];
    });
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let denied = [
        Request::exec_spdy(),
        Request::exec_websocket(),
        Request::new("POST", "/run/default/web/app?cmd=id"),
        Request::get("/exec/default/web/app"),
    ];
    for ask in denied {
        let mut conn = gateway.api_server().open(&kubelet.target());
        let reply = ask.ask(&mut conn);
        assert_eq!(reply.head.status(), 403);
        let text = reply.text();
        assert!(
            text.contains("worker-3 is denied by the gateway's rule no-"),
            "{text}"
        );
        assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
        drop(conn);
        let record = gateway.assert_ended(Reason::Denied, Side::Local, Phase::Exchange);
        assert_eq!(record.status, Some(403));
        assert!(matches!(
            record.exchange_labels.unwrap().action,
            Action::Exec | Action::Run
        ));
    }
    assert!(kubelet.heads().is_empty(), "{:?}", kubelet.heads());
    let mut conn = gateway.api_server().open(&kubelet.target());
    for ask in [
        Request::logs(),
        Request::get("/metrics"),
        Request::get("/pods"),
    ] {
        assert_eq!(ask.ask(&mut conn).head.status(), 200);
        assert_eq!(gateway.ended().reason, Reason::Completed);
    }
    conn.shut().unwrap();
    conn.read_to_end();
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn denied_action_behind_an_allowed_one_is_403(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| {
        setup.denied = vec![(Action::Exec, "no-exec")];
    });
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let mut bytes = Request::get("/pods").bytes();
    bytes.extend(Request::exec_websocket().bytes());
    bytes.extend(Request::get("/metrics").bytes());
    conn.write_all(&bytes).unwrap();
    assert_eq!(read_reply(&mut conn, "GET").unwrap().head.status(), 200);
    assert_eq!(read_reply(&mut conn, "GET").unwrap().head.status(), 403);
    // What comes behind the refusal is dropped.
    assert_eq!(conn.read_to_end(), (Vec::new(), Ending::Clean));
    drop(conn);
    assert_eq!(kubelet.heads().len(), 1);
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    gateway.assert_ended(Reason::Denied, Side::Local, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn smuggled_request_in_a_chunked_body_is_not_seen(variant: Variant) {
    let gateway = Gateway::with(variant, |setup| {
        setup.denied = vec![(Action::Exec, "no-exec")];
    });
    let kubelet = Kubelet::start(variant, kubelet::serve);
    let mut conn = gateway.api_server().open(&kubelet.target());
    let inner = "GET /exec/d/w/a HTTP/1.1\r\nHost: x\r\n\r\n";
    let ask = Request::new("POST", "/checkpoint/d/w/a").header("Transfer-Encoding", "chunked");
    let mut bytes = ask.bytes();
    bytes.extend(format!("{:X}\r\n{inner}\r\n0\r\n\r\n", inner.len()).bytes());
    conn.write_all(&bytes).unwrap();
    let reply = read_reply(&mut conn, "POST").unwrap();
    assert_eq!(reply.text(), inner, "it is a body, and was echoed as one");
    conn.shut().unwrap();
    conn.read_to_end();
    assert_eq!(kubelet.heads().len(), 1);
    kubelet.finish();
    gateway.assert_ended(Reason::Completed, Side::Upstream, Phase::Exchange);
    gateway.assert_nothing_held();
}

fn broken_chunk_of_a_request_is_an_error(variant: Variant) {
    for broken in [
        "xyz\r\n",
        "3;a=\x01\r\nabc\r\n",
        "3\nabc\n",
        "3\r\nabcd\r\n",
        "0\r\nHost: y\r\n\r\n",
    ] {
        let gateway = Gateway::start(variant);
        let kubelet = Kubelet::start(variant, kubelet::serve);
        let mut conn = gateway.api_server().open(&kubelet.target());
        let ask = Request::new("POST", "/run/d/w/a").header("Transfer-Encoding", "chunked");
        let mut bytes = ask.bytes();
        bytes.extend_from_slice(broken.as_bytes());
        conn.write_all(&bytes).unwrap();
        let reply = read_reply(&mut conn, "POST").unwrap();
        assert_eq!(reply.head.status(), 400, "{broken:?}");
        drop(conn);
        assert!(
            kubelet.ending().is_cut(),
            "{broken:?}: taken for a whole body"
        );
        kubelet.finish();
        gateway.assert_ended(Reason::Protocol, Side::Downstream, Phase::Exchange);
        gateway.assert_nothing_held();
    }
}

fn garbage_inside_the_tunnel_is_told_by_an_alert(variant: Variant) {
    let gateway = Gateway::start(variant);
    let kubelet = Kubelet::start(variant, kubelet::serve);
    // Instead of a ClientHello.
    let mut conn = gateway.api_server().tunnel(&kubelet.target());
    conn.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (received, _) = conn.read_to_end();
    assert_eq!(received.first(), Some(&21), "no alert: {received:?}");
    drop(conn);
    gateway.assert_ended(
        Reason::HandshakeFailed,
        Side::Downstream,
        Phase::DownstreamHandshake,
    );
    assert!(kubelet.heads().is_empty());
    kubelet.finish();
    gateway.assert_nothing_held();
}

fn hostile_connects_are_refused(variant: Variant) {
    let gateway = Gateway::start(variant);
    for (bytes, status) in [
        ("GET /pods HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        ("CONNECT 127.0.0.1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 127.0.0.1:0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 127.0.0.1:99999 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT user@127.0.0.1:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (
            "CONNECT http://127.0.0.1:80/ HTTP/1.1\r\nHost: x\r\n\r\n",
            400,
        ),
        (
            "CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
            400,
        ),
        ("CONNECT 0x7f000001:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("CONNECT 127.1:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("\x16\x03\x01\x02\x00\r\n\r\n", 400),
    ] {
        let mut conn = gateway.api_server().reach();
        conn.write_all(bytes.as_bytes()).unwrap();
        let head = eyesplice_tests::http::read_head(&mut conn)
            .unwrap_or_else(|error| panic!("{bytes:?}: {error:?}"));
        assert_eq!(head.status(), status, "{bytes:?}: {}", head.raw);
        drop(conn);
        let record = gateway.assert_ended(Reason::Protocol, Side::Downstream, Phase::Request);
        assert_eq!((record.status, record.target), (Some(status), None));
    }
    assert_eq!(gateway.totals().dials, 0);
    gateway.assert_nothing_held();
}
