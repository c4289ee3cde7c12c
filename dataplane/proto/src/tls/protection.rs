//! Record protection of one direction (RFC 8446 section 5.2, RFC 5246 section 6.2.3, RFC 5288,
//! RFC 7905): payload is sealed where the record will stand, and opened towards the front of the
//! buffer that it was received into.

use super::aead::{Algorithm, Key, NONCE, RecordLibrary, TAG};
use super::error::{RecordFault, TlsError};
use super::record::{RECORD_HEADER, RECORD_PAYLOAD};
use rustls::{AlertDescription, ConnectionTrafficSecrets as Secrets, ProtocolVersion};
use std::ops::Range;

/// Content types (RFC 8446 section 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;

/// Alert levels (RFC 8446 section 6).
pub(super) const WARNING: u8 = 1;
pub(super) const FATAL: u8 = 2;

/// What both versions write as the version of a record.
const RECORD_VERSION: [u8; 2] = [3, 3];

/// The part of a TLS 1.2 AES-GCM nonce that is sent (RFC 5288 section 3).
const EXPLICIT_NONCE: usize = 8;

/// Records that one AES-GCM key may protect: 2^24.5 by RFC 8446 section 5.5, rounded down. The
/// bound for ChaCha20-Poly1305 is that of the sequence number.
const AES_GCM_RECORDS: u64 = 1 << 24;

/// The most that one record adds to its payload: header 5, explicit nonce 8, tag 16; TLS 1.3 adds
/// less with its header 5, content type 1, tag 16.
pub(super) const RECORD_OVERHEAD: usize = RECORD_HEADER + EXPLICIT_NONCE + TAG;

/// How a version and an AEAD make a record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Tls13,
    Tls12Gcm,
    Tls12ChaCha,
}

/// Key, nonce base and next sequence number of one direction.
pub(super) struct Protection {
    key: Key,
    iv: [u8; NONCE],
    sequence: u64,
    sealable: u64,
    scheme: Scheme,
}

/// A record that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// The content's type, without TLS 1.3's disguise.
    pub(super) kind: u8,
    /// Bytes of content at the front of what was given.
    pub(super) len: usize,
}

impl Protection {
    /// Takes over from rustls, which protected `sequence` records.
    pub(super) fn new(
        library: RecordLibrary,
        version: ProtocolVersion,
        (sequence, secrets): (u64, Secrets),
    ) -> Result<Self, TlsError> {
        let made = Key::new(library, &secrets);
        let (key, iv, gcm) = made.ok_or(TlsError::UnknownCipher)?;
        let scheme = match version {
            ProtocolVersion::TLSv1_3 => Scheme::Tls13,
            ProtocolVersion::TLSv1_2 if gcm => Scheme::Tls12Gcm,
            ProtocolVersion::TLSv1_2 => Scheme::Tls12ChaCha,
            _ => return Err(TlsError::UnknownCipher),
        };
        Ok(Self {
            key,
            iv,
            sequence,
            sealable: if gcm { AES_GCM_RECORDS } else { u64::MAX },
            scheme,
        })
    }

    /// Whether this key may seal no record beyond the two that end it (a key update or an alert).
    pub(super) fn is_used_up(&self) -> bool {
        self.sequence >= self.sealable - 2
    }

    /// Whether the records that `payload` fills reach that bound.
    pub(super) fn is_used_up_within(&self, payload: usize) -> bool {
        let records = (payload / RECORD_PAYLOAD + 1) as u64;
        self.sequence.saturating_add(records) >= self.sealable - 2
    }

    /// Seals one record of at most [`RECORD_PAYLOAD`] bytes into the front of `out`; returns its
    /// length. Nothing is sealed if `out` is shorter than the payload and [`RECORD_OVERHEAD`].
    pub(super) fn seal(
        &mut self,
        kind: u8,
        content: &[u8],
        out: &mut [u8],
    ) -> Result<usize, TlsError> {
        let start = RECORD_HEADER + self.prefix();
        let room = out
            .get_mut(start..start + content.len())
            .ok_or(TlsError::OutputTooSmall {
                required: content.len() + RECORD_OVERHEAD,
            })?;
        room.copy_from_slice(content);
        self.seal_in_place(kind, content.len(), out)
    }

