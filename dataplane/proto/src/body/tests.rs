use proptest::prelude::*;

use super::*;

const CHUNKED: &[u8] = b"5\r\nhello\r\n1a;name=\"v\";x\r\nabcdefghijklmnopqrstuvwxyz\r\n\
    00A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\nX-Sum: a b\r\nY:\r\n\r\n";

fn whole(framing: Framing, input: &[u8]) -> Result<Taken, BodyError> {
    BodyDecoder::new(framing).take(input)
}

/// Feeds the input cut at these places, and adds up what was taken.
fn pieces(framing: Framing, input: &[u8], cuts: &[usize]) -> Result<Taken, BodyError> {
    let mut decoder = BodyDecoder::new(framing);
    let mut bytes = 0;
    let mut start = 0;
    for end in cuts.iter().copied().chain([input.len()]) {
        let end = end.clamp(start, input.len());
        let taken = decoder.take(&input[start..end])?;
        assert!(taken.bytes <= end - start);
        assert_eq!(taken.ended, decoder.ended());
        assert!(
            taken.ended || taken.bytes == end - start,
            "stopped before the end"
        );
        bytes += taken.bytes;
        start = end;
    }
    Ok(Taken {
        bytes,
        ended: decoder.ended(),
    })
}

#[test]
fn chunked_every_prefix_is_open_then_ended() {
    for end in 0..CHUNKED.len() {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let taken = decoder.take(&CHUNKED[..end]).unwrap();
        assert_eq!(
            taken,
            Taken {
                bytes: end,
                ended: false
            }
        );
        assert_eq!(decoder.peer_ended(), Err(Truncated), "{end}");
    }
    let mut input = CHUNKED.to_vec();
    input.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    assert_eq!(
        decoder.take(&input),
        Ok(Taken {
            bytes: CHUNKED.len(),
            ended: true
        })
    );
    assert_eq!(decoder.peer_ended(), Ok(()));
    assert_eq!(
        decoder.take(b"more"),
        Ok(Taken {
            bytes: 0,
            ended: true
        })
    );
}

#[test]
fn length_counts_exactly() {
    let mut decoder = BodyDecoder::new(Framing::Length(5));
    assert_eq!(
        decoder.take(b"abc"),
        Ok(Taken {
            bytes: 3,
            ended: false
        })
    );
    assert_eq!(decoder.peer_ended(), Err(Truncated));
    assert_eq!(
        decoder.take(b"defg"),
        Ok(Taken {
            bytes: 2,
            ended: true
        })
    );
    assert_eq!(decoder.peer_ended(), Ok(()));
    for empty in [Framing::None, Framing::Length(0)] {
        assert!(BodyDecoder::new(empty).ended());
        assert_eq!(
            whole(empty, b"next"),
            Ok(Taken {
                bytes: 0,
                ended: true
            })
        );
    }
    let huge = whole(Framing::Length(u64::MAX), b"x");
    assert_eq!(
        huge,
        Ok(Taken {
            bytes: 1,
            ended: false
        })
    );
}

#[test]
fn until_close_takes_all_and_may_end_anywhere() {
    let mut decoder = BodyDecoder::new(Framing::UntilClose);
    assert_eq!(
        decoder.take(b"abc"),
        Ok(Taken {
            bytes: 3,
            ended: false
        })
    );
    assert_eq!(decoder.peer_ended(), Ok(()));
}

