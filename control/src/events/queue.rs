//! Events that wait for the webhook, and what became of others.

use super::limits::{BATCH, BATCH_BYTES, NEW_QUARTERS, WAITING, WAITING_BYTES};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::Notify;

/// Events that wait for the webhook.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Wakes the sender.
    pub(super) arrived: Notify,
    /// No more events come: the sender gathers no longer.
    pub(super) closing: Notify,
    delivered: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Events that the sender has taken, and is not done with.
    taken: usize,
}

/// How the queue does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Events that the webhook took.
    pub(super) delivered: u64,
    /// Events that were given up.
    pub(super) lost: u64,
    /// Requests that failed.
    pub(super) failures: u64,
    /// Events that wait.
    pub(super) waiting: usize,
}

impl Queue {
    /// Whether events of one more stream have room.
    pub(super) fn takes_more(&self) -> bool {
        let waiting = self.waiting.lock();
        let part = |bound: usize| bound / 4 * NEW_QUARTERS;
        waiting.events.len() < part(WAITING) && waiting.bytes < part(WAITING_BYTES)
    }

    /// Hands over an event; `false`: it was lost.
    pub(super) fn push(&self, event: &[u8]) -> bool {
        let mut waiting = self.waiting.lock();
        if waiting.events.len() >= WAITING || waiting.bytes + event.len() > WAITING_BYTES {
            drop(waiting);
            self.lost.fetch_add(1, Relaxed);
            return false;
        }
        waiting.bytes += event.len();
        waiting.events.push_back(event.into());
        drop(waiting);
        self.arrived.notify_one();
        true
    }

    /// Takes the events of one request, in order; none: nothing waits.
    pub(super) fn take(&self) -> Vec<Box<[u8]>> {
        let mut waiting = self.waiting.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = waiting.events.front() {
            bytes += next.len();
            if batch.len() == BATCH || bytes > BATCH_BYTES && !batch.is_empty() {
                break;
            }
            waiting.bytes -= next.len();
            batch.extend(waiting.events.pop_front());
        }
        waiting.taken = batch.len();
        batch
    }

    /// Counts what became of a batch.
    pub(super) fn done(&self, events: usize, delivered: bool) {
        let count = if delivered {
            &self.delivered
        } else {
            &self.lost
        };
        count.fetch_add(u64::try_from(events).unwrap_or(u64::MAX), Relaxed);
        self.waiting.lock().taken = 0;
    }

    /// Counts a request that failed.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    /// Whether nothing waits and nothing is under way.
    pub(super) fn is_done(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.events.is_empty() && waiting.taken == 0
    }

    /// Gives up what waits, at the end of the process; returns how many events that is.
    pub(super) fn abandon(&self) -> usize {
        let mut waiting = self.waiting.lock();
        let left = waiting.events.len() + waiting.taken;
        *waiting = Waiting::default();
        drop(waiting);
        self.lost
            .fetch_add(u64::try_from(left).unwrap_or(u64::MAX), Relaxed);
        left
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            delivered: self.delivered.load(Relaxed),
            lost: self.lost.load(Relaxed),
            failures: self.failures.load(Relaxed),
            waiting: self.waiting.lock().events.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_ends_at_its_count_and_at_its_bytes() {
        let queue = Queue::default();
        for _ in 0..=BATCH {
            assert!(queue.push(b"e"));
        }
        assert_eq!(queue.take().len(), BATCH);
        assert!(!queue.is_done());
        queue.done(BATCH, true);
        assert_eq!(queue.take().len(), 1);
        queue.done(1, false);
        assert!(queue.is_done());
        let large = vec![0; BATCH_BYTES + 1];
        assert!(queue.push(&large) && queue.push(b"e"));
        assert_eq!(queue.take().len(), 1, "it goes alone");
        queue.done(1, true);
        assert_eq!(queue.take().len(), 1);
        let counts = queue.counts();
        assert_eq!((counts.lost, counts.waiting), (1, 0));
    }

    #[test]
    fn queue_keeps_room_for_streams_that_run_and_counts_what_it_loses() {
        let queue = Queue::default();
        let part = WAITING / 4 * NEW_QUARTERS;
        for _ in 0..part {
            assert!(queue.takes_more());
            queue.push(b"e");
        }
        assert!(!queue.takes_more());
        for _ in part..WAITING {
            assert!(queue.push(b"e"));
        }
        assert!(!queue.push(b"e"));
        assert_eq!(queue.counts().lost, 1);
        assert_eq!(queue.abandon(), WAITING);
        assert_eq!(queue.counts().lost, 1 + u64::try_from(WAITING).unwrap());
        let large = vec![0; WAITING_BYTES];
        assert!(queue.push(&large) && !queue.push(b"e"));
    }
}