    /// Seals the `content` bytes that stand in `out` behind the room for what goes before them;
    /// returns the record's length.
    fn seal_in_place(
        &mut self,
        kind: u8,
        content: usize,
        out: &mut [u8],
    ) -> Result<usize, TlsError> {
        let prefix = self.prefix();
        let inner = content + usize::from(self.scheme == Scheme::Tls13);
        let len = RECORD_HEADER + prefix + inner + TAG;
        let required = || TlsError::OutputTooSmall { required: len };
        let body = u16::try_from(len - RECORD_HEADER).map_err(|_| required())?;
        let record = out.get_mut(..len).ok_or_else(required)?;
        let sequence = self.next_sequence().ok_or(TlsError::KeyExhausted)?;
        let (nonce, explicit) = self.sealing_nonce(sequence);

        let (head, rest) = record.split_at_mut(RECORD_HEADER + prefix);
        let (text, tag) = rest.split_at_mut(inner);
        let disguised = text.get_mut(content..).unwrap_or_default();
        disguised.fill(kind);
        let outer = if disguised.is_empty() { kind } else { DATA };
        let header = header(outer, body);
        let (header_room, explicit_room) = head.split_at_mut(RECORD_HEADER);
        header_room.copy_from_slice(&header);
        explicit_room.copy_from_slice(explicit.get(..prefix).unwrap_or_default());

        let sealed = match self.scheme {
            Scheme::Tls13 => self.key.seal(nonce, &header, text),
            Scheme::Tls12Gcm | Scheme::Tls12ChaCha => {
                let aad = tls12_aad(sequence, kind, content);
                self.key.seal(nonce, &aad, text)
            }
        };
        // Only what is longer than a record can be is refused.
        tag.copy_from_slice(&sealed.map_err(|_| required())?);
        Ok(len)
    }

    /// Whether records of this key take payload that stands in [`Layout::Slots`](super::Layout::Slots).
    pub(super) fn takes_slots(&self) -> bool {
        self.scheme == Scheme::Tls13
    }

    /// Seals data that stands in slots, one record in each.
    pub(super) fn seal_slots(
        &mut self,
        payload: usize,
        buffer: &mut [u8],
    ) -> Result<usize, TlsError> {
        let mut at = 0;
        let mut left = payload;
        while left > 0 {
            let content = left.min(RECORD_PAYLOAD);
            let record = buffer.get_mut(at..).unwrap_or_default();
            at += self.seal_in_place(DATA, content, record)?;
            left -= content;
        }
        Ok(at)
    }

    /// Opens the record at `buffer[record]`; its content moves to `buffer[to..]`, which must not lie
    /// behind it.
    ///
    /// The caller has checked the length by [`Protection::check_header`].
    pub(super) fn open(
        &mut self,
        buffer: &mut [u8],
        record: Range<usize>,
        to: usize,
    ) -> Result<Opened, RecordFault> {
        let (header, body) = buffer
            .get(record.clone())
            .and_then(<[u8]>::split_first_chunk::<RECORD_HEADER>)
            .ok_or(RecordFault::Authentication)?;
        let header = *header;
        let [outer, ..] = header;
        let prefix = self.prefix();
        let explicit = body.get(..prefix).ok_or(RecordFault::Authentication)?;
        let content = body
            .len()
            .checked_sub(prefix + TAG)
            .ok_or(RecordFault::Authentication)?;
        let sequence = self.next_sequence().ok_or(RecordFault::Authentication)?;
        let nonce = self.opening_nonce(sequence, explicit);
        let shift = (record.start + RECORD_HEADER + prefix)
            .checked_sub(to)
            .ok_or(RecordFault::Authentication)?;
        let region = buffer
            .get_mut(to..record.end)
            .ok_or(RecordFault::Authentication)?;
        let opened = match self.scheme {
            Scheme::Tls13 => self.key.open(nonce, &header, region, shift),
            Scheme::Tls12Gcm | Scheme::Tls12ChaCha => {
                let aad = tls12_aad(sequence, outer, content);
                self.key.open(nonce, &aad, region, shift)
            }
        };
        let len = opened.map_err(|_| RecordFault::Authentication)?;
        let opened = match self.scheme {
            Scheme::Tls13 => unpadded(region.get(..len).unwrap_or_default())?,
            Scheme::Tls12Gcm | Scheme::Tls12ChaCha => Opened { kind: outer, len },
        };
        if opened.len > RECORD_PAYLOAD {
            return Err(RecordFault::Oversized);
        }
        Ok(opened)
    }

    /// Checks the type and length that a record's header claims; returns the record's whole length.
    pub(super) fn check_header(&self, header: &[u8; RECORD_HEADER]) -> Result<usize, RecordFault> {
        let [outer, major, minor, high, low] = *header;
        let body = usize::from(u16::from_be_bytes([high, low]));
        // Type byte, padding and tag within 256 bytes (RFC 8446 section 5.2); 2048 in RFC 5246.
        let slack = match self.scheme {
            Scheme::Tls13 => 256,
            Scheme::Tls12Gcm | Scheme::Tls12ChaCha => 2048,
        };
        let disguised = self.scheme != Scheme::Tls13 || outer == DATA;
        if [major, minor] != RECORD_VERSION || !disguised {
            return Err(RecordFault::Unexpected);
        }
        if body > RECORD_PAYLOAD + slack {
            return Err(RecordFault::Oversized);
        }
        Ok(RECORD_HEADER + body)
    }

