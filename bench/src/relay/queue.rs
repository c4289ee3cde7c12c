//! Packets on their way: in order, each until it is due. Time is an argument.

use super::Bandwidth;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What a packet counts beside its bytes, so that many small ones are bounded as well: its place in the
/// queue and its allocation.
const OVERHEAD: usize = 64;

/// One direction of a line.
#[derive(Debug)]
pub(super) struct Queue {
    delay: Duration,
    bandwidth: Option<Bandwidth>,
    window: usize,
    /// When the line has taken the last bit of what is in it.
    free: Option<Instant>,
    held: usize,
    packets: VecDeque<(Instant, Box<[u8]>)>,
}

impl Queue {
    /// Holds each packet for `delay`, and `window` bytes at most.
    pub(super) fn new(delay: Duration, bandwidth: Option<Bandwidth>, window: usize) -> Self {
        Self {
            delay,
            bandwidth,
            window,
            free: None,
            held: 0,
            packets: VecDeque::new(),
        }
    }

    /// Takes a packet that arrived at `now`; false if it is lost because the window is full.
    ///
    /// It is due `delay` after the line had room for its last bit.
    #[must_use]
    pub(super) fn arrive(&mut self, now: Instant, packet: &[u8]) -> bool {
        let held = self.held + packet.len() + OVERHEAD;
        if held > self.window {
            return false;
        }
        self.held = held;
        let mut taken = now;
        if let Some(bandwidth) = self.bandwidth {
            taken = self.free.map_or(now, |free| free.max(now)) + bandwidth.time(packet.len());
            self.free = Some(taken);
        }
        self.packets.push_back((taken + self.delay, packet.into()));
        true
    }

    /// When the next packet is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.packets.front().map(|(due, _)| *due)
    }

    /// The next packet, if it is due.
    pub(super) fn leave(&mut self, now: Instant) -> Option<Box<[u8]>> {
        let (_, packet) = self.packets.pop_front_if(|(due, _)| *due <= now)?;
        self.held -= packet.len() + OVERHEAD;
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn leaves(queue: &mut Queue, now: Instant) -> Vec<u8> {
        std::iter::from_fn(|| queue.leave(now))
            .map(|packet| packet[0])
            .collect()
    }

    #[test]
    fn packet_leaves_when_it_is_due_and_in_order() {
        let start = Instant::now();
        let mut queue = Queue::new(10 * MS, None, 1 << 20);
        for at in 0..5u8 {
            assert!(queue.arrive(start + u32::from(at) * MS, &[at; 100]));
        }
        assert_eq!(queue.due(), Some(start + 10 * MS));
        let early = start + 10 * MS - Duration::from_nanos(1);
        assert!(queue.leave(early).is_none());
        assert_eq!(leaves(&mut queue, start + 12 * MS), [0, 1, 2]);
        assert_eq!(leaves(&mut queue, start + 20 * MS), [3, 4]);
        assert_eq!((queue.due(), queue.held), (None, 0));
    }

    #[test]
    fn packets_follow_each_other_as_fast_as_the_bandwidth_lets_them() {
        let start = Instant::now();
        let bandwidth = "8Mbit".parse().unwrap();
        let mut queue = Queue::new(10 * MS, Some(bandwidth), 1 << 20);
        // A millisecond each: three at once, and one when the line has long been free.
        for at in [0, 0, 0, 50] {
            assert!(queue.arrive(start + at * MS, &[0; 1000]));
        }
        let due: Vec<_> = queue.packets.iter().map(|(due, _)| *due - start).collect();
        assert_eq!(due, [11 * MS, 12 * MS, 13 * MS, 61 * MS]);
    }

    #[test]
    fn what_does_not_fit_into_the_window_is_lost_and_holds_nothing() {
        let start = Instant::now();
        let mut queue = Queue::new(MS, None, 10 * (100 + OVERHEAD));
        let taken: Vec<_> = (0..12u8)
            .map(|at| queue.arrive(start, &[at; 100]))
            .collect();
        assert_eq!(taken.iter().filter(|&&taken| taken).count(), 10);
        assert_eq!(leaves(&mut queue, start + MS), (0..10).collect::<Vec<_>>());
        // Room again, and empty packets fill it too.
        let taken = (0..1000).filter(|_| queue.arrive(start, &[])).count();
        assert_eq!(taken, 10 * (100 + OVERHEAD) / OVERHEAD);
    }
}
