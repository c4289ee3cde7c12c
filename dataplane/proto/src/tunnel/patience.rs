//! Says how long a gateway waits for an agent before it tries another connection, from the measured
//! round trip.

use std::time::Duration;

use crate::limits;

/// How long an open on a parked connection may be without `Accepted`: four round trips and 100 ms,
/// from 250 ms to 5 s. `round_trip` is that of the last ping that was answered.
#[must_use]
pub fn accept_within(round_trip: Option<Duration>) -> Duration {
    let round_trip = round_trip.unwrap_or(limits::TUNNEL_FIRST_ROUND_TRIP);
    let patience = round_trip.saturating_mul(4);
    patience
        .saturating_add(Duration::from_millis(100))
        .clamp(*limits::TUNNEL_ACCEPT.start(), *limits::TUNNEL_ACCEPT.end())
}

/// How long a connection that was asked for may take before another agent is asked, where there is
/// one: ten round trips and 500 ms, from 1 s to 5 s.
#[must_use]
pub fn arrive_within(round_trip: Option<Duration>) -> Duration {
    let round_trip = round_trip.unwrap_or(limits::TUNNEL_FIRST_ROUND_TRIP);
    let patience = round_trip.saturating_mul(10);
    patience
        .saturating_add(Duration::from_millis(500))
        .clamp(*limits::TUNNEL_ARRIVE.start(), *limits::TUNNEL_ARRIVE.end())
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
            let found = (accept_within(round_trip), arrive_within(round_trip));
            let expected = (
                Duration::from_millis(accept_ms),
                Duration::from_millis(arrive_ms),
            );
            assert_eq!(found, expected, "{round_trip:?}");
        }
    }
}
