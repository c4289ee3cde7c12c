//! The header of a frame: what it is and how much payload follows.

/// Bytes of a header.
pub(crate) const HEADER: usize = 24;

/// Where a header's check lies: it covers all other bytes.
const CHECK: std::ops::Range<usize> = 1..4;

/// What a frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// First of the far end: `id` names its boot, so that a client knows whether clocks compare.
    Greeting,
    /// Payload of a bulk transfer, or an answer.
    Data,
    /// The last frame: `id` is how many payload bytes its sender sent, `at` how many it received.
    End,
    /// A short connection inside of a session begins.
    Open,
    /// It ends.
    Close,
    /// One record of a log; `at` is when it was due.
    Line,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Greeting,
        Self::Data,
        Self::End,
        Self::Open,
        Self::Close,
        Self::Line,
    ];
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What it means.
    pub(crate) kind: Kind,
    /// Payload bytes that follow.
    pub(crate) len: u32,
    /// Which short connection, or a count.
    pub(crate) id: u64,
    /// Nanoseconds of CLOCK_MONOTONIC, or a count.
    pub(crate) at: u64,
}

impl Frame {
    /// A frame without `id` and `at`.
    pub(crate) fn new(kind: Kind, len: u32) -> Self {
        Self {
            kind,
            len,
            id: 0,
            at: 0,
        }
    }

    /// As it goes over the wire.
    pub(crate) fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[4..8].copy_from_slice(&self.len.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.id.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.at.to_be_bytes());
        let check = check(&bytes);
        bytes[CHECK].copy_from_slice(&check);
        bytes
    }

    /// Reads a header; none if these bytes are not one.
    pub(crate) fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let [kind, c0, c1, c2, l0, l1, l2, l3, rest @ ..] = *bytes;
        let (id, at) = rest.split_first_chunk::<8>()?;
        ([c0, c1, c2] == check(bytes)).then_some(())?;
        Some(Self {
            kind: *Kind::ALL.get(usize::from(kind))?,
            len: u32::from_be_bytes([l0, l1, l2, l3]),
            id: u64::from_be_bytes(*id),
            at: u64::from_be_bytes(at.try_into().ok()?),
        })
    }
}

/// 24 bits of FNV-1a over a header without its check: no single changed byte passes.
fn check(bytes: &[u8; HEADER]) -> [u8; 3] {
    let hash = bytes
        .iter()
        .enumerate()
        .filter(|(at, _)| !CHECK.contains(at))
        .fold(0x811c_9dc5_u32, |hash, (_, &byte)| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    let [top, a, b, c] = hash.to_be_bytes();
    [a ^ top, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_as_it_went() {
        for kind in Kind::ALL {
            let frame = Frame {
                kind,
                len: 0x0102_0304,
                id: u64::MAX - 1,
                at: 7,
            };
            assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        }
    }

    #[test]
    fn header_with_any_changed_byte_is_none() {
        let good = Frame::new(Kind::Data, 1).encode();
        for at in 0..HEADER {
            for bit in 0..8 {
                let mut bad = good;
                bad[at] ^= 1 << bit;
                assert_eq!(Frame::decode(&bad), None, "byte {at}");
            }
        }
    }
}
