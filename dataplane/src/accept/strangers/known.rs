//! Remembers the sources from which somebody proved who he is.

use super::Source;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// When somebody authenticated for the last time, and a number that no other has.
type Place = (Instant, u64);

/// Sources that are over and are forgotten with each new one: more than one, so that they become
/// fewer, and not all at once, since others wait meanwhile.
const FORGOTTEN_AT_ONCE: usize = 2;

/// Sources from which somebody authenticated lately, at most `room` of them.
#[derive(Debug)]
pub struct Known {
    last: HashMap<Source, Place>,
    /// The first one has been silent for longest.
    order: BTreeMap<Place, Source>,
    number: u64,
    room: usize,
    keep: Duration,
}

impl Known {
    /// Knows nobody; forgets each `keep` after it authenticated for the last time.
    pub fn new(room: usize, keep: Duration) -> Self {
        Self {
            last: HashMap::new(),
            order: BTreeMap::new(),
            number: 0,
            room: room.max(1),
            keep,
        }
    }

    /// Notes that somebody authenticated; tells whether that source was not known before.
    pub fn note(&mut self, source: Source, now: Instant) -> bool {
        let news = !self.knows(source, now);
        match self.last.remove(&source) {
            Some(place) => drop(self.order.remove(&place)),
            None => self.make_room(now),
        }
        self.number += 1;
        let place = (now, self.number);
        self.last.insert(source, place);
        self.order.insert(place, source);
        news
    }

    /// Whether somebody authenticated from there lately.
    pub fn knows(&self, source: Source, now: Instant) -> bool {
        self.last
            .get(&source)
            .is_some_and(|(last, _)| !self.is_over(*last, now))
    }

    /// Forgets some that are over, or who has been silent for longest. Only what authenticates gets
    /// here.
    fn make_room(&mut self, now: Instant) {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let Some((&(last, _), _)) = self.order.first_key_value() else {
                return;
            };
            if self.last.len() < self.room && !self.is_over(last, now) {
                return;
            }
            if let Some((_, source)) = self.order.pop_first() {
                self.last.remove(&source);
            }
        }
    }

    fn is_over(&self, last: Instant, now: Instant) -> bool {
        now.saturating_duration_since(last) >= self.keep
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
        assert_eq!(known.order.len(), 2);
    }

    #[test]
    fn table_keeps_the_last_of_many_and_no_more_than_it_has_room_for() {
        let start = Instant::now();
        let mut known = Known::new(1000, 1000 * SECOND);
        for n in 0..10_000 {
            let now = start + Duration::from_millis(n.into());
            assert!(known.note(source(n), now));
            assert_eq!(known.last.len(), known.order.len());
            assert!(known.last.len() <= 1000);
        }
        let now = start + 10 * SECOND;
        let left = (0..10_000).filter(|n| known.knows(source(*n), now));
        assert!(left.eq(9000..10_000));
    }
}
