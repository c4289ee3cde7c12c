use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits;
use crate::parse::{Parsed, Progress};

const ID: OpenId = OpenId(*b"0123456789abcdef");
const INSTANCE: Instance = Instance(*b"ABCDEFGHIJKLMNOP");

/// Every message of an agent, and its bytes.
fn to_gateway() -> Vec<(ToGateway, Vec<u8>)> {
    let with = |head: &[u8], tail: &[u8]| [head, tail].concat();
    vec![
        (
            ToGateway::Control(Register {
                instance: INSTANCE,
                version: "v1.2".into(),
                draining: false,
            }),
            b"\x00\x1a\x0a\x18\x0a\x10ABCDEFGHIJKLMNOP\x12\x04v1.2".to_vec(),
        ),
        (
            ToGateway::Control(Register {
                instance: INSTANCE,
                version: "v1.2".into(),
                draining: true,
            }),
            b"\x00\x1c\x0a\x1a\x0a\x10ABCDEFGHIJKLMNOP\x12\x04v1.2\x18\x01".to_vec(),
        ),
        (
            ToGateway::Data {
                instance: INSTANCE,
                id: None,
            },
            b"\x00\x14\x12\x12\x0a\x10ABCDEFGHIJKLMNOP".to_vec(),
        ),
        (
            ToGateway::Data {
                instance: INSTANCE,
                id: Some(ID),
            },
            with(
                b"\x00\x26\x12\x24\x0a\x10ABCDEFGHIJKLMNOP",
                b"\x12\x100123456789abcdef",
            ),
        ),
        (ToGateway::Pong(0), b"\x00\x02\x18\x00".to_vec()),
        (ToGateway::Pong(300), b"\x00\x03\x18\xac\x02".to_vec()),
        (ToGateway::Draining, b"\x00\x02\x22\x00".to_vec()),
        (
            ToGateway::CannotDial {
                id: ID,
                words: "full".into(),
            },
            b"\x00\x1a\x2a\x18\x0a\x100123456789abcdef\x12\x04full".to_vec(),
        ),
        (ToGateway::Accepted, b"\x00\x02\x32\x00".to_vec()),
        (
            ToGateway::Connected {
                address: "10.0.0.7:10250".parse().unwrap(),
                inner_only: false,
            },
            b"\x00\x12\x3a\x10\x0a\x0e10.0.0.7:10250".to_vec(),
        ),
        (
            ToGateway::Connected {
                address: "10.0.0.7:10250".parse().unwrap(),
                inner_only: true,
            },
            b"\x00\x14\x3a\x12\x0a\x0e10.0.0.7:10250\x10\x01".to_vec(),
        ),
        (
            ToGateway::Failed {
                reason: FailReason::Refused,
                words: "no".into(),
            },
            b"\x00\x08\x42\x06\x08\x01\x12\x02no".to_vec(),
        ),
        (
            ToGateway::Failed {
                reason: FailReason::Internal,
                words: "".into(),
            },
            b"\x00\x02\x42\x00".to_vec(),
        ),
    ]
}

/// Every message of a gateway, and its bytes.
fn to_agent() -> Vec<(ToAgent, Vec<u8>)> {
    let with = |head: &[u8], tail: &[u8]| [head, tail].concat();
    vec![
        (
            ToAgent::Registered(Registered {
                gateway: INSTANCE,
                advertise: None,
                ping: Duration::from_secs(10),
                park: 0,
            }),
            b"\x00\x18\x8a\x01\x15\x0a\x10ABCDEFGHIJKLMNOP\x18\x90\x4e".to_vec(),
        ),
        (
            ToAgent::Registered(Registered {
                gateway: INSTANCE,
                advertise: Some("[::1]:8443".parse().unwrap()),
                ping: Duration::from_secs(10),
                park: 2,
            }),
            with(
                b"\x00\x26\x8a\x01\x23\x0a\x10ABCDEFGHIJKLMNOP",
                b"\x12\x0a[::1]:8443\x18\x90\x4e\x20\x02",
            ),
        ),
        (
            ToAgent::Refused { words: "no".into() },
            b"\x00\x07\x92\x01\x04\x0a\x02no".to_vec(),
        ),
        (ToAgent::Ping(7), b"\x00\x03\x98\x01\x07".to_vec()),
        (
            ToAgent::Dial {
                id: ID,
                deadline: Duration::from_secs(5),
            },
            b"\x00\x18\xa2\x01\x15\x0a\x100123456789abcdef\x10\x88\x27".to_vec(),
        ),
        (
            ToAgent::Park { count: 8 },
            b"\x00\x05\xaa\x01\x02\x08\x08".to_vec(),
        ),
        (ToAgent::Drain, b"\x00\x03\xb2\x01\x00".to_vec()),
        (
            ToAgent::Gateways {
                addresses: vec!["10.0.0.7:8133".parse().unwrap(), "[::1]:1".parse().unwrap()],
            },
            with(
                b"\x00\x1b\xc2\x01\x18\x0a\x0d10.0.0.7:8133",
                b"\x0a\x07[::1]:1",
            ),
        ),
        (
            ToAgent::Gateways { addresses: vec![] },
            b"\x00\x03\xc2\x01\x00".to_vec(),
        ),
        (
            ToAgent::Open {
                id: ID,
                target: "Worker-3:10250".parse().unwrap(),
                deadline: Duration::from_secs(5),
                inner_only: false,
            },
            with(
                b"\x00\x25\xba\x01\x22\x0a\x100123456789abcdef",
                b"\x12\x08worker-3\x18\x8a\x50\x20\x88\x27",
            ),
        ),
        (
            ToAgent::Open {
                id: ID,
                target: "[2001:db8::7]:1".parse().unwrap(),
                deadline: Duration::ZERO,
                inner_only: true,
            },
            with(
                b"\x00\x26\xba\x01\x23\x0a\x100123456789abcdef",
                b"\x12\x0b2001:db8::7\x18\x01\x28\x01",
            ),
        ),
    ]
}

