//! Latencies: from when an operation was due, not from when the generator got to it.
//!
//! A generator that waits for a slow answer begins the next operation late. Counted from its real
//! begin, the wait of all that should have begun meanwhile is omitted ("coordinated omission"). So in
//! an open loop latency counts from the intended start, and operations that were due and never
//! began count with the time that they had waited at the end. The time from the real start is kept
//! beside it as service time. A closed loop has no intended start; there both are the same.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Significant digits of a recorded value.
const DIGITS: u8 = 3;

/// Records the operations of one workload.
#[derive(Debug)]
pub(crate) struct Recorder {
    counts: Instant,
    operations: AtomicU64,
    unsent: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Clone, Debug)]
struct Books {
    latency: Histogram<u64>,
    service: Histogram<u64>,
    interval: Histogram<u64>,
    began: Instant,
}

/// Latencies of one interval, for the log.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    /// When it began, after the measurement began to count.
    pub(crate) start: Duration,
    /// How long it was.
    pub(crate) length: Duration,
    /// Nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Recorder {
    /// Counts operations that are due at `counts` or later.
    pub(crate) fn new(counts: Instant) -> Self {
        let empty = empty();
        Self {
            counts,
            operations: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            books: Mutex::new(Books {
                latency: empty.clone(),
                service: empty.clone(),
                interval: empty,
                began: counts,
            }),
        }
    }

    /// An operation that was due, began and ended.
    pub(crate) fn record(&self, due: Instant, began: Instant, ended: Instant) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        if due < self.counts {
            return;
        }
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let latency = nanoseconds(ended.saturating_duration_since(due));
        note(&mut books.latency, latency);
        note(&mut books.interval, latency);
        let service = nanoseconds(ended.saturating_duration_since(began));
        note(&mut books.service, service);
    }

    /// An operation that was due and had not begun when all ended: it waited at least until `now`.
    pub(crate) fn unsent(&self, due: Instant, now: Instant) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
        if due >= self.counts {
            let waited = nanoseconds(now.saturating_duration_since(due));
            let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
            note(&mut books.latency, waited);
            note(&mut books.interval, waited);
        }
    }

    /// Operations that ended so far, warm-up included.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Operations that were due and never began.
    pub(crate) fn never_sent(&self) -> u64 {
        self.unsent.load(Ordering::Relaxed)
    }

    /// Ends the current interval and begins the next.
    pub(crate) fn rotate(&self, now: Instant) -> Interval {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let began = std::mem::replace(&mut books.began, now);
        Interval {
            start: began.saturating_duration_since(self.counts),
            length: now.saturating_duration_since(began),
            latency: std::mem::replace(&mut books.interval, empty()),
        }
    }

    /// Latencies and service times of all.
    pub(crate) fn totals(&self) -> [Histogram<u64>; 2] {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        [books.latency.clone(), books.service.clone()]
    }
}

/// The distribution of a time, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// How many were recorded.
    pub(crate) count: u64,
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p75: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    /// Of nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        if histogram.is_empty() {
            return Self::default();
        }
        Self {
            count: histogram.len(),
            min: histogram.min() as f64 / 1000.0,
            mean: histogram.mean() / 1000.0,
            p50: at(0.5),
            p75: at(0.75),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: histogram.max() as f64 / 1000.0,
        }
    }
}

/// A histogram without bounds grows to whatever comes, and `saturating_record` would cut it off.
fn note(histogram: &mut Histogram<u64>, value: u64) {
    // It fails only if it may not grow.
    let _ = histogram.record(value);
}

fn empty() -> Histogram<u64> {
    // 3 is between 0 and 5; a histogram without bounds resizes.
    Histogram::new(DIGITS).unwrap_or_else(|_| unreachable!("3 significant digits are allowed"))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{Arrivals, Schedule};
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// One connection, 1000 operations a second for 10 seconds, 100 µs each; the proxy stands still
    /// from the third to the fourth second.
    fn stalled() -> Recorder {
        let start = Instant::now();
        let recorder = Recorder::new(start);
        let mut schedule = Schedule::new(start, MS, Arrivals::Constant, 0);
        let mut now = start;
        loop {
            let due = schedule.next();
            if due >= start + 10_000 * MS {
                return recorder;
            }
            let began = now.max(due);
            now = began + MS / 10;
            let stall = start + 3000 * MS..start + 4000 * MS;
            if stall.contains(&now) {
                now = stall.end;
            }
            recorder.record(due, began, now);
        }
    }

    #[test]
    fn stall_counts_for_all_that_was_due_in_it() {
        let [latency, service] = stalled().totals();
        let latency = Percentiles::of(&latency);
        assert_eq!(latency.count, 10_000);
        // 1000 were due in the stalled second, and about 110 until the backlog was done.
        assert!((540_000.0..560_000.0).contains(&at(&stalled(), 0.95)));
        assert!(latency.p99 > 850_000.0, "{latency:?}");
        assert!(latency.p50 < 110.0, "{latency:?}");
        // What a generator would say that counts from the real start.
        let service = Percentiles::of(&service);
        assert!(
            service.p99 < 110.0 && service.max > 900_000.0,
            "{service:?}"
        );
    }

    fn at(recorder: &Recorder, quantile: f64) -> f64 {
        recorder.totals()[0].value_at_quantile(quantile) as f64 / 1000.0
    }

    #[test]
    fn operation_that_never_began_counts_with_its_wait() {
        let start = Instant::now();
        let recorder = Recorder::new(start);
        recorder.unsent(start + MS, start + 501 * MS);
        assert_eq!(recorder.never_sent(), 1);
        let [latency, service] = recorder.totals();
        assert!(Percentiles::of(&latency).max >= 500_000.0);
        assert!(service.is_empty());
    }

    #[test]
    fn warm_up_is_counted_and_not_recorded() {
        let counts = Instant::now() + 100 * MS;
        let recorder = Recorder::new(counts);
        recorder.record(counts - MS, counts - MS, counts + MS);
        recorder.record(counts, counts, counts + 2 * MS);
        assert_eq!(recorder.operations(), 2);
        assert_eq!(recorder.totals()[0].len(), 1);
    }

    #[test]
    fn intervals_add_up_to_the_total() {
        let start = Instant::now();
        let recorder = Recorder::new(start);
        let mut sum = empty();
        for second in 0..3 {
            let due = start + second * 1000 * MS;
            recorder.record(due, due, due + MS * (second + 1));
            let interval = recorder.rotate(start + (second + 1) * 1000 * MS);
            assert_eq!(interval.start, second * 1000 * MS);
            assert_eq!(interval.length, 1000 * MS);
            sum.add(&interval.latency).unwrap();
        }
        assert_eq!(sum, recorder.totals()[0]);
    }
}
