use super::*;
use crate::head::{Method, RequestTarget};
use crate::serialize::{write_request, write_response};

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

fn request(lines: &[(&'static str, &'static str)]) -> RequestHead {
    RequestHead {
        method: Method::POST,
        target: RequestTarget::new("/exec/ns/p/c").unwrap(),
        version: Version::Http11,
        headers: headers(lines),
    }
}

fn written(head: &RequestHead) -> String {
    let mut out = Vec::new();
    write_request(head, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn rewrite_upgrade_with_two_connection_lines_writes_one() {
    let mut head = request(&[
        ("Host", "n"),
        ("Connection", "close"),
        ("Connection", "X-Drop, upgrade"),
        ("X-Drop", "1"),
        ("x-drop", "2"),
        ("Upgrade", "spdy/3.1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic secret"),
        ("proxy-connection", "keep-alive"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("HTTP2-Settings", "x"),
        ("Content-Length", "0"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ]);
    rewrite_request(&mut head, Framing::Length(0), Some(&Upgrade::Spdy31)).unwrap();
    assert_eq!(
        written(&head),
        "POST /exec/ns/p/c HTTP/1.1\r\nHost: n\r\nContent-Length: 0\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\nConnection: Upgrade\r\n\
         Upgrade: SPDY/3.1\r\n\r\n"
    );
}

#[test]
fn rewrite_plain_request_keeps_only_its_framing() {
    let mut head = request(&[
        ("Host", "n"),
        ("Connection", "upgrade"),
        ("Upgrade", "h2c"),
        ("Transfer-Encoding", "chunked"),
    ]);
    rewrite_request(&mut head, Framing::Chunked, None).unwrap();
    let expected = "POST /exec/ns/p/c HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(written(&head), expected);
}

#[test]
fn rewrite_connection_that_lists_what_every_hop_needs_is_refused() {
    let long = "a,".repeat(limits::CONNECTION_ELEMENTS + 1);
    for (value, expected) in [
        ("close, Host", HopError::EndToEnd("Host")),
        ("content-length", HopError::EndToEnd("Content-Length")),
        (
            "upgrade, sec-websocket-key",
            HopError::EndToEnd("Sec-WebSocket-Key"),
        ),
        ("a b", HopError::NotAToken),
        ("\"upgrade\"", HopError::NotAToken),
        (&long, HopError::TooMany),
    ] {
        let mut head = request(&[("Host", "n"), ("TE", "x")]);
        let value = HeaderValue::new(value.as_bytes().to_vec()).unwrap();
        head.headers.append(CONNECTION, value);
        assert_eq!(
            rewrite_request(&mut head, Framing::None, None),
            Err(expected)
        );
        assert_eq!(head.headers.len(), 3, "as before");
    }
}

#[test]
fn rewrite_response_says_what_follows() {
    let cases = [
        (
            After::KeepAlive,
            Framing::Length(3),
            "Content-Length: 3\r\n",
        ),
        (
            After::Close,
            Framing::Length(3),
            "Content-Length: 3\r\nConnection: close\r\n",
        ),
        (
            After::Close,
            Framing::Chunked,
            "Transfer-Encoding: chunked\r\nConnection: close\r\n",
        ),
        (
            After::KeepAlive,
            Framing::UntilClose,
            "Connection: close\r\n",
        ),
        (
            After::Switch(&Upgrade::Spdy31),
            Framing::None,
            "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n",
        ),
    ];
    for (after, framing, expected) in cases {
        let mut head = ResponseHead::new(200, "OK");
        head.version = Version::Http10;
        head.headers = headers(&[
            ("Connection", "keep-alive"),
            ("Keep-Alive", "x"),
            ("Upgrade", "y"),
        ]);
        rewrite_response(&mut head, framing, after).unwrap();
        let mut out = Vec::new();
        write_response(&head, &mut out);
        let expected = format!("HTTP/1.1 200 OK\r\n{expected}\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn strip_identity_any_spelling_is_gone_where_asked() {
    let forged = [
        ("X-Remote-User", "root"),
        ("x_remote_group", "system:masters"),
        ("X-remote_Extra-scopes", "all"),
        ("Impersonate-User", "root"),
        ("IMPERSONATE_GROUP", "system:masters"),
        ("X-Forwarded-For", "10.0.0.1"),
        ("x_forwarded-uri", "/"),
        ("Forwarded", "for=10.0.0.1"),
        ("X_Real_Ip", "10.0.0.1"),
    ];
    let kept = [
        ("X-Remote", "no"),
        ("X-Remoted-User", "no"),
        ("Forwarded-No", "no"),
        ("A", "b"),
    ];
    let mut all = headers(&forged);
    for (name, value) in kept {
        all.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    let mut some = all.clone();
    assert_eq!(strip_identity(&mut all, Identity::ALL), forged.len());
    assert_eq!(all.len(), kept.len());
    assert_eq!(strip_identity(&mut some, &[Identity::Impersonate]), 2);
    assert!(some.contains("X-Remote-User") && some.contains("X-Forwarded-For"));
    assert!(!some.contains("Impersonate-User"));
}

#[test]
fn keeps_alive_follows_version_and_close() {
    assert!(keeps_alive(Version::Http11, &headers(&[])));
    assert!(!keeps_alive(
        Version::Http11,
        &headers(&[("connection", "x, Close")])
    ));
    assert!(!keeps_alive(
        Version::Http10,
        &headers(&[("connection", "keep-alive")])
    ));
}
