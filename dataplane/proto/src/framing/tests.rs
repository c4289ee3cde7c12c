use super::*;
use crate::head::{Reason, RequestTarget};

fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

fn request(lines: &[(&'static str, &'static str)]) -> Result<Framing, FramingError> {
    request_framing(&RequestHead {
        method: Method::POST,
        target: RequestTarget::new("/").unwrap(),
        version: Version::Http11,
        headers: headers(lines),
    })
}

fn reply(
    version: Version,
    method: Method,
    status: u16,
    lines: &[(&'static str, &'static str)],
) -> Result<Framing, FramingError> {
    let headers = headers(lines);
    response_framing(
        &method,
        &ResponseHead {
            version,
            status,
            reason: Reason::default(),
            headers,
        },
    )
}

#[test]
fn request_framing_every_announcement_is_judged() {
    use FramingError as E;
    const CL: &str = "Content-Length";
    const TE: &str = "transfer-encoding";
    for (lines, expected) in [
        (&[][..], Ok(Framing::None)),
        (&[(CL, "0")], Ok(Framing::Length(0))),
        (&[(CL, "42")], Ok(Framing::Length(42))),
        (
            &[(CL, "9223372036854775807")],
            Ok(Framing::Length(i64::MAX as u64)),
        ),
        (&[(TE, "chunked")], Ok(Framing::Chunked)),
        (&[(TE, "Chunked")], Ok(Framing::Chunked)),
        (&[(CL, "5"), (TE, "chunked")], Err(E::LengthAndEncoding)),
        (&[(CL, "5"), (CL, "6")], Err(E::RepeatedLength)),
        (&[(CL, "5"), (CL, "5")], Err(E::RepeatedLength)),
        (&[(CL, "5, 5")], Err(E::RepeatedLength)),
        (&[(CL, "5,6")], Err(E::RepeatedLength)),
        (&[(CL, "")], Err(E::BadLength)),
        (&[(CL, "+5")], Err(E::BadLength)),
        (&[(CL, "-5")], Err(E::BadLength)),
        (&[(CL, "5 5")], Err(E::BadLength)),
        (&[(CL, "0x5")], Err(E::BadLength)),
        (&[(CL, "5.0")], Err(E::BadLength)),
        (&[(CL, "9223372036854775808")], Err(E::BadLength)),
        (&[(CL, "9999999999999999999")], Err(E::BadLength)),
        (&[(CL, "18446744073709551621")], Err(E::BadLength)),
        (&[(CL, "00000000000000000005")], Err(E::BadLength)),
        (&[(TE, "")], Err(E::BadEncoding)),
        (&[(TE, "identity")], Err(E::BadEncoding)),
        (&[(TE, "gzip, chunked")], Err(E::BadEncoding)),
        (&[(TE, "chunked, chunked")], Err(E::BadEncoding)),
        (&[(TE, "chunked"), (TE, "chunked")], Err(E::BadEncoding)),
        (&[(TE, "xchunked")], Err(E::BadEncoding)),
        (&[(TE, "chunked;q=1")], Err(E::BadEncoding)),
        (&[(TE, "identity"), (CL, "5")], Err(E::BadEncoding)),
    ] {
        assert_eq!(request(lines), expected, "{lines:?}");
    }
}

#[test]
fn response_framing_method_and_status_decide() {
    use FramingError as E;
    const CONNECT: Method = Method::CONNECT;
    const GET: Method = Method::GET;
    const HEAD: Method = Method::HEAD;
    let cl = &[("Content-Length", "5")][..];
    let zero = &[("Content-Length", "0")][..];
    let te = &[("Transfer-Encoding", "chunked")][..];
    let both = &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")][..];
    for (method, status, lines, expected) in [
        (GET, 200, &[][..], Ok(Framing::UntilClose)),
        (GET, 200, cl, Ok(Framing::Length(5))),
        (GET, 200, zero, Ok(Framing::Length(0))),
        (GET, 500, te, Ok(Framing::Chunked)),
        (GET, 200, both, Err(E::LengthAndEncoding)),
        (HEAD, 200, &[], Ok(Framing::None)),
        (HEAD, 200, cl, Ok(Framing::None)),
        (HEAD, 200, both, Err(E::LengthAndEncoding)),
        (GET, 304, cl, Ok(Framing::None)),
        (GET, 204, &[], Ok(Framing::None)),
        (GET, 204, zero, Ok(Framing::None)),
        (GET, 204, cl, Err(E::BodyNotAllowed)),
        (GET, 204, te, Err(E::BodyNotAllowed)),
        (GET, 100, &[], Ok(Framing::None)),
        (GET, 101, &[], Ok(Framing::None)),
        (GET, 101, te, Err(E::BodyNotAllowed)),
        (GET, 199, cl, Err(E::BodyNotAllowed)),
        (CONNECT, 200, cl, Ok(Framing::None)),
        (CONNECT, 503, cl, Ok(Framing::Length(5))),
        (CONNECT, 300, &[], Ok(Framing::UntilClose)),
    ] {
        let found = reply(Version::Http11, method.clone(), status, lines);
        assert_eq!(found, expected, "{method} {status} {lines:?}");
    }
    let old = reply(Version::Http10, GET, 200, te);
    assert_eq!(old, Err(E::EncodingInHttp10));
    let old = reply(
        Version::Http10,
        GET,
        200,
        &[("Transfer-Encoding", "x"), ("Transfer-Encoding", "y")],
    );
    assert_eq!(old, Err(E::EncodingInHttp10));
    assert_eq!(reply(Version::Http10, GET, 200, cl), Ok(Framing::Length(5)));
}

#[test]
fn announce_any_framing_reads_back_the_same() {
    for framing in [Framing::Length(7), Framing::Chunked] {
        let mut before = headers(&[("content-length", "0007"), ("X", "y")]);
        framing.announce(&mut before);
        assert_eq!(announced(Version::Http11, &before), Ok(Some(framing)));
        assert_eq!(before.len(), 2);
    }
    let mut both = headers(&[("content-length", "1"), ("Transfer-Encoding", "x")]);
    Framing::UntilClose.announce(&mut both);
    assert!(both.is_empty());
    let mut reply_to_head = headers(&[("content-length", "1")]);
    Framing::None.announce(&mut reply_to_head);
    assert_eq!(reply_to_head.len(), 1);
}
