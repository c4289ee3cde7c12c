//! Remembers the sources from which somebody proved who he is.

use super::Source;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Sources from which somebody authenticated lately, at most `room` of them.
#[derive(Debug)]
pub struct Known {
    last: HashMap<Source, Instant>,
    room: usize,
    keep: Duration,
}

impl Known {
    /// Knows nobody; forgets each `keep` after it authenticated for the last time.
    pub fn new(room: usize, keep: Duration) -> Self {
        Self {
            last: HashMap::new(),
            room: room.max(1),
            keep,
        }
    }

    /// Notes that somebody authenticated; tells whether that source was not known before.
    pub fn note(&mut self, source: Source, now: Instant) -> bool {
        let news = !self.knows(source, now);
        if !self.last.contains_key(&source) && self.last.len() >= self.room {
            self.make_room(now);
        }
        self.last.insert(source, now);
        news
    }

    /// Whether somebody authenticated from there lately.
    pub fn knows(&self, source: Source, now: Instant) -> bool {
        self.last
            .get(&source)
            .is_some_and(|last| now.saturating_duration_since(*last) < self.keep)
    }

    /// Forgets all that are over, or who has been silent for longest. Only what authenticates gets here.
    fn make_room(&mut self, now: Instant) {
        let keep = self.keep;
        self.last
            .retain(|_, last| now.saturating_duration_since(*last) < keep);
        if self.last.len() >= self.room {
            let longest = self.last.iter().min_by_key(|(_, last)| **last);
            if let Some(source) = longest.map(|(source, _)| *source) {
                self.last.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const SECOND: Duration = Duration::from_secs(1);

    fn source(n: u32) -> Source {
        Source::from(IpAddr::from(n.to_be_bytes()))
    }

    #[test]
    fn source_is_known_until_it_has_been_silent_for_long() {
        let start = Instant::now();
        let mut known = Known::new(4, 10 * SECOND);
        assert!(!known.knows(source(1), start));
        assert!(known.note(source(1), start));
        assert!(!known.note(source(1), start + 5 * SECOND));
        assert!(known.knows(source(1), start + 14 * SECOND));
        assert!(!known.knows(source(1), start + 15 * SECOND));
        assert!(known.note(source(1), start + 15 * SECOND), "news again");
    }

    #[test]
    fn full_table_forgets_the_expired_first_and_then_the_longest_silent() {
        let start = Instant::now();
        let mut known = Known::new(3, 10 * SECOND);
        for n in 0..3 {
            known.note(source(n), start + n * SECOND);
        }
        known.note(source(0), start + 5 * SECOND);
        known.note(source(3), start + 6 * SECOND);
        let now = start + 6 * SECOND;
        let left: Vec<_> = (0..4).filter(|n| known.knows(source(*n), now)).collect();
        assert_eq!(left, [0, 2, 3]);
        known.note(source(4), start + 15 * SECOND);
        assert_eq!(known.last.len(), 2, "two were over");
    }
}
