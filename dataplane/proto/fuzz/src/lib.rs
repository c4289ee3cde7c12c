//! Bodies of the fuzz targets: what must hold for any bytes, whoever makes them up.
//!
//! `fuzz/` runs them under libFuzzer, `seeded` on stable with pseudo-random inputs. A body panics
//! when something does not hold. Each also compares with a second, naive reading of the same bytes
//! where there is one.
#![forbid(unsafe_code)]

mod api;
pub mod seeded;
mod socks;
mod tunnel;

pub use api::api_stream;
pub use socks::socks_client;
pub use tunnel::tunnel_frames;

use eyesplice_proto::body::{BodyDecoder, BodyError, Taken};
use eyesplice_proto::connect;
use eyesplice_proto::framing::{self, Framing};
use eyesplice_proto::head::{Method, RequestHead, RequestTarget, ResponseHead};
use eyesplice_proto::hop::{self, After};
use eyesplice_proto::limits;
use eyesplice_proto::parse::{self, HeadLimits, Parsed, Progress};
use eyesplice_proto::route::{self, Action};
use eyesplice_proto::serialize;
use eyesplice_proto::stream::{self as legs, Cause, Cut, Event, Legs, Side, Stream};
use eyesplice_proto::target::{Host, Target};
use eyesplice_proto::tls::PostHandshake;
use eyesplice_proto::upgrade::{self, Reply, Upgrade};

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// Its name, also that of its libFuzzer binary.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: &'static [&'static [u8]],
    /// Its body; panics when something does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget {
        name: "request",
        seeds: REQUESTS,
        run: request,
    },
    FuzzTarget {
        name: "response",
        seeds: RESPONSES,
        run: response,
    },
    FuzzTarget {
        name: "body",
        seeds: BODIES,
        run: body,
    },
    FuzzTarget {
        name: "connect",
        seeds: CONNECTS,
        run: connect,
    },
    FuzzTarget {
        name: "authority",
        seeds: AUTHORITIES,
        run: authority,
    },
    FuzzTarget {
        name: "route",
        seeds: PATHS,
        run: route,
    },
    FuzzTarget {
        name: "api_stream",
        seeds: api::SEEDS,
        run: api_stream,
    },
    FuzzTarget {
        name: "stream",
        seeds: &[&[0, 3], &[1, 3, 4], &[2, 5]],
        run: stream,
    },
    FuzzTarget {
        name: "tls_messages",
        seeds: &[
            &[4, 0, 0, 3, 1, 2, 3, 24, 0, 0, 1, 1],
            &[24, 0, 0, 1, 0],
            &[4, 0, 0, 0],
        ],
        run: tls_messages,
    },
    FuzzTarget {
        name: "tls_records",
        seeds: RECORDS,
        run: tls_records,
    },
    FuzzTarget {
        name: "tunnel_frames",
        seeds: tunnel::SEEDS,
        run: tunnel_frames,
    },
    FuzzTarget {
        name: "socks_client",
        seeds: socks::SEEDS,
        run: socks_client,
    },
];

const REQUESTS: &[&[u8]] = &[
    b"CONNECT 10.0.0.7:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\x16\x03\x01",
    b"POST /exec/ns/p/c?command=id&output=1 HTTP/1.1\r\nHost: n:10250\r\nConnection: Upgrade\r\n\
      Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n",
    b"GET /attach/ns/p/c HTTP/1.1\r\nHost: n\r\nConnection: keep-alive, Upgrade\r\n\
      Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    b"PUT /x HTTP/1.1\r\nHost: n\r\nConnection: close, X-A\r\nX-A: 1\r\nTE: trailers\r\n\
      Keep-Alive: 5\r\nProxy-Connection: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];
const RESPONSES: &[&[u8]] = &[
    b"\x01HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n",
    b"\x02HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
      Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x00",
    b"\x00HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n",
    b"\x03HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    b"\x00HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
    b"\x01HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 1\r\n\r\nx",
];
const BODIES: &[&[u8]] = &[
    b"\x01\x07\x055\r\nhello\r\n1a;n=\"v\"\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX: a\r\n\r\nGET",
    b"\x01\x00\x01A\r\n0123456789\r\n000\r\n\r\n",
    b"\x00\x09\x03hello world",
    b"\x02\x00\x00hello world",
];
const CONNECTS: &[&[u8]] = &[
    b"CONNECT 10.0.0.7:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"CONNECT [2001:db8::7]:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\x16\x03",
    b"CONNECT worker-3.example.com:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
];
const AUTHORITIES: &[&[u8]] = &[
    b"10.0.0.7:10250",
    b"[::ffff:127.0.0.1]:1",
    b"[fe80::1]:443",
    b"a-b_c.Example.com.:65535",
];
const PATHS: &[&[u8]] = &[
    b"/exec/ns/p/c?command=id",
    b"/portForward/ns/p/uid",
    b"/containerLogs/ns/p/c?follow=true",
    b"/logs/pods/a%20b/",
    b"/healthz/%2e%2e/exec/ns/p/c",
    b"/metrics/cadvisor",
];

