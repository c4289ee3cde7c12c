use super::*;
use crate::limits;
use crate::parse::parse_response;

const GOOD: &[u8] = b"CONNECT 10.0.0.7:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

fn connect(buf: &[u8]) -> Result<Parsed<Target>, ConnectError> {
    parse_connect(buf, &mut Progress::default(), &HeadLimits::CONNECT)
}

#[test]
fn connect_every_prefix_is_incomplete_then_complete_with_early_bytes_left() {
    for end in 0..GOOD.len() {
        assert!(
            matches!(connect(&GOOD[..end]), Ok(Parsed::Incomplete)),
            "{end}"
        );
    }
    let mut buf = GOOD.to_vec();
    buf.extend_from_slice(b"\x16\x03\x01");
    let Ok(Parsed::Complete { head, consumed }) = connect(&buf) else {
        panic!("not complete")
    };
    assert_eq!(head.to_string(), "10.0.0.7:10250");
    assert_eq!(&buf[consumed..], b"\x16\x03\x01");
}

#[test]
fn connect_hostile_requests_are_refused_by_cause() {
    use ConnectError as C;
    use TargetError as A;
    let with = |target: &str, line: &str| {
        format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{line}\r\n").into_bytes()
    };
    for (buf, expected, status) in [
        (
            b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
            C::NotConnect,
            405,
        ),
        (b"\x16\x03\x01".to_vec(), C::Head(HeadError::NotHttp), 400),
        (
            b"CONNECT a:1 HTTP/1.1\r\n\r\n".to_vec(),
            C::Head(HeadError::Host),
            400,
        ),
        (with("a:1", "Content-Length: 5\r\n"), C::Body, 400),
        (with("a:1", "Transfer-Encoding: chunked\r\n"), C::Body, 400),
        (
            with("a:1", "Content-Length: 5\r\nContent-Length: 6\r\n"),
            C::Body,
            400,
        ),
        (with("a", ""), C::Target(A::NoPort), 400),
        (with("https://a:1/", ""), C::Target(A::BadIpv6), 400),
        (with("u@a:1", ""), C::Target(A::UserInfo), 400),
        (with("a:1/", ""), C::Target(A::BadPort), 400),
        (with("a:1?x", ""), C::Target(A::BadPort), 400),
        (with("/", ""), C::Target(A::NoPort), 400),
    ] {
        let found = connect(&buf).map(|_| ());
        assert_eq!(found, Err(expected), "{}", buf.escape_ascii());
        assert_eq!(expected.status(), status);
    }
    assert!(connect(&with("a:1", "Content-Length: 0\r\n")).is_ok());
    let large = with(
        "a:1",
        &format!("X: {}\r\n", "y".repeat(limits::CONNECT_HEAD_BYTES)),
    );
    assert_eq!(
        connect(&large).map(|_| ()).map_err(|error| error.status()),
        Err(431)
    );
}

#[test]
fn established_is_one_head_without_framing_headers() {
    let parsed = parse_response(ESTABLISHED, &mut Progress::default(), &HeadLimits::RESPONSE);
    let Ok(Parsed::Complete { head, consumed }) = parsed else {
        panic!("not complete")
    };
    assert_eq!(
        (head.status, consumed, head.headers.len()),
        (200, ESTABLISHED.len(), 0)
    );
}

#[test]
fn refusal_with_hostile_reason_is_one_bounded_head() {
    let mut out = Vec::new();
    write_refusal(
        502,
        "kubelet w-3 refused\r\nX-Evil: 1\r\n\r\n<b>\u{1b}[31m",
        None,
        &mut out,
    );
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 502 kubelet w-3 refused X-Evil: 1 <b> [31m\r\nProxy-Status: eyesplice\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let mut out = Vec::new();
    write_refusal(503, &"long ".repeat(10_000), None, &mut out);
    assert!(out.len() < limits::REASON_BYTES + 100);
    let parsed = parse_response(&out, &mut Progress::default(), &HeadLimits::RESPONSE);
    assert!(matches!(parsed, Ok(Parsed::Complete { consumed, .. }) if consumed == out.len()));
}

#[test]
fn refusal_says_to_programs_what_failed_of_a_target() {
    for unreached in Unreached::ALL {
        let mut out = Vec::new();
        write_refusal(502, "no", Some(*unreached), &mut out);
        let parsed = parse_answer(&out, &mut Progress::default());
        let Ok(Parsed::Complete { head, .. }) = parsed else {
            panic!("not complete")
        };
        let value = head.headers.first(PROXY_STATUS).unwrap();
        assert_eq!(Unreached::read(value.as_bytes()), Some(*unreached));
    }
}

#[test]
fn unreached_is_what_the_nearest_proxy_says() {
    for (value, expected) in [
        ("p; error=connection_refused", Some(Unreached::Refused)),
        (
            "a;error=dns_timeout, p ;x=1; error=connection_timeout",
            Some(Unreached::Timeout),
        ),
        (
            "p; error=destination_ip_unroutable; details=\"x\"",
            Some(Unreached::Unavailable),
        ),
        ("a; error=connection_refused, p", None),
        ("p; error=connection_limit_reached", None),
        ("p; error=connection_refused2", None),
        ("eyesplice", None),
        ("", None),
    ] {
        assert_eq!(Unreached::read(value.as_bytes()), expected, "{value}");
    }
}

fn asked(buf: &[u8]) -> Result<(String, bool), ConnectError> {
    match parse_asked(buf, &mut Progress::default(), &HeadLimits::CONNECT)? {
        Parsed::Complete { head, .. } => Ok((head.target.to_string(), head.hop)),
        Parsed::Incomplete => panic!("incomplete"),
    }
}

#[test]
fn connect_that_is_passed_on_says_so_once() {
    let target: Target = "[fd00::7]:10250".parse().unwrap();
    let mut passed_on = Vec::new();
    write_passed_on(&target, &mut passed_on);
    assert_eq!(asked(&passed_on), Ok(("[fd00::7]:10250".into(), true)));
    assert_eq!(connect(&passed_on).map(|_| ()), Ok(()));
    assert_eq!(asked(GOOD), Ok(("10.0.0.7:10250".into(), false)));
    for lines in [
        "Eyesplice-Hop: 2\r\n",
        "Eyesplice-Hop: \r\n",
        "Eyesplice-Hop: 1, 1\r\n",
        "Eyesplice-Hop: 1\r\neyesplice-hop: 1\r\n",
    ] {
        let head = format!("CONNECT a:1 HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(asked(head.as_bytes()), Err(ConnectError::Hops), "{lines}");
    }
    assert_eq!(ConnectError::Hops.status(), 400);
}

#[test]
fn connect_with_a_login_shows_it_in_the_basic_scheme() {
    let target: Target = "gw.example:8133".parse().unwrap();
    let login = Login::parse("edge:pw").unwrap();
    let mut out = Vec::new();
    write_connect(&target, Some(&login), &mut out);
    assert_eq!(
        str::from_utf8(&out).unwrap(),
        "CONNECT gw.example:8133 HTTP/1.1\r\nHost: gw.example:8133\r\n\
         Proxy-Authorization: Basic ZWRnZTpwdw==\r\n\r\n"
    );
    assert_eq!(asked(&out), Ok(("gw.example:8133".into(), false)));
}
