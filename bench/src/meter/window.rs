//! When a measurement warms up, counts and ends; and a clock that processes share.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// The time of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Work begins; it does not count yet.
    pub(crate) begins: Instant,
    /// From here on it counts.
    pub(crate) counts: Instant,
    /// No new work begins.
    pub(crate) ends: Instant,
}

impl Window {
    /// From now on.
    pub(crate) fn new(warm_up: Duration, duration: Duration) -> Self {
        let begins = Instant::now();
        let counts = begins + warm_up;
        Self {
            begins,
            counts,
            ends: counts + duration,
        }
    }

    /// Whether no new work shall begin.
    pub(crate) fn over(&self) -> bool {
        Instant::now() >= self.ends
    }
}

/// CLOCK_MONOTONIC, which all processes of one boot share.
pub(crate) fn monotonic() -> Duration {
    // It exists on every Linux.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Into::into)
}

/// A number that is the same for all processes of one boot, and hardly for those of two.
pub(crate) fn boot() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