/// None is good: the body seals good ones itself.
const RECORDS: &[&[u8]] = &[
    &[0, 23, 3, 3, 0, 17],
    &[7, 22, 3, 3, 0, 0],
    &[60, 23, 3, 3, 1, 0, 0],
];

/// A request head, through to the one that goes upstream.
pub fn request(data: &[u8]) {
    let limits = &HeadLimits::REQUEST;
    let whole = parse::parse_request(data, &mut Progress::default(), limits);
    let mut progress = Progress::default();
    let mut piecewise = Ok(Parsed::Incomplete);
    for end in (0..=data.len()).step_by(3).chain([data.len()]) {
        piecewise = parse::parse_request(&data[..end], &mut progress, limits);
        if !matches!(piecewise, Ok(Parsed::Incomplete)) {
            break;
        }
    }
    match (whole, piecewise) {
        (
            Ok(Parsed::Complete { head, consumed }),
            Ok(Parsed::Complete {
                consumed: other, ..
            }),
        ) => {
            assert!(consumed <= data.len() && consumed == other);
            request_head(&head);
        }
        (Ok(Parsed::Incomplete), Ok(Parsed::Incomplete)) => {}
        (Err(whole), Err(piecewise)) => assert_eq!(whole, piecewise),
        (whole, piecewise) => panic!("{whole:?} whole, {piecewise:?} in pieces"),
    }
}

fn request_head(head: &RequestHead) {
    let again = reparse_request(head);
    assert_eq!((&again.method, &again.target), (&head.method, &head.target));
    assert_eq!(again.headers.len(), head.headers.len());
    let Ok(framing) = framing::request_framing(head) else {
        return;
    };
    assert_ne!(framing, Framing::UntilClose);
    let Ok(asked) = upgrade::asked(head, framing) else {
        return;
    };
    assert!(asked.is_none() || framing.is_empty());
    let mut sent = head.clone();
    if hop::rewrite_request(&mut sent, framing, asked.as_ref()).is_err() {
        return;
    }
    let sent = reparse_request(&sent);
    let lines = usize::from(asked.is_some());
    assert_eq!(sent.headers.all("connection").count(), lines);
    assert_eq!(sent.headers.all("upgrade").count(), lines);
    for gone in [
        "te",
        "trailer",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
    ] {
        assert!(!sent.headers.contains(gone));
    }
    assert_eq!(framing::request_framing(&sent), Ok(framing));
    assert_eq!(upgrade::asked(&sent, framing), Ok(asked));
}

/// Writes a head and parses it again: it must be one head with as many lines.
fn reparse_request(head: &RequestHead) -> RequestHead {
    let mut out = Vec::new();
    serialize::write_request(head, &mut out);
    assert_eq!(
        memchr::memchr_iter(b'\n', &out).count(),
        head.headers.len() + 2
    );
    match parse::parse_request(&out, &mut Progress::default(), &own(HeadLimits::REQUEST)) {
        Ok(Parsed::Complete { head, consumed }) => {
            assert_eq!(consumed, out.len());
            head
        }
        other => panic!("own head read as {other:?}"),
    }
}

/// Makes room for what a rewritten head may have more: `Connection` and `Upgrade`, and in each line
/// a space after its colon.
fn own(limits: HeadLimits) -> HeadLimits {
    HeadLimits {
        headers: limits.headers + 2,
        bytes: limits.bytes + limits.headers + 64,
        ..limits
    }
}

