use proptest::prelude::*;

use super::*;
use crate::serialize::{write_request, write_response};

const EXEC: &[u8] = b"POST /exec/ns/p/c?command=id&output=1 HTTP/1.1\r\nHost: node-1:10250\r\n\
    User-Agent: kubectl/v1.36.2\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Empty:\r\nX-Obs: caf\xe9 \t x\t \r\n\r\n";
const CONNECT: &[u8] = b"CONNECT 10.0.0.7:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: SPDY/3.1\r\n\r\n";
const PLAIN: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\n";

fn request(buf: &[u8]) -> Result<Parsed<RequestHead>, HeadError> {
    parse_request(buf, &mut Progress::default(), &HeadLimits::REQUEST)
}

fn response(buf: &[u8]) -> Result<Parsed<ResponseHead>, HeadError> {
    parse_response(buf, &mut Progress::default(), &HeadLimits::RESPONSE)
}

fn complete<T>(parsed: Result<Parsed<T>, HeadError>) -> (T, usize) {
    match parsed.expect("an acceptable head") {
        Parsed::Complete { head, consumed } => (head, consumed),
        Parsed::Incomplete => panic!("incomplete"),
    }
}

#[test]
fn request_every_prefix_is_incomplete_then_complete() {
    for good in [EXEC, CONNECT] {
        let mut buf = Vec::new();
        let mut progress = Progress::default();
        for byte in &good[..good.len() - 1] {
            buf.push(*byte);
            let kept = parse_request(&buf, &mut progress, &HeadLimits::REQUEST);
            assert!(
                matches!(kept, Ok(Parsed::Incomplete)),
                "{}",
                buf.escape_ascii()
            );
            assert!(matches!(request(&buf), Ok(Parsed::Incomplete)));
        }
        buf.extend_from_slice(b"\n\x16\x03\x01");
        let kept = parse_request(&buf, &mut progress, &HeadLimits::REQUEST);
        assert_eq!(complete(kept).1, good.len());
        assert_eq!(progress, Progress::default(), "ready for the next head");
        assert_eq!(complete(request(&buf)).1, good.len());
    }
}

#[test]
fn response_every_prefix_is_incomplete_then_complete() {
    for good in [SWITCH, PLAIN] {
        for end in 0..good.len() {
            assert!(
                matches!(response(&good[..end]), Ok(Parsed::Incomplete)),
                "{end}"
            );
        }
        let mut buf = good.to_vec();
        buf.extend_from_slice(b"early bytes");
        assert_eq!(complete(response(&buf)).1, good.len());
    }
}

#[test]
fn request_parts_are_as_sent() {
    let (head, _) = complete(request(EXEC));
    assert_eq!(head.method, Method::POST);
    assert_eq!(head.target.as_str(), "/exec/ns/p/c?command=id&output=1");
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.headers.len(), 7);
    assert_eq!(head.headers.first("x-empty").unwrap().as_bytes(), b"");
    assert_eq!(
        head.headers.first("x-obs").unwrap().as_bytes(),
        b"caf\xe9 \t x"
    );
    assert!(!format!("{head:?}").contains("command"), "{head:?}");
}

#[test]
fn method_is_any_token_in_its_case_up_to_a_bound() {
    let method = |token: &str| {
        let head = format!("{token} / HTTP/1.1\r\nHost: h\r\n\r\n");
        request(head.as_bytes()).map(|parsed| match parsed {
            Parsed::Complete { head, .. } => head.method,
            Parsed::Incomplete => panic!("the head is whole"),
        })
    };
    assert_eq!(method("GET"), Ok(Method::GET));
    assert_ne!(method("get"), Ok(Method::GET));
    let longest = "P".repeat(limits::METHOD_BYTES);
    assert_eq!(method(&longest).unwrap().as_str(), longest);
    assert_eq!(method(&format!("{longest}P")), Err(HeadError::Method));
}

