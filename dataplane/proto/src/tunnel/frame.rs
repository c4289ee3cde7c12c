//! Puts a message into a frame and takes it out, and the fields that several messages have.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use prost::Message;

use super::schema::{Frame, Kind};
use super::{FrameError, Words};
use crate::limits;
use crate::parse::Parsed;

/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 2;

/// What a deadline may be, in milliseconds; 0 is over already.
const DEADLINE_MS: RangeInclusive<u32> = 0..=limits::TUNNEL_DEADLINE_MS;

/// Appends a frame. All text was bounded when it was made, so the length always fits.
pub(super) fn put(kind: Kind, out: &mut Vec<u8>) {
    let frame = Frame { kind: Some(kind) };
    let length = u16::try_from(frame.encoded_len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&frame.encode_to_vec());
}

/// Takes the frame at the beginning of a buffer.
pub(super) fn take(bytes: &[u8]) -> Result<Parsed<Kind>, FrameError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(Parsed::Incomplete);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 {
        return Err(FrameError::Empty);
    }
    if length > limits::TUNNEL_FRAME_BYTES {
        return Err(FrameError::TooLarge { bytes: length });
    }
    let Some(message) = rest.get(..length) else {
        return Ok(Parsed::Incomplete);
    };
    let frame = Frame::decode(message).map_err(|cause| FrameError::Malformed {
        bytes: length,
        cause,
    })?;
    let head = frame.kind.ok_or_else(|| FrameError::Unknown {
        field: first_field(message),
    })?;
    Ok(Parsed::Complete {
        head,
        consumed: LENGTH_BYTES + length,
    })
}

/// Gives the number of the first field of a well-formed message, 0 if there is none.
fn first_field(mut message: &[u8]) -> u64 {
    prost::encoding::decode_varint(&mut message).map_or(0, |key| key >> 3)
}

/// Reads an id.
pub(super) fn id(field: &'static str, bytes: &[u8]) -> Result<[u8; 16], FrameError> {
    bytes.try_into().map_err(|_| FrameError::Id {
        field,
        bytes: bytes.len(),
    })
}

/// Reads an address and port in their textual form.
pub(super) fn address(field: &'static str, text: &str) -> Result<SocketAddr, FrameError> {
    text.parse().map_err(|cause| FrameError::Address {
        field,
        got: Words::new(text),
        cause,
    })
}

/// Reads a number that has bounds.
pub(super) fn within(
    field: &'static str,
    got: u32,
    range: RangeInclusive<u32>,
) -> Result<u32, FrameError> {
    if range.contains(&got) {
        Ok(got)
    } else {
        Err(FrameError::OutOfRange { field, got, range })
    }
}

/// Reads the milliseconds until a deadline.
pub(super) fn deadline(field: &'static str, ms: u32) -> Result<Duration, FrameError> {
    within(field, ms, DEADLINE_MS).map(|ms| Duration::from_millis(ms.into()))
}

/// Gives a time in whole milliseconds, moved into its range.
pub(super) fn millis(time: Duration, range: &RangeInclusive<u32>) -> u32 {
    u32::try_from(time.as_millis())
        .unwrap_or(u32::MAX)
        .clamp(*range.start(), *range.end())
}

/// Gives the milliseconds until a deadline, as `deadline` reads them.
pub(super) fn deadline_ms(time: Duration) -> u32 {
    millis(time, &DEADLINE_MS)
}
