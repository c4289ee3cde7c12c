//! Sizes of TLS records, and where one ends.

/// Bytes of a record's header.
pub const RECORD_HEADER: usize = 5;

/// Payload of a full record (RFC 8446 section 5.1).
pub const RECORD_PAYLOAD: usize = 16 * 1024;

/// Longest record on the wire: header, payload and what TLS 1.2 may add (RFC 5246 section 6.2.3);
/// TLS 1.3 adds less. A receive buffer must hold at least one.
pub const RECORD_MAX: usize = RECORD_HEADER + RECORD_PAYLOAD + 2048;

/// Upper bound of what sealing adds to one record: header 5, TLS 1.2 GCM nonce 8, tag 16, inner
/// type 1, rounded up.
const RECORD_OVERHEAD: usize = 64;

/// Room for messages that may go out ahead of the data: a key update, an alert.
pub(super) const CONTROL_HEADROOM: usize = 512;

/// Ciphertext that may wait for the rest of its record or handshake message: the longest handshake
/// message that rustls takes (64 KiB) in records of full size.
pub const PENDING_MAX: usize = 4 * RECORD_MAX;

/// The longest output that [`Session::seal`](super::Session::seal) makes of `plaintext` bytes.
pub const fn sealed_bound(plaintext: usize) -> usize {
    plaintext + (plaintext / RECORD_PAYLOAD + 1) * RECORD_OVERHEAD + CONTROL_HEADROOM
}

/// Bytes on the wire that complete the last record in `ciphertext`: up to 5 for its header, then
/// what the header says; 0 at a record's end, 5 for nothing at all. Lets a caller read exactly to
/// a record boundary, as the hand-over to kernel TLS demands.
pub fn missing_to_record_end(mut ciphertext: &[u8]) -> usize {
    loop {
        let [_, _, _, high, low, rest @ ..] = ciphertext else {
            return 5 - ciphertext.len();
        };
        let body = usize::from(u16::from_be_bytes([*high, *low]));
        match rest.get(body..) {
            None => return body - rest.len(),
            Some([]) => return 0,
            Some(next) => ciphertext = next,
        }
    }
}
