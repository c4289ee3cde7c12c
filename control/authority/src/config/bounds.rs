//! The bounds of an authority's configuration, beside those of every document.

pub(super) use eyesplice_identity::document::bounds::{
    LISTENER_ENTRIES, RULE_ENTRIES, RULES, SIGNING,
};

use std::time::Duration;

/// Waits of a leader election. Below a second no API server keeps up; above, nobody acts for too long.
pub(super) const ELECTION: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(600);
/// A TCP port that something listens on.
pub(super) const PORT: std::ops::RangeInclusive<i128> = 1..=65_535;
/// A probe of one address. Below, a healthy network already fails; above, one node holds its slot.
pub(super) const PROBE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);
/// Between the day that a machine is announced and its first start. Below, it cannot be in time; above, a
/// window guards nothing.
pub(super) const JOIN_WINDOW: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 3600);
/// CSRs: all are in memory, at some 5 KiB each.
pub(super) const CSRS: std::ops::RangeInclusive<i128> = 1..=100_000;
