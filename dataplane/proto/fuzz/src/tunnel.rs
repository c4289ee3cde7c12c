//! Body of the fuzz target for the frames of the tunnel, in both directions.

use std::fmt::Debug;

use eyesplice_proto::limits;
use eyesplice_proto::parse::{Parsed, Progress};
use eyesplice_proto::tunnel::{FrameError, ToAgent, ToGateway};

/// Messages, to which the body adds a length; the last is a whole frame.
pub(crate) const SEEDS: &[&[u8]] = &[
    b"\x0a\x1a\x0a\x10ABCDEFGHIJKLMNOP\x12\x04v1.2\x18\x01",
    b"\x12\x24\x0a\x10ABCDEFGHIJKLMNOP\x12\x100123456789abcdef",
    b"\x18\xac\x02",
    b"\x2a\x18\x0a\x100123456789abcdef\x12\x04full",
    b"\x32\x00",
    b"\x3a\x10\x0a\x0e10.0.0.7:10250",
    b"\x42\x06\x08\x01\x12\x02no",
    b"\x8a\x01\x23\x0a\x10ABCDEFGHIJKLMNOP\x12\x0a[::1]:8443\x18\x90\x4e\x20\x02",
    b"\x92\x01\x04\x0a\x02no",
    b"\xa2\x01\x15\x0a\x100123456789abcdef\x10\x88\x27",
    b"\xaa\x01\x02\x08\x08",
    b"\xba\x01\x22\x0a\x100123456789abcdef\x12\x08worker-3\x18\x8a\x50\x20\x88\x27",
    b"\x00\x02\x32\x00\x16\x03\x01",
];

/// A frame as it is, and the input as the message of a frame.
pub fn tunnel_frames(data: &[u8]) {
    let message = &data[..data.len().min(limits::TUNNEL_FRAME_BYTES)];
    let length = u16::try_from(message.len()).expect("at most 4096 bytes");
    let framed = [&length.to_be_bytes(), message].concat();
    for bytes in [data, &framed] {
        frame(bytes, ToGateway::parse, ToGateway::write);
        frame(bytes, ToAgent::parse, ToAgent::write);
        let both = (
            ToGateway::parse(bytes, &mut Progress::default()),
            ToAgent::parse(bytes, &mut Progress::default()),
        );
        let readers = [
            matches!(both.0, Ok(Parsed::Complete { .. })),
            matches!(both.1, Ok(Parsed::Complete { .. })),
        ];
        assert_ne!(readers, [true; 2], "a message of both directions");
    }
}

fn frame<T: Debug + PartialEq>(
    bytes: &[u8],
    parse: impl Fn(&[u8], &mut Progress) -> Result<Parsed<T>, FrameError>,
    write: impl Fn(&T, &mut Vec<u8>),
) {
    let read = |bytes: &[u8]| parse(bytes, &mut Progress::default());
    let length = match bytes {
        [high, low, ..] => Some(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    };
    match (read(bytes), length) {
        (Ok(Parsed::Incomplete), None) => {}
        (Ok(Parsed::Incomplete), Some(length)) => {
            assert!(length <= limits::TUNNEL_FRAME_BYTES && bytes.len() < length + 2);
        }
        (Ok(Parsed::Complete { head, consumed }), Some(length)) => {
            assert!(consumed == length + 2 && consumed <= bytes.len());
            let early = read(&bytes[..consumed - 1]);
            assert!(matches!(early, Ok(Parsed::Incomplete)), "{early:?}");
            let mut again = Vec::new();
            write(&head, &mut again);
            assert!(again.len() <= limits::TUNNEL_FRAME_BYTES + 2);
            match read(&again) {
                Ok(Parsed::Complete {
                    head: same,
                    consumed,
                }) => assert_eq!((same, consumed), (head, again.len())),
                other => panic!("own frame read as {other:?}"),
            }
        }
        (Err(error), Some(length)) => {
            let whole = bytes.len() >= length + 2;
            assert!(
                whole || matches!(error, FrameError::TooLarge { .. }),
                "{error}"
            );
            let words = error.to_string();
            assert!(
                words.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                "{words}"
            );
        }
        (other, None) => panic!("{other:?} of less than a length"),
    }
}
