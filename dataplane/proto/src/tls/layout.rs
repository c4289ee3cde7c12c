//! Where payload stands in the buffer that it was opened in.

use super::record::{RECORD_FULL, RECORD_HEADER, RECORD_PAYLOAD};

/// How payload lies in a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// In one piece at the front.
    #[default]
    Dense,
    /// In pieces of a full record's payload, with room for the rest of a TLS 1.3 record around each: it
    /// can be sealed where it stands. Full records stand so when they come in.
    Slots,
}

impl Layout {
    /// Where the byte behind `payload` others goes.
    pub(super) fn position(self, payload: usize) -> usize {
        match self {
            Self::Dense => payload,
            Self::Slots => {
                payload / RECORD_PAYLOAD * RECORD_FULL + RECORD_HEADER + payload % RECORD_PAYLOAD
            }
        }
    }

    /// Whether up to `content` bytes more, which now stand at `from`, can be opened to their place.
    pub(super) fn takes(self, payload: usize, content: usize, from: usize) -> bool {
        match self {
            Self::Dense => true,
            Self::Slots => {
                payload % RECORD_PAYLOAD + content <= RECORD_PAYLOAD
                    && self.position(payload) <= from
            }
        }
    }
}

/// Moves payload that stands in slots together at the front.
pub(super) fn compact(buffer: &mut [u8], payload: usize) {
    let mut moved = 0;
    while moved < payload {
        let piece = (payload - moved).min(RECORD_PAYLOAD);
        let from = Layout::Slots.position(moved);
        buffer.copy_within(from..from + piece, moved);
        moved += piece;
    }
}