#[test]
fn response_status_lines_that_servers_send_are_accepted() {
    for (line, status, reason) in [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.0 599  two  spaces", 599, " two  spaces"),
        ("HTTP/1.1 100 Continue", 100, "Continue"),
    ] {
        let (head, _) = complete(response(format!("{line}\r\n\r\n").as_bytes()));
        assert_eq!(
            (head.status, head.reason.to_string().as_str()),
            (status, reason)
        );
    }
}

#[test]
fn request_hostile_heads_are_refused_by_cause() {
    use HeadError as E;
    let start = "GET / HTTP/1.1\r\nHost: h\r\n";
    let with = |line: &str| format!("{start}{line}\r\n\r\n").into_bytes();
    let first = |line: &str| format!("{line}\r\nHost: h\r\n\r\n").into_bytes();
    let cases: Vec<(Vec<u8>, HeadError)> = vec![
        (b"\x16\x03\x01\x02\x00\x01".to_vec(), E::NotHttp),
        (
            b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
            E::NotHttp,
        ),
        (b" GET / HTTP/1.1\r\n".to_vec(), E::NotHttp),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            E::UnsupportedVersion,
        ),
        (
            b"GET / HTTP/1.1\nHost: h\n\n".to_vec(),
            E::BareLf { offset: 14 },
        ),
        (
            b"GET / HTTP/1.1\r\nHost: h\r\n\n".to_vec(),
            E::BareLf { offset: 25 },
        ),
        (
            b"GET / HTTP/1.1\r\nHost: h\n\r\n".to_vec(),
            E::BareLf { offset: 23 },
        ),
        (first("GET /"), E::RequestLine),
        (first("GET / HTTP/1.1 "), E::RequestLine),
        (first("GET  / HTTP/1.1"), E::RequestLine),
        (first("GET / x HTTP/1.1"), E::RequestLine),
        (first("GET\t/\tHTTP/1.1"), E::RequestLine),
        (first("G\0T / HTTP/1.1"), E::Method),
        (first("GET(/) / HTTP/1.1"), E::Method),
        (first("GET / HTTP/1.0"), E::UnsupportedVersion),
        (first("GET / HTTP/1.2"), E::UnsupportedVersion),
        (first("GET / HTTP/0.9"), E::UnsupportedVersion),
        (first("GET / http/1.1"), E::Version),
        (first("GET / HTTP/1.10"), E::Version),
        (first("GET / HTTP/1.1\r"), E::Version),
        (
            first("GET /\r HTTP/1.1"),
            E::RequestTarget(BadTarget::Character { offset: 1 }),
        ),
        (
            first("GET /#a HTTP/1.1"),
            E::RequestTarget(BadTarget::Character { offset: 1 }),
        ),
        (
            first("GET /%0 HTTP/1.1"),
            E::RequestTarget(BadTarget::Percent { offset: 1 }),
        ),
        (with(" folded: x"), E::Folded { line: 2 }),
        (with("X: a\r\n\tb"), E::Folded { line: 3 }),
        (with("nothing"), E::NoColon { line: 2 }),
        (with(": x"), E::EmptyName { line: 2 }),
        (with("X : x"), E::SpaceBeforeColon { line: 2 }),
        (with("X\t: x"), E::SpaceBeforeColon { line: 2 }),
        (with("X Y: x"), E::Name { line: 2 }),
        (with("X\0: x"), E::Name { line: 2 }),
        (with("X\r: x"), E::Name { line: 2 }),
        (with("X\u{e9}: x"), E::Name { line: 2 }),
        (with("x_remote_user: root"), E::Underscore { line: 2 }),
        (with("X: a\rb"), E::Value { line: 2 }),
        (with("X: a\0"), E::Value { line: 2 }),
        (with("X: a\x0b"), E::Value { line: 2 }),
        (with("X: a\x7f"), E::Value { line: 2 }),
        (with("X: a\r"), E::Value { line: 2 }),
        (with("host: other"), E::Host),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), E::Host),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(), E::Host),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n".to_vec(), E::Host),
        (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".to_vec(), E::Host),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".to_vec(), E::Host),
    ];
    for (buf, expected) in cases {
        assert_eq!(
            request(&buf).map(|_| ()),
            Err(expected),
            "{}",
            buf.escape_ascii()
        );
    }
}

