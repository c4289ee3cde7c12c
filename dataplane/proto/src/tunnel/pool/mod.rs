//! Decides how many data connections an agent keeps parked at a gateway: as many as were opened at
//! once lately, and fewer where parked ones do not survive.

mod survival;

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::limits;
pub use survival::Shrunk;
use survival::Survival;

/// Sizes the pool of one agent at one gateway.
///
/// A parked connection that was taken is replaced after a few round trips. Until then the next
/// opens need others: so as many are kept as there were opens within half a second to a second, at
/// the busiest time of the last 30 seconds. It grows with the first burst and shrinks 30 seconds
/// later.
#[derive(Debug)]
pub struct PoolPolicy {
    /// The floor and the cap.
    limits: RangeInclusive<usize>,
    /// When slot 0 began.
    start: Instant,
    /// Slots in which there were opens, oldest first, and how many.
    slots: VecDeque<(u64, usize)>,
    survival: Survival,
    /// What the agent was asked for last.
    asked: usize,
}

impl PoolPolicy {
    /// Begins without opens. `limits` are the least and the most connections to keep; a cap below
    /// the floor is the floor.
    #[must_use]
    pub const fn new(limits: RangeInclusive<usize>, now: Instant) -> Self {
        Self {
            limits,
            start: now,
            slots: VecDeque::new(),
            survival: Survival::new(),
            asked: 0,
        }
    }

    /// Notes that the agent has registered on a new control connection: it parks none until it is
    /// asked.
    pub const fn registered(&mut self) {
        self.asked = 0;
    }

    /// Takes other limits, after a reload.
    pub fn set_limits(&mut self, limits: RangeInclusive<usize>) {
        self.limits = limits;
    }

    /// Notes that a stream was opened through the agent, on a parked connection or not.
    pub fn opened(&mut self, now: Instant) {
        self.forget(now);
        let slot = self.slot(now);
        match self.slots.back_mut() {
            // An instant before one that was seen counts there.
            Some((last, opens)) if *last >= slot => *opens = opens.saturating_add(1),
            _ => self.slots.push_back((slot, 1)),
        }
    }

    /// Notes that a connection which had been parked for `age` was alive when it was taken.
    pub fn survived(&mut self, age: Duration) {
        self.survival.survived(age);
    }

    /// Notes that a parked connection died, or was found dead when it was taken, `age` after it was
    /// parked, and that `left` others of the agent are parked still. Those that either end closed
    /// on purpose do not count, nor those that were lost together with the control connection.
    /// Three young deaths in a row bound the pool, also below its floor, to what survived.
    pub fn died(&mut self, age: Duration, left: usize, now: Instant) {
        self.survival.died(age, left, now);
    }

    /// Says how many connections the agent is to be asked for, if that is another number than the
    /// last time. A `crowded` gateway, at which handshakes wait for each other, asks for no more
    /// than before: agents without a control connection go first.
    #[must_use]
    pub fn ask(&mut self, now: Instant, crowded: bool) -> Option<usize> {
        let target = self.target(now);
        let next = if crowded {
            target.min(self.asked)
        } else {
            target
        };
        (std::mem::replace(&mut self.asked, next) != next).then_some(next)
    }

    /// Gives what the agent was asked for last.
    #[must_use]
    pub const fn asked(&self) -> usize {
        self.asked
    }

    /// Says how many connections are to be parked now.
    #[must_use]
    pub fn target(&mut self, now: Instant) -> usize {
        self.forget(now);
        let wanted = self.busiest().min(*self.limits.end());
        let wanted = wanted.max(*self.limits.start());
        match self.shrunk(now) {
            Some(shrunk) => wanted.min(shrunk.kept),
            None => wanted,
        }
    }

    /// Says why the pool is kept smaller than its cap; `None`: it is not. Its text is for logs and
    /// status. One more connection is tried every ten minutes, until the cap is reached.
    #[must_use]
    pub fn shrunk(&mut self, now: Instant) -> Option<Shrunk> {
        let most = (*self.limits.end()).max(*self.limits.start());
        self.survival.shrunk(most, now)
    }

    /// Most opens within two neighbouring slots.
    fn busiest(&self) -> usize {
        let alone = self.slots.iter().map(|(_, opens)| *opens);
        let neighbours = self.slots.iter().zip(self.slots.iter().skip(1));
        let pairs = neighbours
            .filter(|(first, second)| first.0 + 1 == second.0)
            .map(|(first, second)| first.1.saturating_add(second.1));
        alone.chain(pairs).max().unwrap_or(0)
    }

    fn slot(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        let slot = since.as_millis() / limits::TUNNEL_POOL_SLOT.as_millis();
        u64::try_from(slot).unwrap_or(u64::MAX)
    }

    fn forget(&mut self, now: Instant) {
        let slot = self.slot(now);
        while let Some((oldest, _)) = self.slots.front()
            && oldest + limits::TUNNEL_POOL_SLOTS < slot
        {
            self.slots.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
