//! Who sits where, and who has to get up first.

use super::Source;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Sources that are remembered for their handshakes while they have no connection.
const SOURCES: usize = 4096;

/// What a connection has shown; the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// No whole request yet.
    Silent,
    /// A stranger between two requests.
    Idle,
    /// A stranger whose request is answered.
    Busy,
    /// Somebody known between two requests.
    KnownIdle,
    /// Somebody known whose request is answered, a watch among them: never sent away.
    KnownBusy,
}

impl Rank {
    fn is_stranger(self) -> bool {
        self < Self::KnownIdle
    }
}

/// The order of leaving: rank, then who has had it longest.
type Place = (Rank, u64, u64);

#[derive(Debug)]
struct Seat {
    source: Source,
    rank: Rank,
    since: u64,
    leave: Arc<Notify>,
}

#[derive(Debug)]
struct OfSource {
    strangers: BTreeSet<Place>,
    handshakes: u32,
    second: Instant,
}

impl OfSource {
    fn new() -> Self {
        Self {
            strangers: BTreeSet::new(),
            handshakes: 0,
            second: Instant::now(),
        }
    }
}

/// All seats of one server.
#[derive(Debug, Default)]
pub(super) struct Seats {
    ticks: u64,
    seats: HashMap<u64, Seat>,
    order: BTreeSet<Place>,
    sources: HashMap<Source, OfSource>,
    strangers: usize,
}

impl Seats {
    pub(super) fn len(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn strangers(&self) -> usize {
        self.strangers
    }

    pub(super) fn strangers_of(&self, source: Source) -> usize {
        self.sources.get(&source).map_or(0, |of| of.strangers.len())
    }

    /// The stranger of a source who goes first.
    pub(super) fn oldest_of(&self, source: Source) -> Option<u64> {
        let first = self.sources.get(&source)?.strangers.first();
        first.map(|(_, _, id)| *id)
    }

    /// Who goes first of all, if anybody may.
    pub(super) fn first_to_go(&self) -> Option<u64> {
        let (rank, _, id) = self.order.first()?;
        (*rank < Rank::KnownBusy).then_some(*id)
    }

    pub(super) fn rank(&self, id: u64) -> Option<Rank> {
        self.seats.get(&id).map(|seat| seat.rank)
    }

    /// Gives a newcomer a seat.
    pub(super) fn take(&mut self, source: Source, leave: Arc<Notify>) -> u64 {
        let id = self.tick();
        let seat = Seat {
            source,
            rank: Rank::Silent,
            since: id,
            leave,
        };
        self.seats.insert(id, seat);
        self.enlist(id);
        id
    }

    /// Takes a seat away and tells who sat there; one that is empty already stays so.
    pub(super) fn leave(&mut self, id: u64) {
        self.strike(id);
        if let Some(seat) = self.seats.remove(&id) {
            seat.leave.notify_one();
        }
    }

    pub(super) fn known(&mut self, id: u64) {
        self.change(id, |rank| match rank {
            Rank::Silent | Rank::Idle | Rank::KnownIdle => Rank::KnownIdle,
            Rank::Busy | Rank::KnownBusy => Rank::KnownBusy,
        });
    }

    pub(super) fn busy(&mut self, id: u64) {
        self.change(id, |rank| match rank {
            Rank::Silent | Rank::Idle | Rank::Busy => Rank::Busy,
            Rank::KnownIdle | Rank::KnownBusy => Rank::KnownBusy,
        });
    }

    pub(super) fn idle(&mut self, id: u64) {
        self.change(id, |rank| match rank {
            Rank::Silent | Rank::Idle | Rank::Busy => Rank::Idle,
            Rank::KnownIdle | Rank::KnownBusy => Rank::KnownIdle,
        });
    }

    /// Counts a handshake of a source, unless it has had `limit` in this second.
    pub(super) fn may_handshake(&mut self, source: Source, limit: u32, now: Instant) -> bool {
        const SECOND: Duration = Duration::from_secs(1);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, of| {
                !of.strangers.is_empty() || now.saturating_duration_since(of.second) < SECOND
            });
        }
        let of = self.sources.entry(source).or_insert_with(OfSource::new);
        if now.saturating_duration_since(of.second) >= SECOND {
            (of.second, of.handshakes) = (now, 0);
        }
        let may = of.handshakes < limit;
        of.handshakes += u32::from(may);
        may
    }

    fn change(&mut self, id: u64, to: impl Fn(Rank) -> Rank) {
        self.strike(id);
        let since = self.tick();
        if let Some(seat) = self.seats.get_mut(&id) {
            (seat.rank, seat.since) = (to(seat.rank), since);
            self.enlist(id);
        }
    }

    fn enlist(&mut self, id: u64) {
        let Some(seat) = self.seats.get(&id) else {
            return;
        };
        let place = (seat.rank, seat.since, id);
        self.order.insert(place);
        if seat.rank.is_stranger() {
            let of = self.sources.entry(seat.source);
            of.or_insert_with(OfSource::new).strangers.insert(place);
            self.strangers += 1;
        }
    }

    fn strike(&mut self, id: u64) {
        let Some(seat) = self.seats.get(&id) else {
            return;
        };
        let place = (seat.rank, seat.since, id);
        self.order.remove(&place);
        if !seat.rank.is_stranger() {
            return;
        }
        self.strangers -= 1;
        if let Some(of) = self.sources.get_mut(&seat.source) {
            of.strangers.remove(&place);
            // Kept for its handshakes, a second's worth.
            if of.strangers.is_empty() && of.handshakes == 0 {
                self.sources.remove(&seat.source);
            }
        }
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }
}