#[test]
fn response_hostile_heads_are_refused_by_cause() {
    use HeadError as E;
    for (line, expected) in [
        ("HTTP/2.0 200 OK", E::UnsupportedVersion),
        ("HTTP/1.1", E::StatusLine),
        ("HTTP/1.1 ", E::StatusLine),
        ("HTTP/1.1 20", E::StatusLine),
        ("HTTP/1.1 2000 x", E::StatusLine),
        ("HTTP/1.1 099 x", E::StatusLine),
        ("HTTP/1.1 600 x", E::StatusLine),
        ("HTTP/1.1 +10 x", E::StatusLine),
        ("HTTP/1.1  200 x", E::StatusLine),
        ("HTTP/1.1 200\tx", E::StatusLine),
        ("HTTP/1.1 200 a\rb", E::StatusLine),
        ("HTTP/1.1 200 a\0b", E::StatusLine),
        ("HTTP/11 200 x", E::Version),
        ("HTTPS/1.1 200 x", E::NotHttp),
        ("SSH-2.0-OpenSSH_9.2", E::NotHttp),
    ] {
        let buf = format!("{line}\r\n\r\n");
        assert_eq!(
            response(buf.as_bytes()).map(|_| ()),
            Err(expected),
            "{line:?}"
        );
    }
    assert_eq!(response(b"\x15\x03\x01").map(|_| ()), Err(E::NotHttp));
    complete(response(
        b"HTTP/1.1 200 OK\r\nx_y: underscores are accepted here\r\n\r\n",
    ));
}

#[test]
fn requests_to_the_kubernetes_api_may_have_underscores_and_less_of_a_stranger() {
    let parse = |text: &str, limits: HeadLimits| {
        parse_request(text.as_bytes(), &mut Progress::default(), &limits).map(|_| ())
    };
    let head = |padding: usize| {
        let padding = "p".repeat(padding);
        format!("GET /api HTTP/1.1\r\nHost: a\r\nx_trace_id: {padding}\r\n\r\n")
    };
    for limits in [HeadLimits::API, HeadLimits::STRANGER] {
        assert_eq!(parse(&head(1), limits), Ok(()));
        let exact = limits.bytes - head(0).len();
        assert_eq!(parse(&head(exact), limits), Ok(()));
        let limit = limits.bytes;
        assert_eq!(
            parse(&head(exact + 1), limits),
            Err(HeadError::TooLarge { limit })
        );
    }
}

#[test]
fn request_limits_are_exact() {
    let limits = HeadLimits {
        bytes: EXEC.len(),
        headers: 7,
        ..HeadLimits::REQUEST
    };
    let parse =
        |limits: HeadLimits| parse_request(EXEC, &mut Progress::default(), &limits).map(|_| ());
    assert_eq!(parse(limits), Ok(()));
    let bytes = EXEC.len() - 1;
    let error = HeadError::TooLarge { limit: bytes };
    assert_eq!(parse(HeadLimits { bytes, ..limits }), Err(error));
    assert_eq!(error.status(), 431);
    let error = HeadError::TooManyHeaders { limit: 6 };
    assert_eq!(
        parse(HeadLimits {
            headers: 6,
            ..limits
        }),
        Err(error)
    );
    let endless = vec![b'a'; limits.bytes];
    let found = parse_request(&endless, &mut Progress::default(), &limits).map(|_| ());
    assert_eq!(
        found,
        Err(HeadError::TooLarge {
            limit: limits.bytes
        })
    );
}

#[test]
fn progress_of_another_buffer_does_no_harm() {
    let mut progress = Progress::default();
    parse_request(&EXEC[..100], &mut progress, &HeadLimits::REQUEST).unwrap();
    let _ = parse_request(&EXEC[..3], &mut progress, &HeadLimits::REQUEST);
    let _ = parse_request(b"", &mut progress, &HeadLimits::REQUEST);
    let _ = parse_response(PLAIN, &mut progress, &HeadLimits::RESPONSE);
}

fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
    let byte = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80..=0xffu8];
    (
        "[!#$%&'*+.^`|~0-9A-Za-z-]{1,20}",
        prop::collection::vec(byte, 0..30),
    )
}

