//! Orders what happens in a simulated world by its time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Events that are to come. Two at one time come in the order in which they were put in.
pub(super) struct Queue<E> {
    now: Duration,
    number: u64,
    heap: BinaryHeap<Reverse<Entry<E>>>,
}

struct Entry<E> {
    key: (Duration, u64),
    event: E,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            number: 0,
            heap: BinaryHeap::new(),
        }
    }

    /// Gives the time since the world began.
    pub(super) const fn now(&self) -> Duration {
        self.now
    }

    pub(super) fn after(&mut self, delay: Duration, event: E) {
        self.number += 1;
        let key = (self.now + delay, self.number);
        self.heap.push(Reverse(Entry { key, event }));
    }

    /// Goes to the next event, if it is not after `end`.
    pub(super) fn next(&mut self, end: Duration) -> Option<E> {
        if self.heap.peek()?.0.key.0 > end {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.key.0;
        Some(entry.event)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}