/// A response head, through to the one that goes downstream. The first byte picks the request.
pub fn response(data: &[u8]) {
    let Some((pick, data)) = data.split_first() else {
        return;
    };
    let parsed = parse::parse_response(data, &mut Progress::default(), &HeadLimits::RESPONSE);
    let Ok(Parsed::Complete { head, consumed }) = parsed else {
        return;
    };
    assert!(consumed <= data.len());
    let (asked, method) = match pick % 4 {
        0 => (None, Method::GET),
        1 => (Some(Upgrade::Spdy31), Method::POST),
        2 => (Some(rfc_websocket()), Method::GET),
        _ => (None, Method::HEAD),
    };
    let (reply, framing) = upgrade::judge_reply(asked.as_ref(), &method, &head);
    let after = match (reply, &asked) {
        (Reply::BadGateway(_) | Reply::Interim, _) => return,
        (Reply::Relay101, Some(asked)) => {
            assert_eq!(head.status, 101);
            After::Switch(asked)
        }
        (Reply::Relay101, None) => panic!("101 to a request that did not ask"),
        (Reply::Relay, _) => {
            assert!(asked.is_none() && head.status != 101);
            After::KeepAlive
        }
        (Reply::RelayAndClose, _) => {
            assert!(asked.is_some() && head.status >= 400);
            After::Close
        }
    };
    let mut sent = head.clone();
    if hop::rewrite_response(&mut sent, framing, after).is_err() {
        return;
    }
    let sent = reparse_response(&sent);
    assert_eq!(framing::response_framing(&method, &sent), Ok(framing));
    assert!(sent.headers.all("connection").count() <= 1);
    let closes = !hop::keeps_alive(sent.version, &sent.headers);
    let must = reply == Reply::RelayAndClose || framing == Framing::UntilClose;
    assert_eq!(closes, must);
    if reply == Reply::Relay101 {
        assert_eq!(
            upgrade::judge_reply(asked.as_ref(), &method, &sent).0,
            Reply::Relay101
        );
    }
}

fn reparse_response(head: &ResponseHead) -> ResponseHead {
    let mut out = Vec::new();
    serialize::write_response(head, &mut out);
    assert_eq!(
        memchr::memchr_iter(b'\n', &out).count(),
        head.headers.len() + 2
    );
    match parse::parse_response(&out, &mut Progress::default(), &own(HeadLimits::RESPONSE)) {
        Ok(Parsed::Complete { head, consumed }) => {
            assert_eq!(consumed, out.len());
            head
        }
        other => panic!("own head read as {other:?}"),
    }
}

/// The upgrade of the example in RFC 6455, whose answer is known.
fn rfc_websocket() -> Upgrade {
    let Ok(Parsed::Complete { head, .. }) =
        parse::parse_request(REQUESTS[2], &mut Progress::default(), &HeadLimits::REQUEST)
    else {
        panic!("the example is a head");
    };
    match upgrade::asked(&head, Framing::None) {
        Ok(Some(upgrade)) => upgrade,
        other => panic!("the example is an upgrade, not {other:?}"),
    }
}

/// A body: three bytes pick framing, length and piece size, the rest is the input.
pub fn body(data: &[u8]) {
    let [kind, length, piece, input @ ..] = data else {
        return;
    };
    let framing = match kind % 3 {
        0 => Framing::Length(u64::from(*length)),
        1 => Framing::Chunked,
        _ => Framing::UntilClose,
    };
    let mut decoder = BodyDecoder::new(framing);
    let whole = decoder.take(input);
    assert_eq!(whole, in_pieces(framing, input, usize::from(*piece).max(1)));
    let Ok(taken) = whole else { return };
    assert!(taken.bytes <= input.len() && (taken.ended || taken.bytes == input.len()));
    assert_eq!(
        decoder.peer_ended().is_ok(),
        taken.ended || framing == Framing::UntilClose
    );
    match framing {
        Framing::Length(bytes) => {
            assert_eq!(taken.ended, input.len() as u64 >= bytes);
        }
        Framing::Chunked => {
            assert_eq!(taken.ended.then_some(taken.bytes), naive_chunked(input));
        }
        Framing::None | Framing::UntilClose => assert!(!taken.ended),
    }
}

fn in_pieces(framing: Framing, input: &[u8], piece: usize) -> Result<Taken, BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut bytes = 0;
    for part in input.chunks(piece) {
        bytes += decoder.take(part)?.bytes;
    }
    Ok(Taken {
        bytes,
        ended: decoder.ended(),
    })
}

/// Reads a whole chunked body line by line, and says where it ends if it does. Bounds aside it
/// accepts more than the decoder, so it is asked only about what the decoder accepted.
fn naive_chunked(input: &[u8]) -> Option<usize> {
    let mut at = 0;
    let line = |at: usize| memchr::memmem::find(&input[at..], b"\r\n").map(|end| at + end);
    loop {
        let end = line(at)?;
        let size = str::from_utf8(&input[at..end]).ok()?.split(';').next()?;
        let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
        at = end + 2;
        if size == 0 {
            break;
        }
        at = at
            .checked_add(size)?
            .checked_add(2)
            .filter(|at| *at <= input.len())?;
    }
    loop {
        let end = line(at)?;
        let blank = end == at;
        at = end + 2;
        if blank {
            return Some(at);
        }
    }
}