proptest! {
    #[test]
    fn request_written_again_parses_to_the_same(
        method in "[A-Z]{1,12}".prop_filter("its target is no path", |it| it != "CONNECT"),
        target in "/[a-zA-Z0-9._~!$&'()*+,;=:@/-]{0,40}(\\?[!-\"$-~]{0,40})?",
        lines in prop::collection::vec(header(), 0..12),
        early in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut buf = format!("{method} {target} HTTP/1.1\r\nHost: h:1\r\n").into_bytes();
        for (name, value) in lines.iter().filter(|line| !line.0.eq_ignore_ascii_case("host")) {
            buf.extend_from_slice(name.as_bytes());
            buf.push(b':');
            buf.extend_from_slice(value);
            buf.extend_from_slice(b"\r\n");
        }
        buf.extend_from_slice(b"\r\n");
        let end = buf.len();
        buf.extend_from_slice(&early);
        let (head, consumed) = complete(request(&buf));
        prop_assert_eq!(consumed, end);
        prop_assert_eq!(head.method.as_str(), method);
        prop_assert_eq!(head.target.as_str(), target);
        let mut once = Vec::new();
        write_request(&head, &mut once);
        let (again, consumed) = complete(request(&once));
        prop_assert_eq!(consumed, once.len());
        let mut twice = Vec::new();
        write_request(&again, &mut twice);
        prop_assert_eq!(once, twice);
        for ((_, sent), (_, found)) in lines
            .iter()
            .filter(|line| !line.0.eq_ignore_ascii_case("host"))
            .zip(head.headers.iter().skip(1))
        {
            prop_assert_eq!(trim(sent), found.as_bytes());
        }
    }

    #[test]
    fn response_written_again_parses_to_the_same(
        status in 100..=599u16,
        reason in "[ -~]{0,40}",
        lines in prop::collection::vec(header(), 0..12),
    ) {
        let mut buf = format!("HTTP/1.1 {status} {reason}\r\n").into_bytes();
        for (name, value) in &lines {
            buf.extend_from_slice(name.as_bytes());
            buf.extend_from_slice(b": ");
            buf.extend_from_slice(value);
            buf.extend_from_slice(b"\r\n");
        }
        buf.extend_from_slice(b"\r\n");
        let (head, consumed) = complete(response(&buf));
        prop_assert_eq!(consumed, buf.len());
        prop_assert_eq!(head.status, status);
        prop_assert_eq!(head.reason.as_bytes(), reason.as_bytes());
        let mut once = Vec::new();
        write_response(&head, &mut once);
        let (again, _) = complete(response(&once));
        let mut twice = Vec::new();
        write_response(&again, &mut twice);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn request_fed_in_pieces_gives_what_it_gives_whole(
        tail in prop::collection::vec(any::<u8>(), 0..20),
        flip in prop::option::of((0..EXEC.len(), any::<u8>())),
        cuts in prop::collection::vec(0..EXEC.len() + 20, 0..6),
    ) {
        let mut buf = EXEC.to_vec();
        if let Some((at, byte)) = flip {
            buf[at] = byte;
        }
        buf.extend_from_slice(&tail);
        let whole = request(&buf);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(buf.len())).collect();
        cuts.sort_unstable();
        cuts.push(buf.len());
        let mut progress = Progress::default();
        let mut last = Ok(Parsed::Incomplete);
        for cut in cuts {
            last = parse_request(&buf[..cut], &mut progress, &HeadLimits::REQUEST);
            if !matches!(last, Ok(Parsed::Incomplete)) {
                break;
            }
        }
        match (last, whole) {
            (Ok(Parsed::Complete { consumed: a, .. }), Ok(Parsed::Complete { consumed: b, .. })) => {
                prop_assert_eq!(a, b);
            }
            (Ok(Parsed::Incomplete), Ok(Parsed::Incomplete)) => {}
            (Err(a), Err(b)) => prop_assert_eq!(a, b),
            (a, b) => prop_assert!(false, "{a:?} in pieces, {b:?} whole"),
        }
    }
}
