//! Bytes that tell where they belong: a pattern whose period is prime, so that a piece that is lost,
//! doubled or moved does not match.

/// Length of the pattern: the largest prime below 1 MiB, coprime to every buffer size there is.
const PERIOD: usize = 1_048_573;

/// The bytes that generators send.
#[derive(Debug)]
pub(crate) struct Content(Vec<u8>);

impl Content {
    /// Makes the pattern (xorshift: of no quality, but of fixed outcome).
    pub(crate) fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Self(words.flatten().take(PERIOD).collect())
    }

    /// Some bytes from `offset` on, `most` at most and never none unless `most` is 0.
    pub(crate) fn at(&self, offset: u64, most: u64) -> &[u8] {
        let from = (offset % PERIOD as u64) as usize;
        let rest = self.0.get(from..).unwrap_or_default();
        let len = usize::try_from(most).map_or(rest.len(), |most| most.min(rest.len()));
        rest.get(..len).unwrap_or_default()
    }

    /// Whether `bytes` are those that belong at `offset`.
    pub(crate) fn matches(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.at(offset, bytes.len() as u64);
            let (now, rest) = bytes.split_at(expected.len());
            if now != expected {
                return false;
            }
            offset += now.len() as u64;
            bytes = rest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_match_where_they_belong_and_nowhere_else() {
        let content = Content::new();
        let offset = PERIOD as u64 - 3;
        let mut piece = content.at(offset, 10).to_vec();
        assert_eq!(piece.len(), 3);
        piece.extend_from_slice(content.at(offset + 3, 7));
        assert!(content.matches(offset, &piece));
        assert!(!content.matches(offset + 1, &piece));
        assert!(!content.matches(offset - 4096, &piece));
    }
}
