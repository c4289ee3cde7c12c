//! The lines that wait: whole, in order, and within a bound.

use super::limits::AGAIN_QUARTERS;

/// Which lines are given up first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// May use the room.
    Ordinary,
    /// May use the room and the reserve.
    Important,
}

/// A line that says how many are missing where it stands, and why.
pub type Gap = fn(lost: u64, why: &str) -> Vec<u8>;

/// Lines that wait, or that the writer took and has not written.
#[derive(Debug)]
pub(super) struct Queue {
    room: usize,
    reserve: usize,
    gap: Gap,
    waiting: Vec<u8>,
    waiting_lines: u64,
    /// What the writer has and did not write yet.
    taken: usize,
    taken_lines: u64,
    /// A line was lost, and the room is not free enough yet.
    losing: bool,
    /// Lines that were lost and that no line tells of yet, and what was in the way.
    untold: u64,
    why: String,
    lost: u64,
}

impl Queue {
    pub(super) fn new(room: usize, reserve: usize, gap: Gap) -> Self {
        Self {
            room,
            reserve,
            gap,
            waiting: Vec::new(),
            waiting_lines: 0,
            taken: 0,
            taken_lines: 0,
            losing: false,
            untold: 0,
            why: String::new(),
            lost: 0,
        }
    }

    /// Adds a line, which ends with a line feed, or counts it as lost; `why` is what is in the way then.
    pub(super) fn push(&mut self, line: &[u8], rank: Rank, why: &str) -> bool {
        self.settle();
        let limit = match rank {
            Rank::Ordinary if self.losing => 0,
            Rank::Ordinary => self.room,
            Rank::Important => self.room + self.reserve,
        };
        if self.bytes() + line.len() > limit {
            self.lose(lines_in(line), why);
            return false;
        }
        self.append(line);
        true
    }

    /// Gives the writer all that waits; `into` is empty before. False: nothing waits.
    pub(super) fn take(&mut self, into: &mut Vec<u8>) -> bool {
        self.settle();
        std::mem::swap(&mut self.waiting, into);
        self.taken += into.len();
        self.taken_lines += std::mem::take(&mut self.waiting_lines);
        !into.is_empty()
    }

    /// The writer wrote bytes of what it took, and with them the ends of so many lines.
    pub(super) fn wrote(&mut self, bytes: usize, lines: u64) {
        self.taken = self.taken.saturating_sub(bytes);
        self.taken_lines = self.taken_lines.saturating_sub(lines);
    }

    /// The writer begins its line again, of which it had written bytes.
    pub(super) fn unwrote(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Gives up all that is left; returns how many lines that is.
    pub(super) fn abandon(&mut self) -> u64 {
        let left = self.lines();
        self.waiting = Vec::new();
        (self.waiting_lines, self.taken, self.taken_lines) = (0, 0, 0);
        self.lost += left;
        left
    }

    /// Bytes that are not written.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.len() + self.taken
    }

    /// Lines that are not written.
    pub(super) fn lines(&self) -> u64 {
        self.waiting_lines + self.taken_lines
    }

    /// Lines that were given up.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether an ordinary line would be given up, or hardly fit.
    pub(super) fn is_full(&self) -> bool {
        self.losing || self.bytes() >= self.room
    }

    fn lose(&mut self, lines: u64, why: &str) {
        if self.untold == 0 {
            why.clone_into(&mut self.why);
        }
        self.losing = true;
        self.lost += lines;
        self.untold += lines;
    }

    /// Ends a loss when there is room again, and tells of it where it was.
    fn settle(&mut self) {
        if !self.losing || self.bytes() > self.room / 4 * AGAIN_QUARTERS {
            return;
        }
        self.losing = false;
        let line = (self.gap)(std::mem::take(&mut self.untold), &self.why);
        self.append(&line);
    }

    fn append(&mut self, line: &[u8]) {
        self.waiting.extend_from_slice(line);
        self.waiting_lines += lines_in(line);
    }
}

/// Counts line ends.
pub(super) fn lines_in(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// How much of `bytes` one write takes: whole lines up to `chunk`, or one line that is longer.
pub(super) fn portion(bytes: &[u8], chunk: usize) -> &[u8] {
    let first = bytes.get(..chunk).unwrap_or(bytes);
    let end = match first.iter().rposition(|byte| *byte == b'\n') {
        Some(last) => last + 1,
        None => bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |end| end + 1),
    };
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(lost: u64, why: &str) -> Vec<u8> {
        format!("-{lost} {why}\n").into_bytes()
    }

    fn taken(queue: &mut Queue) -> String {
        let mut bytes = Vec::new();
        queue.take(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn push_beyond_the_room_is_lost_and_told_where_it_was() {
        let mut queue = Queue::new(40, 0, gap);
        for number in 0..10 {
            assert!(queue.push(format!("{number}..\n").as_bytes(), Rank::Ordinary, "why"));
        }
        assert!(queue.is_full());
        assert!(!queue.push(b"10.\n", Rank::Ordinary, "why"));
        assert!(!queue.push(b"11.\n", Rank::Ordinary, "why"));
        assert_eq!((queue.lost(), queue.lines()), (2, 10));
        let mut batch = Vec::new();
        assert!(queue.take(&mut batch));
        queue.wrote(8, 2);
        assert!(!queue.push(b"12.\n", Rank::Ordinary, "why"), "not yet");
        queue.wrote(4, 1);
        assert!(queue.push(b"13.\n", Rank::Ordinary, "why"));
        assert_eq!(taken(&mut queue), "-3 why\n13.\n");
        assert!(!queue.is_full());
    }

    #[test]
    fn important_lines_have_a_reserve_that_no_ordinary_line_takes() {
        let mut queue = Queue::new(8, 8, gap);
        assert!(queue.push(b"1..\n", Rank::Ordinary, ""));
        assert!(queue.push(b"2..\n", Rank::Important, ""));
        assert!(!queue.push(b"3..\n", Rank::Ordinary, ""));
        assert!(queue.push(b"4..\n", Rank::Important, ""));
        assert!(queue.push(b"5..\n", Rank::Important, ""));
        assert!(!queue.push(b"6..\n", Rank::Important, ""));
        assert_eq!(queue.lost(), 2);
    }

    #[test]
    fn take_of_nothing_is_nothing_and_tells_of_a_loss_that_is_over() {
        let mut queue = Queue::new(4, 0, gap);
        assert!(!queue.take(&mut Vec::new()));
        assert!(!queue.push(b"too long\n", Rank::Ordinary, "why"));
        assert_eq!(taken(&mut queue), "-1 why\n");
    }

    #[test]
    fn abandon_counts_what_waits_and_what_was_taken() {
        let mut queue = Queue::new(100, 0, gap);
        queue.push(b"1\n", Rank::Ordinary, "");
        queue.take(&mut Vec::new());
        queue.push(b"2\n3\n", Rank::Ordinary, "");
        assert_eq!(queue.abandon(), 3);
        assert_eq!((queue.lost(), queue.lines(), queue.bytes()), (3, 0, 0));
    }

    #[test]
    fn portion_is_whole_lines_or_one_that_is_longer() {
        assert_eq!(portion(b"a\nbb\ncc\n", 6), b"a\nbb\n");
        assert_eq!(portion(b"a\nbb\n", 64), b"a\nbb\n");
        assert_eq!(portion(b"abcdefgh\ni\n", 4), b"abcdefgh\n");
        assert_eq!(portion(b"abc", 2), b"abc");
    }
}