/// A CONNECT, and its refusal with the input as reason.
pub fn connect(data: &[u8]) {
    let limits = &HeadLimits::CONNECT;
    match connect::parse_connect(data, &mut Progress::default(), limits) {
        Ok(Parsed::Complete { head, consumed }) => {
            assert!(consumed <= data.len() && consumed <= limits::CONNECT_HEAD_BYTES);
            assert_eq!(head.to_string().parse(), Ok(head));
        }
        Ok(Parsed::Incomplete) => assert!(data.len() < limits::CONNECT_HEAD_BYTES),
        Err(error) => assert!(matches!(error.status(), 400 | 405 | 431 | 505)),
    }
    let asked = connect::parse_asked(data, &mut Progress::default(), limits);
    if let Ok(Parsed::Complete { head, .. }) = asked {
        let mut again = Vec::new();
        match head.hop {
            true => connect::write_passed_on(&head.target, &mut again),
            false => connect::write_connect(&head.target, None, &mut again),
        }
        let parsed = connect::parse_asked(&again, &mut Progress::default(), limits);
        assert!(matches!(parsed, Ok(Parsed::Complete { head: own, .. }) if own == head));
    }
    let mut out = Vec::new();
    connect::write_refusal(502, &String::from_utf8_lossy(data), None, &mut out);
    let parsed = parse::parse_response(&out, &mut Progress::default(), &HeadLimits::RESPONSE);
    let Ok(Parsed::Complete { head, consumed }) = parsed else {
        panic!("own refusal not read")
    };
    assert_eq!((consumed, head.headers.len()), (out.len(), 3));
    assert!(head.reason.as_bytes().len() <= limits::REASON_BYTES);
    assert!(
        head.reason
            .as_bytes()
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~'))
    );
}

/// A `host:port`.
pub fn authority(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let Ok(authority) = text.parse::<Target>() else {
        return;
    };
    assert_ne!(authority.port, 0);
    assert_eq!(authority.to_string().parse(), Ok(authority.clone()));
    assert_eq!(
        authority.host.to_string().parse(),
        Ok(authority.host.clone())
    );
    match authority.host {
        Host::Ip(address) => assert_eq!(address, address.to_canonical()),
        Host::Name(name) => {
            let last = name.as_str().rsplit('.').next().unwrap_or_default();
            assert!(
                last.bytes().any(|byte| !byte.is_ascii_digit()),
                "{name} could be a number"
            );
            assert!(name.as_str().len() <= limits::NAME_BYTES);
        }
    }
}

/// A request target to a kubelet, against the most lenient router that we can think of.
pub fn route(data: &[u8]) {
    let Ok(target) = RequestTarget::new(data.to_vec()) else {
        return;
    };
    let Ok(routed) = route::route(&target) else {
        return;
    };
    let first = lenient(target.path())
        .into_iter()
        .next()
        .unwrap_or_default();
    let expected = match first.as_str() {
        "exec" => Action::Exec,
        "attach" => Action::Attach,
        "portforward" => Action::PortForward,
        "run" => Action::Run,
        "containerlogs" | "logs" => Action::Logs,
        "checkpoint" => Action::Checkpoint,
        "metrics" | "stats" => Action::Metrics,
        "pods" | "runningpods" => Action::Pods,
        _ => Action::Other,
    };
    assert_eq!(routed.action, expected, "{target}");
    let nameless = matches!(
        routed.action,
        Action::Logs | Action::Metrics | Action::Pods | Action::Other
    );
    assert!(nameless || routed.pod.is_some());
}

/// Reads a path as leniently as possible: decodes until nothing changes, lower-cases, takes `;` and
/// `\` for separators, trims, and cleans empty and dot segments.
fn lenient(path: &str) -> Vec<String> {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let decoded = decode_once(&bytes);
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes).to_lowercase();
    let mut cleaned: Vec<String> = Vec::new();
    for segment in text.split(['/', '\\', ';']) {
        match segment.trim_matches(|c: char| c.is_whitespace() || c.is_control()) {
            "" | "." => {}
            ".." => drop(cleaned.pop()),
            other => cleaned.push(other.to_string()),
        }
    }
    cleaned
}

