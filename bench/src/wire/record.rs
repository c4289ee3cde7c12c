//! A line of a pod's log that tells which it is, when it was due, and whether it is whole.

use super::Content;
use data_encoding::BASE64URL_NOPAD;

/// Bytes of number, time and boot with a space behind each.
const HEAD: usize = 20 + 1 + 20 + 1 + 16 + 1;

/// Shortest line, its end included: below it there would be little to check.
pub(crate) const SHORTEST: usize = HEAD + 16 + 1;

/// Longest: a container runtime splits lines of 16 KiB.
pub(crate) const LONGEST: usize = 8 * 1024;

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Counts the lines of one writer.
    pub(crate) number: u64,
    /// Nanoseconds of CLOCK_MONOTONIC at which it was due.
    pub(crate) at: u64,
    /// Names the writer's boot, so that a reader knows whether clocks compare.
    pub(crate) boot: u64,
}

impl Record {
    /// The line, `size` bytes with its end.
    pub(crate) fn encode(self, content: &Content, size: usize) -> String {
        let Self { number, at, boot } = self;
        let mut line = format!("{number:020} {at:020} {boot:016x} ");
        let filler = filler(content, &line, size.saturating_sub(HEAD + 1));
        line.push_str(&filler);
        line.push('\n');
        line
    }

    /// Reads a line without its end; none if any byte of it is wrong.
    pub(crate) fn decode(line: &[u8], content: &Content) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let (head, rest) = line.split_at_checked(HEAD)?;
        let mut words = head.split(' ');
        let record = Self {
            number: words.next()?.parse().ok()?,
            at: words.next()?.parse().ok()?,
            boot: u64::from_str_radix(words.next()?, 16).ok()?,
        };
        let whole = line.len() + 1 >= SHORTEST && rest == filler(content, head, rest.len());
        whole.then_some(record)
    }
}

/// Text from a place of the pattern that head and length decide, so that a wrong byte of either, and a
/// line that was cut, do not match.
fn filler(content: &Content, head: &str, len: usize) -> String {
    let bytes = head.bytes().map(u64::from).chain([len as u64]);
    let place = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ byte).wrapping_mul(0x0100_0000_01b3)
    });
    let mut text = String::with_capacity(len + 4);
    let mut place = place % (1 << 40);
    while text.len() < len {
        // Whole groups of three bytes, so that pieces join without padding.
        let piece = content.at(place, 3 * 256);
        let piece = piece.get(..piece.len() / 3 * 3).unwrap_or_default();
        BASE64URL_NOPAD.encode_append(piece, &mut text);
        place += piece.len().max(1) as u64;
    }
    text.truncate(len);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record = Record {
        number: 7,
        at: 123_456_789,
        boot: u64::MAX,
    };

    #[test]
    fn line_is_read_as_it_was_written_in_every_size() {
        let content = Content::new();
        for size in (SHORTEST..SHORTEST + 9).chain([130, 1000, LONGEST]) {
            let line = RECORD.encode(&content, size);
            assert_eq!(line.len(), size);
            let line = line.strip_suffix('\n').unwrap();
            assert!(!line.contains('\n'));
            assert_eq!(Record::decode(line.as_bytes(), &content), Some(RECORD));
        }
    }

    #[test]
    fn line_with_a_changed_lost_or_doubled_byte_is_none() {
        let content = Content::new();
        let line = RECORD.encode(&content, 130);
        let line = line.trim_end().as_bytes();
        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            let mut lost = line.to_vec();
            lost.remove(at);
            let mut doubled = line.to_vec();
            doubled.insert(at, line[at] ^ 1);
            for bad in [changed, lost, doubled, line[..at].to_vec()] {
                assert_eq!(Record::decode(&bad, &content), None, "{at}");
            }
        }
    }
}
