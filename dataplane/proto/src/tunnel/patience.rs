//! Says how long a gateway waits for an agent before it tries another connection, from the measured
//! round trip.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::limits;

/// The shortest and the longest time that an open waits for an agent before it tries another
/// connection beside the one that it has. In between the measured round trip decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patience {
    /// On a connection that is here, without `Accepted`.
    pub accept: RangeInclusive<Duration>,
    /// For a connection that was asked for.
    pub arrive: RangeInclusive<Duration>,
}

impl Default for Patience {
    /// 250 ms to 5 s, and 1 s to 5 s.
    fn default() -> Self {
        Self {
            accept: limits::TUNNEL_ACCEPT,
            arrive: limits::TUNNEL_ARRIVE,
        }
    }
}

impl Patience {
    /// How long an open on a parked connection may be without `Accepted`: four round trips and
    /// 100 ms, within bounds. `round_trip` is that of the last ping that was answered.
    #[must_use]
    pub fn accept_within(&self, round_trip: Option<Duration>) -> Duration {
        within(&self.accept, round_trip, 4, Duration::from_millis(100))
    }

    /// How long a connection that was asked for may take before another agent is asked, where there
    /// is one: ten round trips and 500 ms, within bounds.
    #[must_use]
    pub fn arrive_within(&self, round_trip: Option<Duration>) -> Duration {
        within(&self.arrive, round_trip, 10, Duration::from_millis(500))
    }
}

fn within(
    bounds: &RangeInclusive<Duration>,
    round_trip: Option<Duration>,
    round_trips: u32,
    beside: Duration,
) -> Duration {
    round_trip
        .unwrap_or(limits::TUNNEL_FIRST_ROUND_TRIP)
        .saturating_mul(round_trips)
        .saturating_add(beside)
        .max(*bounds.start())
        .min(*bounds.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_round_trip_within_bounds() {
        for (round_trip_ms, accept_ms, arrive_ms) in [
            (Some(0), 250, 1000),
            (Some(37), 250, 1000),
            (Some(38), 252, 1000),
            (Some(60), 340, 1100),
            (Some(450), 1900, 5000),
            (Some(1225), 5000, 5000),
            (Some(u64::MAX), 5000, 5000),
            (None, 1100, 3000),
        ] {
            let round_trip = round_trip_ms.map(Duration::from_millis);
            let usual = Patience::default();
            let found = (
                usual.accept_within(round_trip),
                usual.arrive_within(round_trip),
            );
            let expected = (
                Duration::from_millis(accept_ms),
                Duration::from_millis(arrive_ms),
            );
            assert_eq!(found, expected, "{round_trip:?}");
        }
    }

    #[test]
    fn patience_has_the_bounds_that_it_is_given() {
        let second = Duration::from_secs(1);
        let always = Patience {
            accept: 7 * second..=7 * second,
            arrive: 9 * second..=8 * second,
        };
        for round_trip in [None, Some(Duration::ZERO), Some(60 * second)] {
            assert_eq!(always.accept_within(round_trip), 7 * second);
            assert_eq!(always.arrive_within(round_trip), 8 * second, "no panic");
        }
    }
}
