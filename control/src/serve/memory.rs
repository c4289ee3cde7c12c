//! Gives memory back to the kernel when a crowd has left.

use eyesplice_dataplane::counters::{CounterTotals, WorkerCounters};
use eyesplice_sys::memory;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks at how many connections there are.
const LOOK: Duration = Duration::from_secs(1);

/// Fewer connections than this are no crowd: what they leave is less than a MiB or two.
const CROWD: u64 = 64;

/// Gives back what freed memory the allocator keeps, each time that half of the connections have left.
pub(crate) async fn keep_low(workers: Vec<Arc<WorkerCounters>>) {
    let mut tide = Tide::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let totals = CounterTotals::sum(workers.iter().map(|worker| &**worker));
        if tide.has_fallen(totals.streams_live + totals.unauthenticated) {
            // A panic in it would have been logged, and the next fall tries again.
            let _ = spawn_blocking(memory::give_back).await;
        }
    }
}

/// The most connections since memory was given back.
#[derive(Debug, Default)]
struct Tide {
    high: u64,
}

impl Tide {
    /// Whether half of them have left, at this number of connections.
    fn has_fallen(&mut self, live: u64) -> bool {
        let fallen = self.high >= CROWD && live <= self.high / 2;
        self.high = if fallen { live } else { self.high.max(live) };
        fallen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(numbers: &[u64]) -> Vec<bool> {
        let mut tide = Tide::default();
        numbers.iter().map(|&live| tide.has_fallen(live)).collect()
    }

    #[test]
    fn tide_falls_once_for_each_half_of_a_crowd_that_leaves() {
        assert_eq!(
            falls(&[0, 1000, 501, 500, 499, 250, 249, 0]),
            [false, false, false, true, false, true, false, true]
        );
    }

    #[test]
    fn tide_of_a_crowd_that_stays_or_of_a_few_never_falls() {
        assert_eq!(falls(&[63, 0, 63, 0]), [false; 4]);
        assert_eq!(falls(&[800, 500, 900, 500]), [false; 4]);
    }
}