#[test]
fn chunked_hostile_bodies_are_refused_by_cause() {
    use BodyError as E;
    let long = |bytes: usize| format!("1;{}\r\na\r\n", "x".repeat(bytes));
    let many = long(limits::CHUNK_EXTENSION_BYTES)
        .repeat(limits::CHUNK_EXTENSIONS_BYTES / limits::CHUNK_EXTENSION_BYTES + 1);
    let trailers = format!("0\r\nX: {}\r\n\r\n", "y".repeat(limits::TRAILER_BYTES));
    let lines = format!("0\r\n{}\r\n", "X: y\r\n".repeat(limits::TRAILER_BYTES / 5));
    for (input, expected) in [
        ("g\r\n", E::ChunkSize),
        ("\r\n", E::ChunkSize),
        (";x\r\n", E::ChunkSize),
        (" 5\r\n", E::ChunkSize),
        ("5 \r\n", E::ChunkSize),
        ("5\t;x\r\n", E::ChunkSize),
        ("+5\r\n", E::ChunkSize),
        ("-5\r\n", E::ChunkSize),
        ("0x5\r\n", E::ChunkSize),
        ("5_0\r\n", E::ChunkSize),
        ("5\nhello\r\n", E::LineEnd),
        ("5\r\rhello", E::LineEnd),
        ("5;a\nhello\r\n", E::ChunkExtension),
        ("5;a\0\r\n", E::ChunkExtension),
        ("5;a\u{e9}\r\n", E::ChunkExtension),
        ("5;a\r5\r\n", E::LineEnd),
        ("00000000000000005\r\n", E::ChunkSizeDigits),
        ("fffffffffffffffff\r\n", E::ChunkSizeDigits),
        ("5\r\nhello!\r\n", E::LineEnd),
        ("5\r\nhello\n0\r\n", E::LineEnd),
        ("5\r\nhello\rx", E::LineEnd),
        ("5\r\nhell\r\n0\r\n\r\n", E::LineEnd),
        ("0\r\n\n", E::Trailer),
        ("0\r\n\rx", E::LineEnd),
        ("0\r\n folded\r\n", E::Trailer),
        ("0\r\nX : y\r\n", E::Trailer),
        ("0\r\n: y\r\n", E::Trailer),
        ("0\r\nX\r\n", E::Trailer),
        ("0\r\nX: a\nY: b\r\n\r\n", E::Trailer),
        ("0\r\nX: a\rb\r\n\r\n", E::LineEnd),
        ("0\r\nX: a\0\r\n\r\n", E::Trailer),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", E::Trailer),
        ("0\r\ncontent-LENGTH: 5\r\n\r\n", E::TrailerName),
        (
            "0\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n",
            E::TrailerName,
        ),
        ("0\r\nAuthorization: x\r\n\r\n", E::TrailerName),
        ("0\r\nX-Remote-User: x\r\n\r\n", E::TrailerName),
        ("0\r\nimpersonate_user: x\r\n\r\n", E::TrailerName),
        (&long(limits::CHUNK_EXTENSION_BYTES + 1), E::ChunkExtension),
        (&many, E::ChunkExtension),
        (&trailers, E::TrailersTooLarge),
        (&lines, E::TrailersTooLarge),
    ] {
        let mut decoder = BodyDecoder::new(Framing::Chunked);
        let shown = &input[..input.len().min(60)];
        assert_eq!(decoder.take(input.as_bytes()), Err(expected), "{shown:?}");
        assert_eq!(decoder.take(b"0\r\n\r\n"), Err(expected), "an error stays");
        assert_eq!(decoder.peer_ended(), Err(Truncated));
    }
    assert!(
        whole(
            Framing::Chunked,
            long(limits::CHUNK_EXTENSION_BYTES).as_bytes()
        )
        .is_ok()
    );
    let largest = whole(Framing::Chunked, b"ffffffffffffffff\r\nx");
    assert_eq!(
        largest,
        Ok(Taken {
            bytes: 19,
            ended: false
        })
    );
}

proptest! {
    #[test]
    fn chunked_any_chunks_in_any_pieces_end_at_their_end(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in prop::collection::vec(0..400usize, 0..8),
        rest in prop::collection::vec(any::<u8>(), 0..10),
    ) {
        let mut input = Vec::new();
        for chunk in &chunks {
            input.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            input.extend_from_slice(chunk);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\n\r\n");
        let bytes = input.len();
        input.extend_from_slice(&rest);
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(pieces(Framing::Chunked, &input, &cuts), Ok(Taken { bytes, ended: true }));
    }

    #[test]
    fn chunked_spoilt_in_any_pieces_gives_what_it_gives_whole(
        at in 0..CHUNKED.len(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(0..CHUNKED.len(), 0..8),
    ) {
        let mut input = CHUNKED.to_vec();
        input[at] = byte;
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(pieces(Framing::Chunked, &input, &cuts), whole(Framing::Chunked, &input));
    }
}
