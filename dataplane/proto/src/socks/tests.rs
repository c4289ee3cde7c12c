use super::*;

fn target(text: &str) -> Target {
    text.parse().unwrap()
}

fn login() -> Login {
    Login::parse("edge:pw").unwrap()
}

/// What a proxy answers, one after the other.
type Answers<'a> = &'a [&'a [u8]];

/// Gives answers one after the other, each in every prefix, and returns what was said.
fn play(
    target: &Target,
    login: Option<&Login>,
    answers: Answers<'_>,
) -> Result<Vec<Vec<u8>>, SocksError> {
    let (mut client, greeting) = Client::new(target, login);
    let mut said = vec![greeting];
    for answer in answers {
        for end in 0..answer.len() {
            match client.on(&answer[..end])? {
                Parsed::Incomplete => {}
                Parsed::Complete { .. } => panic!("{end} bytes of {answer:?} are no answer"),
            }
        }
        let behind = [answer, &b"\x16\x03"[..]].concat();
        match client.on(&behind)? {
            Parsed::Complete { head, consumed } => {
                assert_eq!(consumed, answer.len());
                match head {
                    Step::Say(bytes) => said.push(bytes.to_vec()),
                    Step::Connected => said.push(b"connected".to_vec()),
                }
            }
            Parsed::Incomplete => panic!("{answer:?} is an answer"),
        }
    }
    Ok(said)
}

const REPLY: &[u8] = b"\x05\x00\x00\x01\x0a\x00\x00\x01\x1f\xc5";

#[test]
fn client_asks_for_names_and_addresses_as_they_are() {
    for (text, request) in [
        (
            "gw.example:8133",
            &b"\x05\x01\x00\x03\x0agw.example\x1f\xc5"[..],
        ),
        ("10.0.0.7:8133", b"\x05\x01\x00\x01\x0a\x00\x00\x07\x1f\xc5"),
        (
            "[fd00::7]:8133",
            b"\x05\x01\x00\x04\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x07\x1f\xc5",
        ),
    ] {
        let said = play(&target(text), None, &[b"\x05\x00", REPLY]).unwrap();
        assert_eq!(said, [b"\x05\x01\x00", request, b"connected"], "{text}");
    }
}

#[test]
fn client_shows_its_login_where_the_proxy_wants_it() {
    let (target, login) = (target("10.0.0.7:1"), login());
    let request = b"\x05\x01\x00\x01\x0a\x00\x00\x07\x00\x01";
    let said = play(
        &target,
        Some(&login),
        &[b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x03\x02ab\x00\x00"],
    );
    assert_eq!(
        said.unwrap(),
        [
            &b"\x05\x02\x00\x02"[..],
            b"\x01\x04edge\x02pw",
            request,
            b"connected"
        ]
    );
    // It is not shown where it is not wanted.
    let ipv6 = b"\x05\x00\x00\x04ABCDEFGHIJKLMNOP\x00\x00";
    let said = play(&target, Some(&login), &[b"\x05\x00", ipv6]);
    assert_eq!(
        said.unwrap(),
        [&b"\x05\x02\x00\x02"[..], request, b"connected"]
    );
}

#[test]
fn client_names_what_a_proxy_refuses_and_what_is_none() {
    let (target, login) = (target("gw.example:1"), login());
    let version = |got, wanted| SocksError::Version { got, wanted };
    let refused = |code| SocksError::Refused(Reply(code));
    let cases: [(Option<&Login>, Answers<'_>, SocksError); 13] = [
        (None, &[b"HTTP/1.1 400"], version(0x48, 5)),
        (None, &[b"\x04\x5a"], version(4, 5)),
        (None, &[b"\x05\xff"], SocksError::LoginWanted),
        (Some(&login), &[b"\x05\xff"], SocksError::NoMethod),
        (None, &[b"\x05\x02"], SocksError::Method(2)),
        (Some(&login), &[b"\x05\x01"], SocksError::Method(1)),
        (Some(&login), &[b"\x05\x02", b"\x05\x00"], version(5, 1)),
        (
            Some(&login),
            &[b"\x05\x02", b"\x01\x01"],
            SocksError::Login(1),
        ),
        (None, &[b"\x05\x00", b"\x05\x02\x00\x01"], refused(2)),
        (None, &[b"\x05\x00", b"\x05\xfe"], refused(254)),
        (None, &[b"\x05\x00", b"\x00\x00"], version(0, 5)),
        (
            None,
            &[b"\x05\x00", b"\x05\x00\x00\x02"],
            SocksError::AddressKind(2),
        ),
        (None, &[b"\x05\x00", REPLY, REPLY], SocksError::Over),
    ];
    for (login, answers, error) in cases {
        assert_eq!(
            play(&target, login, answers).unwrap_err(),
            error,
            "{answers:?}"
        );
    }
    for code in 0..=u8::MAX {
        let words = refused(code).to_string();
        assert!(words.starts_with(&format!("reply {code}: ")), "{words}");
    }
}

#[test]
fn client_that_was_refused_takes_no_more() {
    let target = target("gw.example:1");
    let (mut client, _) = Client::new(&target, None);
    assert_eq!(client.on(b"\x05\xff").unwrap_err(), SocksError::LoginWanted);
    assert_eq!(client.on(b"\x05\x00").unwrap_err(), SocksError::Over);
}