fn at_gateway(bytes: &[u8]) -> Result<Parsed<ToGateway>, FrameError> {
    ToGateway::parse(bytes, &mut Progress::default())
}

fn at_agent(bytes: &[u8]) -> Result<Parsed<ToAgent>, FrameError> {
    ToAgent::parse(bytes, &mut Progress::default())
}

fn complete<T, E: std::fmt::Debug>(parsed: Result<Parsed<T>, E>) -> (T, usize) {
    match parsed.expect("an acceptable frame") {
        Parsed::Complete { head, consumed } => (head, consumed),
        Parsed::Incomplete => panic!("incomplete"),
    }
}

/// Puts a message, in the bytes of protobuf, into a frame.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap();
    [&length.to_be_bytes(), message].concat()
}

#[test]
fn frames_of_agent_are_these_bytes_both_ways() {
    for (message, bytes) in to_gateway() {
        let mut written = Vec::new();
        message.write(&mut written);
        assert_eq!(
            written.escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "{message:?}"
        );
        assert_eq!(complete(at_gateway(&bytes)), (message, bytes.len()));
    }
}

#[test]
fn frames_of_gateway_are_these_bytes_both_ways() {
    for (message, bytes) in to_agent() {
        let mut written = Vec::new();
        message.write(&mut written);
        assert_eq!(
            written.escape_ascii().to_string(),
            bytes.escape_ascii().to_string(),
            "{message:?}"
        );
        assert_eq!(complete(at_agent(&bytes)), (message, bytes.len()));
    }
}

#[test]
fn frame_every_prefix_is_incomplete_and_what_follows_is_left() {
    let of_agent = to_gateway().into_iter().map(|(_, bytes)| bytes);
    for bytes in of_agent {
        for end in 0..bytes.len() {
            assert!(matches!(at_gateway(&bytes[..end]), Ok(Parsed::Incomplete)));
        }
        let more = [&bytes[..], b"\x16\x03\x01"].concat();
        assert_eq!(complete(at_gateway(&more)).1, bytes.len());
    }
    for (_, bytes) in to_agent() {
        for end in 0..bytes.len() {
            assert!(matches!(at_agent(&bytes[..end]), Ok(Parsed::Incomplete)));
        }
        let more = [&bytes[..], b"\0"].concat();
        assert_eq!(complete(at_agent(&more)).1, bytes.len());
    }
}

#[test]
fn frame_of_gateways_holds_as_many_as_fit_and_no_more_are_taken() {
    let one = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535";
    let addresses = vec![one.parse().unwrap(); limits::TUNNEL_GATEWAYS + 1];
    let mut written = Vec::new();
    ToAgent::Gateways { addresses }.write(&mut written);
    let (ToAgent::Gateways { addresses }, consumed) = complete(at_agent(&written)) else {
        panic!("another message");
    };
    assert_eq!(addresses.len(), limits::TUNNEL_GATEWAYS);
    assert_eq!(consumed, written.len());
    let more = b"\x0a\x07[::1]:1".repeat(limits::TUNNEL_GATEWAYS + 1);
    let length = u8::try_from(more.len() & 0x7f).unwrap() | 0x80;
    let head = [0xc2, 0x01, length, u8::try_from(more.len() >> 7).unwrap()];
    let error = at_agent(&framed(&[&head[..], &more].concat())).unwrap_err();
    assert!(matches!(error, FrameError::OutOfRange { .. }), "{error}");
    let error = at_agent(&framed(b"\xc2\x01\x05\x0a\x03x:1")).unwrap_err();
    assert!(
        error.to_string().contains("`gateways.addresses`"),
        "{error}"
    );
}