fn decode_once(bytes: &[u8]) -> Vec<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        let mut next = (after, *byte);
        if let (b'%', [high, low, tail @ ..]) = (byte, after)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            next = (tail, (high << 4 | low) as u8);
        }
        rest = next.0;
        decoded.push(next.1);
    }
    decoded
}

/// Any bytes as records: the libraries agree on them, and open what they sealed.
pub fn tls_records(data: &[u8]) {
    eyesplice_proto::tls::fuzzing::records(data);
}

/// Handshake messages after the handshake: where records cut them makes no difference, but that
/// nothing may follow a key update in its own record.
pub fn tls_messages(data: &[u8]) {
    for is_server in [false, true] {
        let mut whole = PostHandshake::new(is_server);
        let mut bytes = PostHandshake::new(is_server);
        let mut updates = 0;
        let mut refused = data.is_empty();
        for byte in data.chunks(1) {
            match bytes.follow(byte) {
                Ok(update) => updates += usize::from(update.is_some()),
                Err(_) => {
                    refused = true;
                    break;
                }
            }
        }
        match whole.follow(data) {
            Ok(update) => {
                assert!(!refused);
                assert_eq!(updates, usize::from(update.is_some()));
                assert_eq!(whole.is_within_message(), bytes.is_within_message());
            }
            Err(_) => assert!(refused || updates > 0),
        }
    }
}

/// A life of two legs: each byte is one event, legal or not.
pub fn stream(data: &[u8]) {
    let mut stream = match data.first() {
        Some(0) => Stream::refused(),
        _ => Stream::new(),
    };
    let mut ended: Vec<Side> = Vec::new();
    let mut closed: Vec<Side> = Vec::new();
    for byte in data {
        let before = stream;
        let Ok(actions) = stream.on(event(*byte)) else {
            assert_eq!(stream, before);
            continue;
        };
        assert!(!before.is_finished(), "moved after it was finished");
        for action in actions {
            match action {
                legs::Action::ShutWrite(side) | legs::Action::Leave(side) => {
                    assert!(!ended.contains(&side) && !closed.contains(&side));
                    ended.push(side);
                }
                legs::Action::Cut(side) => assert!(!closed.contains(&side)),
                legs::Action::Close(side) => {
                    assert!(!closed.contains(&side), "closed once");
                    closed.push(side);
                }
                _ => {}
            }
        }
    }
    assert_eq!(stream.is_finished(), closed.contains(&Side::Downstream));
}

fn event(byte: u8) -> Event {
    let side = match byte & 1 {
        0 => Side::Downstream,
        _ => Side::Upstream,
    };
    let cut = match byte >> 1 & 3 {
        0 => Cut::Reset,
        1 => Cut::GivenUp,
        2 => Cut::Truncated,
        _ => Cut::Broken,
    };
    let tls = Legs {
        downstream: byte & 2 != 0,
        upstream: byte & 4 != 0,
    };
    match byte >> 3 {
        0 => Event::Exchange(tls),
        1 | 2 => Event::Relay(tls),
        3 | 4 => Event::Ended(side),
        5 | 6 => Event::Shut(side),
        7 | 8 => Event::Cut(side, cut),
        9 | 10 => Event::Unwritable(side, cut),
        11 => Event::Closed(side),
        12 => Event::Abandoned(side),
        13 => Event::Silent,
        14 => Event::Idle,
        15 => Event::Aborted,
        16 => Event::Lost(side),
        17 => Event::Exhausted,
        18 => Event::Stalled,
        19 => Event::Unseen,
        20 => Event::Failed(Cause::Cut(side, cut)),
        21 => Event::Failed(Cause::Local),
        22 => Event::Told(Cause::Cut(side, cut)),
        23 => Event::Told(Cause::Local),
        24 => Event::Served,
        25 => Event::Unfinished,
        26 => Event::Alerted(Cause::Cut(side, cut)),
        _ => Event::Done,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]
        #[test]
        fn route_other_is_never_a_known_path_to_a_lenient_router(
            parts in prop::collection::vec(prop::sample::select(vec![
                "/", "/", "/", "exec", "EXEC", "attach", "run", "portforward", "portForward",
                "logs", "pods", "healthz", "ns", "..", ".", "%2e", "%2f", "%2F", "%25", "%65xec",
                "%00", ";", "%5c", "%20", "//", "e", "x", "cri", "?exec", "metrics",
                "containerLogs", "+", ":",
            ]), 0..10),
        ) {
            let path = format!("/{}", parts.concat());
            super::route(path.as_bytes());
        }
    }
}