    fn prefix(&self) -> usize {
        match self.scheme {
            Scheme::Tls12Gcm => EXPLICIT_NONCE,
            Scheme::Tls13 | Scheme::Tls12ChaCha => 0,
        }
    }

    fn next_sequence(&mut self) -> Option<u64> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1)?;
        Some(sequence)
    }

    /// Every version's nonce: the base with the sequence number laid over its end. What TLS 1.2
    /// AES-GCM sends of it is unique in the same way.
    fn sealing_nonce(&self, sequence: u64) -> ([u8; NONCE], [u8; EXPLICIT_NONCE]) {
        let mut nonce = self.iv;
        let mut explicit = [0; EXPLICIT_NONCE];
        if let Some(counter) = nonce.last_chunk_mut::<EXPLICIT_NONCE>() {
            for (byte, with) in counter.iter_mut().zip(sequence.to_be_bytes()) {
                *byte ^= with;
            }
            explicit = *counter;
        }
        (nonce, explicit)
    }

    fn opening_nonce(&self, sequence: u64, explicit: &[u8]) -> [u8; NONCE] {
        if explicit.is_empty() {
            return self.sealing_nonce(sequence).0;
        }
        let mut nonce = self.iv;
        if let Some(sent) = nonce.last_chunk_mut::<EXPLICIT_NONCE>() {
            sent.copy_from_slice(explicit);
        }
        nonce
    }
}

/// A fatal alert before any key is known.
pub(super) fn plain_alert(alert: AlertDescription) -> Vec<u8> {
    let mut record = header(ALERT, 2).to_vec();
    record.extend([FATAL, alert.into()]);
    record
}

fn header(kind: u8, body: u16) -> [u8; RECORD_HEADER] {
    let [major, minor] = RECORD_VERSION;
    let [high, low] = body.to_be_bytes();
    [kind, major, minor, high, low]
}

/// Additional data of TLS 1.2: sequence number, type, version, length of the content.
fn tls12_aad(sequence: u64, kind: u8, content: usize) -> [u8; 13] {
    let [a, b, c, d, e, f, g, h] = sequence.to_be_bytes();
    let [major, minor] = RECORD_VERSION;
    // No record is longer: `seal` and `check_header` have seen to that.
    let [high, low] = u16::try_from(content).unwrap_or(u16::MAX).to_be_bytes();
    [a, b, c, d, e, f, g, h, kind, major, minor, high, low]
}

/// Takes the padding and the content type off a TLS 1.3 record (RFC 8446 section 5.4).
fn unpadded(inner: &[u8]) -> Result<Opened, RecordFault> {
    if inner.len() > RECORD_PAYLOAD + 1 {
        return Err(RecordFault::Oversized);
    }
    let len = inner
        .iter()
        .rposition(|byte| *byte != 0)
        .ok_or(RecordFault::Unexpected)?;
    let kind = inner.get(len).copied().ok_or(RecordFault::Unexpected)?;
    Ok(Opened { kind, len })
}

/// Keys that no handshake made.
pub(super) struct Traffic {
    pub(super) algorithm: Algorithm,
    pub(super) key: Vec<u8>,
    pub(super) iv: [u8; NONCE],
    /// Of the next record.
    pub(super) sequence: u64,
}

impl Protection {
    /// Protects records of TLS 1.3 or 1.2 with given keys; `None` if the key has another length
    /// than its algorithm's.
    pub(super) fn of(library: RecordLibrary, tls13: bool, traffic: &Traffic) -> Option<Self> {
        let gcm = traffic.algorithm != Algorithm::ChaCha20Poly1305;
        Some(Self {
            key: Key::of(library, traffic.algorithm, &traffic.key)?,
            iv: traffic.iv,
            sequence: traffic.sequence,
            sealable: if gcm { AES_GCM_RECORDS } else { u64::MAX },
            scheme: match (tls13, gcm) {
                (true, _) => Scheme::Tls13,
                (false, true) => Scheme::Tls12Gcm,
                (false, false) => Scheme::Tls12ChaCha,
            },
        })
    }
}

#[cfg(test)]
impl Protection {
    /// Leaves one record before [`Protection::is_used_up`].
    pub(super) fn skip_to_used_up(&mut self) {
        self.sequence = AES_GCM_RECORDS - 3;
    }
}
