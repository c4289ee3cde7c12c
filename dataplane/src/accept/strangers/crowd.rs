//! Keeps those that have not proved who they are within a bound: when it is full, the oldest goes.

use super::Source;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// One place of so many is kept for sources that are known, which strangers never take.
const RESERVE: usize = 4;

/// The strangers of one source may have one in so many of the places that strangers have.
const ONE_SOURCE: usize = 2;

/// Where somebody waits: by when he came, and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seat(Instant, u64);

/// What became of somebody who came.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry<T> {
    /// There was room.
    Free(Seat),
    /// Somebody had to go for it.
    Instead(Seat, T),
    /// All places are taken by those who have more right to them.
    Full,
}

/// Those that have not proved who they are, each with a handle of type `T`.
#[derive(Debug)]
pub struct Crowd<T> {
    next: u64,
    strangers: BTreeMap<Seat, (Source, T)>,
    known: BTreeMap<Seat, T>,
    of_source: HashMap<Source, BTreeSet<Seat>>,
}

impl<T> Default for Crowd<T> {
    fn default() -> Self {
        Self {
            next: 0,
            strangers: BTreeMap::new(),
            known: BTreeMap::new(),
            of_source: HashMap::new(),
        }
    }
}

impl<T> Crowd<T> {
    /// Takes in somebody from `source` who came at `since`, among at most `room`.
    ///
    /// A stranger takes the place of the oldest of its own source if that has many, else of the oldest
    /// stranger; who is known, of the oldest stranger, else of the oldest.
    pub fn enter(
        &mut self,
        (source, known): (Source, bool),
        since: Instant,
        room: usize,
        handle: T,
    ) -> Entry<T> {
        let room = room.max(1);
        let reserve = if room < RESERVE { 0 } else { room / RESERVE };
        let for_strangers = room - reserve;
        let for_source = (for_strangers / ONE_SOURCE).max(1);
        let leaves = if known {
            if self.len() < room {
                None
            } else {
                let oldest = self.oldest_stranger();
                Some(oldest.or_else(|| self.known.keys().next().copied()))
            }
        } else if self.of_source.get(&source).map_or(0, BTreeSet::len) >= for_source {
            let own = self.of_source.get(&source);
            Some(own.and_then(|seats| seats.first().copied()))
        } else if self.strangers.len() >= for_strangers || self.len() >= room {
            Some(self.oldest_stranger())
        } else {
            None
        };
        let evicted = match leaves {
            None => None,
            Some(None) => return Entry::Full,
            Some(Some(seat)) => self.leave(seat),
        };
        self.next += 1;
        let seat = Seat(since, self.next);
        if known {
            self.known.insert(seat, handle);
        } else {
            self.strangers.insert(seat, (source, handle));
            self.of_source.entry(source).or_default().insert(seat);
        }
        match evicted {
            None => Entry::Free(seat),
            Some(evicted) => Entry::Instead(seat, evicted),
        }
    }

    /// Takes out who sits there, if anybody does.
    pub fn leave(&mut self, seat: Seat) -> Option<T> {
        if let Some(handle) = self.known.remove(&seat) {
            return Some(handle);
        }
        let (source, handle) = self.strangers.remove(&seat)?;
        if let Some(seats) = self.of_source.get_mut(&source) {
            seats.remove(&seat);
            if seats.is_empty() {
                self.of_source.remove(&source);
            }
        }
        Some(handle)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.strangers.len() + self.known.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All handles, the known ones last.
    pub fn handles(&self) -> impl Iterator<Item = &T> {
        let strangers = self.strangers.values().map(|(_, handle)| handle);
        strangers.chain(self.known.values())
    }

    fn oldest_stranger(&self) -> Option<Seat> {
        self.strangers.keys().next().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use std::time::Duration;

    struct Room {
        crowd: Crowd<u32>,
        start: Instant,
        size: usize,
        now: u64,
    }

    impl Room {
        fn of(size: usize) -> Self {
            Self {
                crowd: Crowd::default(),
                start: Instant::now(),
                size,
                now: 0,
            }
        }

        /// Comes a moment after the last one; says who had to go.
        fn comes(&mut self, who: u32, source: u32, known: bool) -> Result<Option<u32>, ()> {
            self.now += 1;
            let since = self.start + Duration::from_millis(self.now);
            let source = Source::from(IpAddr::from(source.to_be_bytes()));
            let entry = self.crowd.enter((source, known), since, self.size, who);
            assert!(self.crowd.len() <= self.size);
            match entry {
                Entry::Free(_) => Ok(None),
                Entry::Instead(_, other) => Ok(Some(other)),
                Entry::Full => Err(()),
            }
        }
    }

    #[test]
    fn strangers_of_many_sources_leave_oldest_first_and_never_take_the_reserve() {
        let mut room = Room::of(8);
        for who in 0..6 {
            assert_eq!(room.comes(who, who, false), Ok(None));
        }
        assert_eq!(room.comes(6, 6, false), Ok(Some(0)));
        assert_eq!(room.comes(7, 7, false), Ok(Some(1)));
        assert_eq!(room.comes(100, 99, true), Ok(None));
        assert_eq!(room.comes(101, 99, true), Ok(None));
        assert_eq!(room.crowd.len(), 8);
        // Who is known may have more than the reserve, and goes last.
        assert_eq!(room.comes(102, 99, true), Ok(Some(2)));
        assert_eq!(room.comes(8, 8, false), Ok(Some(3)));
    }

    #[test]
    fn one_source_takes_the_places_of_its_own() {
        let mut room = Room::of(16);
        assert_eq!(room.comes(0, 1, false), Ok(None));
        for who in 1..=6 {
            assert_eq!(room.comes(who, 7, false), Ok(None));
        }
        for who in 7..100 {
            assert_eq!(room.comes(who, 7, false), Ok(Some(who - 6)));
        }
        assert!(room.crowd.handles().any(|who| *who == 0), "the other stays");
    }

    #[test]
    fn known_ones_leave_oldest_first_when_they_are_alone_and_strangers_then_find_no_place() {
        let mut room = Room::of(4);
        for who in 0..4 {
            assert_eq!(room.comes(who, 1, true), Ok(None));
        }
        assert_eq!(room.comes(4, 1, true), Ok(Some(0)));
        assert_eq!(room.comes(5, 2, false), Err(()));
    }

    #[test]
    fn room_for_one_holds_one() {
        let mut room = Room::of(1);
        assert_eq!(room.comes(0, 1, false), Ok(None));
        assert_eq!(room.comes(1, 2, false), Ok(Some(0)));
        assert_eq!(room.comes(2, 3, true), Ok(Some(1)));
        assert_eq!(room.comes(3, 3, true), Ok(Some(2)));
    }

    #[test]
    fn leaving_gives_the_place_back_once() {
        let mut crowd = Crowd::default();
        let source = Source::from(IpAddr::from([127, 0, 0, 1]));
        let now = Instant::now();
        let seats: Vec<Seat> = [true, false]
            .map(|known| match crowd.enter((source, known), now, 2, known) {
                Entry::Free(seat) => seat,
                other => panic!("{other:?}"),
            })
            .into();
        assert_eq!(crowd.leave(seats[0]), Some(true));
        assert_eq!(crowd.leave(seats[0]), None);
        assert_eq!(crowd.leave(seats[1]), Some(false));
        assert!(crowd.is_empty() && crowd.of_source.is_empty());
    }
}
