//! Decides how long an agent waits before it dials a gateway again: exponential with full jitter.

use std::time::Duration;

use crate::limits;

/// Waits longer with each failure in a row. Each wait is uniform from nothing to its window, so
/// that the agents of a gateway that was restarted do not come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    /// The window of the next wait.
    window: Duration,
}

impl Backoff {
    /// Begins without a failure. The window is `first` for the first one, twice as long for each
    /// further one, and at most `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            window: first,
        }
    }

    /// Gives the wait after a connection failed or was lost. `lived` is how long it was registered,
    /// `None` if it never was: after ten seconds the window is the first one again. A gateway that
    /// takes agents and drops them is not dialled without a pause. `random` is uniform over all
    /// its values.
    #[must_use]
    pub fn failed(&mut self, lived: Option<Duration>, random: u64) -> Duration {
        if lived.is_some_and(|lived| lived >= limits::TUNNEL_LIVED) {
            self.window = self.first;
        }
        let window = self.window.min(self.longest);
        self.window = window.saturating_mul(2).min(self.longest);
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        let nanos = (u128::from(nanos) * u128::from(random)) >> u64::BITS;
        u64::try_from(nanos).map_or(window, Duration::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(30);

    fn windows(backoff: &mut Backoff, count: usize) -> Vec<u128> {
        let longest = |_| backoff.failed(None, u64::MAX).as_millis() + 1;
        (0..count).map(longest).collect()
    }

    #[test]
    fn backoff_window_doubles_up_to_the_longest() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let expected = [
            100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000,
        ];
        assert_eq!(windows(&mut backoff, 11), expected);
    }

    #[test]
    fn backoff_wait_is_spread_over_the_whole_window() {
        for (random, millis) in [(0, 0), (u64::MAX / 4 + 1, 25), (u64::MAX / 2 + 1, 50)] {
            let mut backoff = Backoff::new(FIRST, LONGEST);
            assert_eq!(backoff.failed(None, random).as_millis(), millis);
        }
    }

    #[test]
    fn backoff_starts_over_after_a_connection_that_lived() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        assert_eq!(windows(&mut backoff, 3), [100, 200, 400]);
        let short = limits::TUNNEL_LIVED - Duration::from_nanos(1);
        assert_eq!(backoff.failed(Some(short), u64::MAX).as_millis() + 1, 800);
        let lived = Some(limits::TUNNEL_LIVED);
        assert_eq!(backoff.failed(lived, u64::MAX).as_millis() + 1, 100);
        assert_eq!(windows(&mut backoff, 1), [200]);
    }

    proptest! {
        #[test]
        fn backoff_wait_is_never_longer_than_the_longest(
            first in 0..u64::MAX,
            longest in 0..u64::MAX,
            random in prop::collection::vec(any::<u64>(), 0..100),
        ) {
            let longest = Duration::from_millis(longest);
            let mut backoff = Backoff::new(Duration::from_millis(first), longest);
            for random in random {
                prop_assert!(backoff.failed(None, random) <= longest);
            }
        }
    }
}
