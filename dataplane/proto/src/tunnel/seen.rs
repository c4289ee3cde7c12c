//! Remembers the opens that an agent was asked for, so that none is served twice.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use thiserror::Error;

use super::OpenId;
use crate::limits;

/// Holds the ids of opens whose deadlines have not passed, and for a minute more: an open may have
/// been on its way when its deadline passed. Each takes about 100 bytes.
#[derive(Debug)]
pub struct SeenIds {
    most: usize,
    ids: HashSet<OpenId>,
    by_end: BTreeSet<(Instant, OpenId)>,
}

/// Why an open is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotNew {
    /// Its id was seen before: `FailReason::Seen`.
    #[error("open was seen before")]
    Seen,
    /// There is no room for its id, so it could be served twice: `FailReason::Exhausted`.
    #[error("{held} opens are remembered until their deadlines, and no more fit")]
    Full {
        /// How many.
        held: usize,
    },
}

impl Default for SeenIds {
    fn default() -> Self {
        Self::new(limits::TUNNEL_SEEN)
    }
}

impl SeenIds {
    /// Makes an empty set of at most so many ids.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ids: HashSet::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// Notes an open that arrived at `now` and has its deadline `deadline` later.
    ///
    /// # Errors
    /// `NotNew`: answer with `Failed`. An id that is held is never forgotten to make room.
    pub fn note(&mut self, id: OpenId, deadline: Duration, now: Instant) -> Result<(), NotNew> {
        self.forget(now);
        if self.ids.contains(&id) {
            return Err(NotNew::Seen);
        }
        if self.ids.len() >= self.most {
            return Err(NotNew::Full {
                held: self.ids.len(),
            });
        }
        let deadline = deadline.min(Duration::from_millis(limits::TUNNEL_DEADLINE_MS.into()));
        let end = now + deadline + limits::TUNNEL_SEEN_GRACE;
        self.ids.insert(id);
        self.by_end.insert((end, id));
        Ok(())
    }

    /// Gives how many ids are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Says whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn forget(&mut self, now: Instant) {
        while let Some((end, id)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.pop_first();
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const fn id(number: u8) -> OpenId {
        OpenId([number; 16])
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn seen_id_is_refused_until_a_minute_after_its_deadline() {
        let start = Instant::now();
        let mut seen = SeenIds::default();
        assert_eq!(seen.note(id(1), 10 * SECOND, start), Ok(()));
        assert_eq!(seen.note(id(2), Duration::ZERO, start), Ok(()));
        let note = |seen: &mut SeenIds, number, second: u32| {
            seen.note(id(number), 10 * SECOND, start + second * SECOND)
        };
        assert_eq!(note(&mut seen, 1, 0), Err(NotNew::Seen));
        assert_eq!(note(&mut seen, 2, 59), Err(NotNew::Seen));
        assert_eq!(note(&mut seen, 2, 60), Ok(()));
        assert_eq!(note(&mut seen, 1, 69), Err(NotNew::Seen), "not renewed");
        assert_eq!(note(&mut seen, 1, 70), Ok(()));
    }

    #[test]
    fn seen_full_set_refuses_new_ids_and_forgets_none() {
        let start = Instant::now();
        let mut seen = SeenIds::new(2);
        assert_eq!(seen.note(id(1), 10 * SECOND, start), Ok(()));
        assert_eq!(seen.note(id(2), 20 * SECOND, start), Ok(()));
        let full = seen.note(id(3), SECOND, start).unwrap_err();
        assert_eq!(
            full.to_string(),
            "2 opens are remembered until their deadlines, and no more fit"
        );
        assert_eq!(seen.note(id(1), SECOND, start), Err(NotNew::Seen));
        let later = start + 75 * SECOND;
        assert_eq!(seen.note(id(3), SECOND, later), Ok(()));
        assert_eq!(seen.note(id(2), SECOND, later), Err(NotNew::Seen));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn seen_deadline_beyond_the_limit_does_no_harm() {
        let mut seen = SeenIds::new(1);
        assert!(seen.is_empty());
        assert_eq!(seen.note(id(1), Duration::MAX, Instant::now()), Ok(()));
    }

    proptest! {
        #[test]
        fn seen_is_what_a_plain_map_says(
            opens in prop::collection::vec((0..12u8, 0..40u32, 0..30u32), 0..200),
        ) {
            let start = Instant::now();
            let (mut seen, mut map) = (SeenIds::new(8), HashMap::new());
            let mut second = 0;
            for (number, deadline, pause) in opens {
                second += pause;
                map.retain(|_, end| *end > second);
                let expected = if map.contains_key(&number) {
                    Err(NotNew::Seen)
                } else if map.len() == 8 {
                    Err(NotNew::Full { held: 8 })
                } else {
                    map.insert(number, second + deadline + 60);
                    Ok(())
                };
                let now = start + second * SECOND;
                prop_assert_eq!(seen.note(id(number), deadline * SECOND, now), expected);
                prop_assert_eq!(seen.len(), map.len());
            }
        }
    }
}
