//! Sizes of TLS records, and where one ends.

use super::aead::TAG;
use super::messages::KEY_UPDATE_BYTES;
use super::protection::RECORD_OVERHEAD;

/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 5;

/// Payload of a full record (RFC 8446 section 5.1).
pub const RECORD_PAYLOAD: usize = 16 * 1024;

/// A full record of TLS 1.3 on the wire: header, payload, content type, tag. Of bulk almost all are full.
pub const RECORD_FULL: usize = RECORD_HEADER + RECORD_PAYLOAD + 1 + TAG;

/// Longest record on the wire: header, payload and what TLS 1.2 may add (RFC 5246 section 6.2.3);
/// TLS 1.3 adds less. A receive buffer must hold at least one.
pub const RECORD_MAX: usize = RECORD_HEADER + RECORD_PAYLOAD + 2048;

/// Room for what waits to go out ahead of the data: answers to key updates, an alert.
const WAITING: usize = 512;

/// Ciphertext that may wait for the rest of its record or handshake message: the longest handshake
/// message that rustls takes (64 KiB) in records of full size.
pub const PENDING_MAX: usize = 4 * RECORD_MAX;

/// The longest output that [`Session::seal`](super::Session::seal) makes of `plaintext` bytes, with
/// room for what waits.
pub const fn sealed_bound(plaintext: usize) -> usize {
    WAITING + sealed_alone(plaintext)
}

/// The longest output of `plaintext` bytes alone: its records, and a key update before one of them.
pub(super) const fn sealed_alone(plaintext: usize) -> usize {
    let records = plaintext / RECORD_PAYLOAD + 1;
    plaintext + records * RECORD_OVERHEAD + KEY_UPDATE_BYTES + RECORD_OVERHEAD
}

/// What the first bytes from a client say of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstRecord {
    /// A handshake record; so many bytes are needed, header included, to know more or to have it whole.
    Needs(usize),
    /// No handshake record of TLS: a server fails on it without any cryptography.
    Foreign,
}

/// Looks at the first bytes of a connection, of which a server waits for a whole record before it begins
/// a handshake. A ClientHello that is spread over several records counts as there with the first.
pub fn first_record(start: &[u8]) -> FirstRecord {
    const HANDSHAKE: u8 = 22;
    const MAJOR: u8 = 3;
    match start {
        []
        | [HANDSHAKE]
        | [HANDSHAKE, MAJOR]
        | [HANDSHAKE, MAJOR, _]
        | [HANDSHAKE, MAJOR, _, _] => FirstRecord::Needs(RECORD_HEADER),
        [HANDSHAKE, MAJOR, _, high, low, ..] => {
            match usize::from(u16::from_be_bytes([*high, *low])) {
                body @ 1..=RECORD_PAYLOAD => FirstRecord::Needs(RECORD_HEADER + body),
                _ => FirstRecord::Foreign,
            }
        }
        _ => FirstRecord::Foreign,
    }
}

/// Bytes on the wire that complete the last record in `ciphertext`: up to 5 for its header, then
/// what the header says; 0 at a record's end, 5 for nothing at all.
pub(super) fn missing_to_record_end(mut ciphertext: &[u8]) -> usize {
    loop {
        let [_, _, _, high, low, rest @ ..] = ciphertext else {
            return RECORD_HEADER - ciphertext.len();
        };
        let body = usize::from(u16::from_be_bytes([*high, *low]));
        match rest.get(body..) {
            None => return body - rest.len(),
            Some([]) => return 0,
            Some(next) => ciphertext = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_record_of_every_prefix_of_a_hello_needs_the_header_and_then_the_whole() {
        let hello = [[22, 3, 1, 2, 0].as_slice(), &[1; 512]].concat();
        for length in 0..=hello.len() {
            let needs = if length < RECORD_HEADER { 5 } else { 517 };
            assert_eq!(
                first_record(&hello[..length]),
                FirstRecord::Needs(needs),
                "{length}"
            );
        }
    }

    #[test]
    fn first_record_that_is_none_of_a_handshake_is_foreign() {
        for start in [
            b"GET /".as_slice(),
            b"\x16\x02",
            b"\x15\x03\x01\x00\x02",
            b"\x16\x03\x01\x00\x00",
            b"\x16\x03\x01\x40\x01",
            b"\x80\x2e\x01\x00\x02",
        ] {
            assert_eq!(first_record(start), FirstRecord::Foreign, "{start:?}");
        }
        let longest = [22, 3, 1, 0x40, 0];
        assert_eq!(
            first_record(&longest),
            FirstRecord::Needs(RECORD_HEADER + RECORD_PAYLOAD)
        );
    }
}
