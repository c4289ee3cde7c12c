use super::*;
use crate::head::{Reason, RequestTarget};
use crate::headers::{HeaderName, HeaderValue};

/// The example of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

type Lines = [(&'static str, &'static str)];

fn headers(lines: &Lines) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

fn ask(method: Method, lines: &Lines) -> Result<Option<Upgrade>, Refusal> {
    let target = RequestTarget::new("/exec/ns/p/c").unwrap();
    let head = RequestHead {
        method,
        target,
        version: Version::Http11,
        headers: headers(lines),
    };
    asked(&head, framing::request_framing(&head).unwrap())
}

fn websocket() -> Upgrade {
    Upgrade::WebSocket(Accept(ACCEPT.as_bytes().try_into().unwrap()))
}

#[test]
fn asked_what_kubernetes_clients_send_is_understood() {
    let spdy = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("Content-Length", "0"),
    ];
    assert_eq!(ask(Method::POST, &spdy), Ok(Some(Upgrade::Spdy31)));
    let spdy = [
        ("Connection", "close"),
        ("Connection", "upgrade"),
        ("Upgrade", "spdy/3.1"),
    ];
    assert_eq!(ask(Method::GET, &spdy), Ok(Some(Upgrade::Spdy31)));
    let ws = [
        ("Connection", "keep-alive, Upgrade"),
        ("Upgrade", "WebSocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
    ];
    assert_eq!(ask(Method::GET, &ws), Ok(Some(websocket())));
    assert_eq!(ask(Method::GET, &[]), Ok(None));
    assert_eq!(
        ask(Method::GET, &[("Upgrade", "h2c")]),
        Ok(None),
        "not in Connection: ignored"
    );
    assert_eq!(
        ask(Method::GET, &[("Connection", "upgrade")]),
        Ok(None),
        "nginx on plain requests"
    );
    assert_eq!(ask(Method::GET, &[("Connection", "close")]), Ok(None));
}

#[test]
fn asked_hostile_requests_are_refused_by_cause() {
    const DELETE: Method = Method::DELETE;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    let up = ("Connection", "Upgrade");
    let version = ("Sec-WebSocket-Version", "13");
    let key = ("Sec-WebSocket-Key", KEY);
    let ws = ("Upgrade", "websocket");
    let cases: &[(Method, &Lines, Refusal)] = &[
        (GET, &[up, ("Upgrade", "h2c")], Refusal::Protocol),
        (GET, &[up, ("Upgrade", "TLS/1.0")], Refusal::Protocol),
        (GET, &[up, ("Upgrade", "")], Refusal::Protocol),
        (GET, &[up, ("Upgrade", "SPDY/3")], Refusal::Protocol),
        (GET, &[up, ("Upgrade", "websocket, h2c")], Refusal::Several),
        (
            GET,
            &[up, ("Upgrade", "websocket"), ("Upgrade", "websocket")],
            Refusal::Several,
        ),
        (
            GET,
            &[up, ("Upgrade", "SPDY/3.1"), ("Upgrade", "h2c")],
            Refusal::Several,
        ),
        (
            GET,
            &[("Connection", "notupgrade"), ("Upgrade", "SPDY/3.1")],
            Refusal::Disguised,
        ),
        (
            GET,
            &[("Connection", "upgrade, \"upgrade\"")],
            Refusal::Disguised,
        ),
        (DELETE, &[up, ("Upgrade", "SPDY/3.1")], Refusal::Method),
        (POST, &[up, ws, version, key], Refusal::Method),
        (
            POST,
            &[up, ("Upgrade", "SPDY/3.1"), ("Content-Length", "1")],
            Refusal::Body,
        ),
        (
            POST,
            &[
                up,
                ("Upgrade", "SPDY/3.1"),
                ("Transfer-Encoding", "chunked"),
            ],
            Refusal::Body,
        ),
        (
            GET,
            &[up, ws, version, key, ("Content-Length", "1")],
            Refusal::Body,
        ),
        (GET, &[up, ws, key], Refusal::WebSocketVersion),
        (
            GET,
            &[up, ws, version, version, key],
            Refusal::WebSocketVersion,
        ),
        (
            GET,
            &[up, ws, ("Sec-WebSocket-Version", "8"), key],
            Refusal::WebSocketVersion,
        ),
        (GET, &[up, ws, version], Refusal::WebSocketKey),
        (GET, &[up, ws, version, key, key], Refusal::WebSocketKey),
        (
            GET,
            &[up, ws, version, ("Sec-WebSocket-Key", "c2hvcnQ=")],
            Refusal::WebSocketKey,
        ),
        (
            GET,
            &[up, ws, version, ("Sec-WebSocket-Key", "")],
            Refusal::WebSocketKey,
        ),
        (
            GET,
            &[
                up,
                ws,
                version,
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j*Q=="),
            ],
            Refusal::WebSocketKey,
        ),
    ];
    for (method, lines, expected) in cases {
        assert_eq!(
            ask(method.clone(), lines),
            Err(*expected),
            "{method} {lines:?}"
        );
    }
}

