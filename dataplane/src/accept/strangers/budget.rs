//! Rates with a burst, one for all or one for each source.
//!
//! The generic cell rate algorithm: a bucket is one instant, at which it would be full again.

use super::Source;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval: Duration,
    burst: Duration,
}

impl Rate {
    /// So often a second, all of a second's at once if there was nothing before. Zero counts as one.
    pub fn per_second(times: u32) -> Self {
        let interval = Duration::from_secs(1) / times.max(1);
        Self {
            interval,
            burst: Duration::from_secs(1).saturating_sub(interval),
        }
    }
}

/// What was taken of a rate so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When nothing of what was taken counts any more.
    settled: Option<Instant>,
}

impl Bucket {
    /// How long the next one has to wait; zero if it may come now.
    pub fn wait(&self, rate: Rate, now: Instant) -> Duration {
        self.settled.map_or(Duration::ZERO, |settled| {
            settled.saturating_duration_since(now + rate.burst)
        })
    }

    /// Takes one, for now or for the end of its wait.
    pub fn take(&mut self, rate: Rate, now: Instant) {
        let settled = self.settled.map_or(now, |settled| settled.max(now));
        self.settled = Some(settled + rate.interval);
    }

    /// Gives one back: it was taken by somebody to whom the rate does not apply.
    pub fn give_back(&mut self, rate: Rate) {
        let settled = self.settled;
        self.settled = settled.and_then(|settled| settled.checked_sub(rate.interval));
    }
}

/// A bucket for each source, at most twice `room` of them.
///
/// Two generations: who comes again moves to the younger one, and the older one is forgotten as a
/// whole. A bucket that is forgotten in peace was full again; in a crowd of more sources than there is
/// room, the one that has not been used for longest may be forgotten early.
#[derive(Debug)]
pub struct Budgets {
    younger: HashMap<Source, Bucket>,
    older: HashMap<Source, Bucket>,
    turned: Instant,
    room: usize,
}

/// How long a generation is the younger one: more than any bucket takes to be full again, its burst of
/// a second and a wait of [`crate::limits::TURN_WAIT`].
const GENERATION: Duration = Duration::from_secs(4);

const _: () = assert!(GENERATION.as_millis() > 1000 + crate::limits::TURN_WAIT.as_millis());

impl Budgets {
    /// Buckets that are all full.
    pub fn new(room: usize, now: Instant) -> Self {
        Self {
            younger: HashMap::new(),
            older: HashMap::new(),
            turned: now,
            room: room.max(1),
        }
    }

    /// The bucket of a source.
    pub fn of(&mut self, source: Source, now: Instant) -> &mut Bucket {
        let crowded = self.younger.len() >= self.room && !self.younger.contains_key(&source);
        if crowded || now.saturating_duration_since(self.turned) >= GENERATION {
            self.older = std::mem::take(&mut self.younger);
            self.turned = now;
        }
        let before = self.older.remove(&source);
        self.younger
            .entry(source)
            .or_insert_with(|| before.unwrap_or_default())
    }

    /// How many sources are remembered.
    pub fn len(&self) -> usize {
        self.younger.len() + self.older.len()
    }

    /// Whether no source is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    const MILLI: Duration = Duration::from_millis(1);

    fn source(n: u32) -> Source {
        Source::from(IpAddr::from(n.to_be_bytes()))
    }

    /// Takes what may be taken at once.
    fn burst(bucket: &mut Bucket, rate: Rate, now: Instant) -> u32 {
        let mut taken = 0;
        while bucket.wait(rate, now).is_zero() {
            bucket.take(rate, now);
            taken += 1;
        }
        taken
    }

    #[test]
    fn bucket_gives_a_seconds_worth_at_once_and_then_its_rate() {
        let (rate, start) = (Rate::per_second(10), Instant::now());
        let mut bucket = Bucket::default();
        assert_eq!(burst(&mut bucket, rate, start), 10);
        assert_eq!(bucket.wait(rate, start), 100 * MILLI);
        assert_eq!(burst(&mut bucket, rate, start + 99 * MILLI), 0);
        assert_eq!(burst(&mut bucket, rate, start + 350 * MILLI), 3);
        assert_eq!(burst(&mut bucket, rate, start + 10_000 * MILLI), 10);
    }

    #[test]
    fn bucket_gives_turns_one_behind_the_other_to_those_that_wait() {
        let (rate, start) = (Rate::per_second(10), Instant::now());
        let mut bucket = Bucket::default();
        burst(&mut bucket, rate, start);
        for turn in 1..5 {
            assert_eq!(bucket.wait(rate, start), turn * 100 * MILLI);
            bucket.take(rate, start);
        }
    }

    #[test]
    fn bucket_that_is_given_back_to_has_no_more_than_a_seconds_worth() {
        let (rate, start) = (Rate::per_second(10), Instant::now());
        let mut bucket = Bucket::default();
        bucket.give_back(rate);
        assert_eq!(burst(&mut bucket, rate, start), 10);
        bucket.give_back(rate);
        bucket.give_back(rate);
        assert_eq!(burst(&mut bucket, rate, start), 2);
        for _ in 0..100 {
            bucket.give_back(rate);
        }
        assert_eq!(burst(&mut bucket, rate, start), 10);
    }

    #[test]
    fn rate_of_one_or_none_is_one_a_second() {
        let start = Instant::now();
        for times in [0, 1] {
            let rate = Rate::per_second(times);
            let mut bucket = Bucket::default();
            assert_eq!(burst(&mut bucket, rate, start), 1);
            assert_eq!(bucket.wait(rate, start), 1000 * MILLI);
        }
    }

    #[test]
    fn budgets_keep_sources_apart() {
        let (rate, start) = (Rate::per_second(3), Instant::now());
        let mut budgets = Budgets::new(8, start);
        assert_eq!(burst(budgets.of(source(1), start), rate, start), 3);
        assert_eq!(burst(budgets.of(source(2), start), rate, start), 3);
        assert_eq!(burst(budgets.of(source(1), start), rate, start), 0);
    }

    #[test]
    fn budgets_remember_over_a_turn_of_the_generations() {
        let (rate, start) = (Rate::per_second(1), Instant::now());
        let mut budgets = Budgets::new(8, start);
        let late = start + GENERATION - MILLI;
        assert_eq!(burst(budgets.of(source(1), late), rate, late), 1);
        let turned = start + GENERATION;
        assert_eq!(burst(budgets.of(source(1), turned), rate, turned), 0);
    }

    #[test]
    fn budgets_of_a_crowd_stay_bounded_and_hold_who_comes_again() {
        let (rate, start) = (Rate::per_second(1), Instant::now());
        let mut budgets = Budgets::new(100, start);
        assert_eq!(burst(budgets.of(source(0), start), rate, start), 1);
        for n in 1..100_000 {
            budgets.of(source(n), start);
            if n % 50 == 0 {
                assert_eq!(burst(budgets.of(source(0), start), rate, start), 0);
            }
            assert!(budgets.len() <= 200);
        }
    }
}