#[test]
fn frames_of_the_other_direction_are_refused_by_name() {
    for (message, bytes) in to_gateway() {
        let error = at_agent(&bytes).unwrap_err();
        assert!(
            matches!(error, FrameError::WrongDirection { .. }),
            "{message:?}: {error}"
        );
    }
    for (_, bytes) in to_agent() {
        assert!(matches!(
            at_gateway(&bytes),
            Err(FrameError::WrongDirection { .. })
        ));
    }
    assert_eq!(
        at_agent(b"\x00\x02\x32\x00").unwrap_err().to_string(),
        "tunnel frame has the message `accepted`, which only the other end sends"
    );
}

#[test]
fn frames_that_are_hostile_are_refused_in_words() {
    let short = b"\x0a\x02\x0a\x00";
    for (bytes, words) in [
        (b"\0\0".to_vec(), "tunnel frame has length 0"),
        (
            b"GET / HTTP/1.1".to_vec(),
            "tunnel frame has 18245 bytes, but at most 4096 are accepted; check that the peer is \
             an eyesplice agent or gateway",
        ),
        (
            b"\x10\x01".to_vec(),
            "tunnel frame has 4097 bytes, but at most 4096 are accepted; check that the peer is \
             an eyesplice agent or gateway",
        ),
        (
            framed(b"\xff"),
            "tunnel frame of 1 bytes is no such protobuf message",
        ),
        (
            framed(b"\x18\x01\x22"),
            "tunnel frame of 3 bytes is no such protobuf message",
        ),
        (
            framed(b"\x20\x01"),
            "tunnel frame of 2 bytes is no such protobuf message",
        ),
        (
            framed(b"\x0a\x03\x12\x01\xff"),
            "tunnel frame of 5 bytes is no such protobuf message",
        ),
        (
            framed(b"\x48\x01"),
            "tunnel frame has a message of the unknown kind 9",
        ),
        (
            framed(short),
            "`control.instance` of a tunnel frame has 0 bytes instead of 16",
        ),
        (
            framed(b"\x12\x15\x0a\x10ABCDEFGHIJKLMNOP\x12\x01x"),
            "`data.id` of a tunnel frame has 1 bytes instead of 16",
        ),
        (
            framed(b"\x2a\x00"),
            "`cannot_dial.id` of a tunnel frame has 0 bytes instead of 16",
        ),
        (
            framed(b"\x3a\x07\x0a\x05n\x07\x0d:1"),
            "`connected.address` of a tunnel frame is `n:1` instead of an address and port",
        ),
    ] {
        let error = at_gateway(&bytes).expect_err(words);
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn frames_that_are_hostile_to_an_agent_are_refused_in_words() {
    let open = |host: &[u8], tail: &[u8]| {
        let fields = [
            b"\x0a\x100123456789abcdef\x12".to_vec(),
            vec![u8::try_from(host.len()).unwrap()],
            host.to_vec(),
            tail.to_vec(),
        ]
        .concat();
        let length = u8::try_from(fields.len()).unwrap();
        framed(&[&[0xba, 0x01, length], &fields[..]].concat())
    };
    for (bytes, words) in [
        (
            framed(b"\xa2\x01\x00"),
            "`dial.id` of a tunnel frame has 0 bytes instead of 16",
        ),
        (
            framed(b"\xa2\x01\x16\x0a\x100123456789abcdef\x10\xc1\xcf\x24"),
            "`dial.deadline_ms` of a tunnel frame is 600001 instead of 0 to 600000",
        ),
        (
            framed(b"\xaa\x01\x03\x08\x81\x08"),
            "`park.count` of a tunnel frame is 1025 instead of 0 to 1024",
        ),
        (
            framed(b"\x8a\x01\x12\x0a\x10ABCDEFGHIJKLMNOP"),
            "`registered.ping_ms` of a tunnel frame is 0 instead of 100 to 600000",
        ),
        (
            framed(b"\xba\x01\x00"),
            "`open.id` of a tunnel frame has 0 bytes instead of 16",
        ),
        (
            open(b"", b"\x18\x01"),
            "host `` of an open is not acceptable",
        ),
        (
            open(b"127.1", b"\x18\x01"),
            "host `127.1` of an open is not acceptable",
        ),
        (
            open(b"a\n\xc3\xb6b", b"\x18\x01"),
            "host `a?b` of an open is not acceptable",
        ),
        (
            open(b"node:1", b"\x18\x01"),
            "host `node:1` of an open is not acceptable",
        ),
        (
            open(b"node", b""),
            "`open.port` of a tunnel frame is 0 instead of 1 to 65535",
        ),
        (
            open(b"node", b"\x18\x80\x80\x04"),
            "`open.port` of a tunnel frame is 65536 instead of 1 to 65535",
        ),
        (
            open(b"node", b"\x18\x01\x20\xc1\xcf\x24"),
            "`open.deadline_ms` of a tunnel frame is 600001 instead of 0 to 600000",
        ),
    ] {
        let error = at_agent(&bytes).expect_err(words);
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn frame_with_unknown_fields_is_read_without_them() {
    let bytes = framed(b"\x32\x02\x50\x01\xf8\x07\x01");
    assert_eq!(complete(at_gateway(&bytes)).0, ToGateway::Accepted);
    let bytes = framed(b"\x42\x02\x08\x63");
    assert_eq!(
        complete(at_gateway(&bytes)).0,
        ToGateway::Failed {
            reason: FailReason::Internal,
            words: "".into()
        },
        "a reason of a later version"
    );
}

#[test]
fn reason_every_one_has_a_number_and_a_word() {
    for (number, reason) in FailReason::ALL.into_iter().enumerate() {
        assert_eq!(reason.number() as usize, number);
        assert_eq!(FailReason::from_number(reason.number()), reason);
        assert!(
            reason
                .as_str()
                .bytes()
                .all(|byte| byte.is_ascii_lowercase())
        );
    }
}

#[test]
fn ids_are_shown_in_hexadecimal() {
    let text = "30313233343536373839616263646566";
    assert_eq!(ID.to_string(), text);
    assert_eq!(format!("{ID:?}"), text);
    assert_eq!(Instance([0xa0; 16]).to_string(), "a0".repeat(16));
}

#[test]
fn text_is_printable_and_bounded() {
    assert_eq!(
        Words::new("a\r\nb\x1b[1m\u{85}c\u{202e}d ").as_str(),
        "ab[1mc?d "
    );
    assert_eq!(Words::new(&"\u{f6}".repeat(600)).as_str(), "?".repeat(512));
    assert_eq!(Version::new(&"1".repeat(65)).as_str().len(), 64);
}

#[test]
fn numbers_are_moved_into_their_range_when_written() {
    let registered = |ping, park| {
        ToAgent::Registered(Registered {
            gateway: INSTANCE,
            advertise: None,
            ping,
            park,
        })
    };
    for (sent, read) in [
        (
            registered(Duration::ZERO, u32::MAX),
            registered(Duration::from_millis(100), 1024),
        ),
        (
            registered(Duration::MAX, 0),
            registered(Duration::from_secs(600), 0),
        ),
        (
            ToAgent::Dial {
                id: ID,
                deadline: Duration::MAX,
            },
            ToAgent::Dial {
                id: ID,
                deadline: Duration::from_secs(600),
            },
        ),
    ] {
        let mut bytes = Vec::new();
        sent.write(&mut bytes);
        assert_eq!(complete(at_agent(&bytes)).0, read);
    }
}

#[test]
fn largest_frames_are_within_the_limit() {
    let words = Words::new(&"w".repeat(limits::TUNNEL_WORDS));
    let label = "a".repeat(limits::LABEL_BYTES);
    let name = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    let mut out = Vec::new();
    ToGateway::CannotDial {
        id: ID,
        words: words.clone(),
    }
    .write(&mut out);
    let first = out.len();
    ToAgent::Open {
        id: ID,
        target: format!("{name}:65535").parse().unwrap(),
        deadline: Duration::MAX,
        inner_only: true,
    }
    .write(&mut out);
    assert_eq!(complete(at_gateway(&out)).1, first);
    assert_eq!(complete(at_agent(&out[first..])).1, out.len() - first);
    assert!(out.len() < limits::TUNNEL_FRAME_BYTES);
}

proptest! {
    #[test]
    fn frames_of_any_bytes_are_refused_or_stable(
        message in prop::collection::vec(any::<u8>(), 1..64),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let of_agent = to_gateway().into_iter().map(|it| it.1);
        let known = of_agent.chain(to_agent().into_iter().map(|it| it.1));
        for mut bytes in known.chain([framed(&message)]) {
            if let Some((at, byte)) = &flip {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Ok(Parsed::Complete { head, consumed }) = at_gateway(&bytes) {
                prop_assert!(consumed <= bytes.len());
                let mut again = Vec::new();
                head.write(&mut again);
                prop_assert_eq!(complete(at_gateway(&again)), (head, again.len()));
            }
            if let Ok(Parsed::Complete { head, consumed }) = at_agent(&bytes) {
                prop_assert!(consumed <= bytes.len());
                let mut again = Vec::new();
                head.write(&mut again);
                prop_assert_eq!(complete(at_agent(&again)), (head, again.len()));
            }
        }
    }
}