#[test]
fn judge_reply_each_kind_of_answer_has_its_verdict() {
    use BadReply as B;
    use Reply::{BadGateway, Interim, Relay, Relay101, RelayAndClose};
    let spdy = Some(Upgrade::Spdy31);
    let ws = Some(websocket());
    let up = ("Connection", "Upgrade");
    let to_spdy = ("Upgrade", "SPDY/3.1");
    let to_ws = ("Upgrade", "websocket");
    let accept = ("Sec-WebSocket-Accept", ACCEPT);
    let wrong = ("Sec-WebSocket-Accept", "t3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let te = ("Transfer-Encoding", "chunked");
    let bad_framing = BadGateway(B::Framing(FramingError::BodyNotAllowed));
    let cases: &[(&Option<Upgrade>, u16, &Lines, Reply)] = &[
        (&spdy, 101, &[up, to_spdy], Relay101),
        (
            &spdy,
            101,
            &[("connection", "upgrade, x"), ("upgrade", "spdy/3.1")],
            Relay101,
        ),
        (&spdy, 101, &[up, to_ws], BadGateway(B::Protocol)),
        (&spdy, 101, &[up], BadGateway(B::Protocol)),
        (&spdy, 101, &[up, to_spdy, to_spdy], BadGateway(B::Protocol)),
        (
            &spdy,
            101,
            &[up, ("Upgrade", "SPDY/3.1, websocket")],
            BadGateway(B::Protocol),
        ),
        (&spdy, 101, &[to_spdy], BadGateway(B::Malformed)),
        (&spdy, 101, &[up, to_spdy, te], bad_framing),
        (
            &spdy,
            101,
            &[up, to_spdy, ("Content-Length", "4")],
            bad_framing,
        ),
        (&ws, 101, &[up, to_ws, accept], Relay101),
        (&ws, 101, &[up, to_ws], BadGateway(B::Accept)),
        (&ws, 101, &[up, to_ws, wrong], BadGateway(B::Accept)),
        (
            &ws,
            101,
            &[up, to_ws, accept, accept],
            BadGateway(B::Accept),
        ),
        (&ws, 101, &[up, to_spdy, accept], BadGateway(B::Protocol)),
        (&spdy, 100, &[], Interim),
        (&spdy, 103, &[], Interim),
        (&spdy, 200, &[], BadGateway(B::NotSwitched(200))),
        (&spdy, 204, &[], BadGateway(B::NotSwitched(204))),
        (
            &spdy,
            302,
            &[("Location", "https://node/")],
            BadGateway(B::NotSwitched(302)),
        ),
        (&spdy, 399, &[], BadGateway(B::NotSwitched(399))),
        (&spdy, 400, &[te], RelayAndClose),
        (&ws, 403, &[("Content-Length", "9")], RelayAndClose),
        (&ws, 500, &[], RelayAndClose),
        (&None, 101, &[up, to_spdy], BadGateway(B::Unasked)),
        (&None, 100, &[], Interim),
        (&None, 200, &[te], Relay),
        (&None, 302, &[("Location", "x")], Relay),
        (&None, 503, &[], Relay),
        (
            &None,
            200,
            &[te, ("Content-Length", "1")],
            BadGateway(B::Framing(FramingError::LengthAndEncoding)),
        ),
    ];
    for (asked, status, lines, expected) in cases {
        let reply = ResponseHead {
            version: Version::Http11,
            status: *status,
            reason: Reason::default(),
            headers: headers(lines),
        };
        let (found, _) = judge_reply(asked.as_ref(), &Method::GET, &reply);
        assert_eq!(found, *expected, "{asked:?} {status} {lines:?}");
    }
}

#[test]
fn judge_reply_101_of_http10_is_a_bad_gateway() {
    let mut reply = ResponseHead::new(101, "");
    reply.version = Version::Http10;
    reply.headers = headers(&[("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")]);
    let (found, _) = judge_reply(Some(&Upgrade::Spdy31), &Method::POST, &reply);
    assert_eq!(found, Reply::BadGateway(BadReply::Malformed));
}

#[test]
fn judge_reply_gives_the_framing_of_what_is_relayed() {
    let mut reply = ResponseHead::new(403, "Forbidden");
    reply.headers = headers(&[("Content-Length", "9")]);
    let (_, framing) = judge_reply(Some(&Upgrade::Spdy31), &Method::POST, &reply);
    assert_eq!(framing, Framing::Length(9));
}
