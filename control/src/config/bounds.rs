//! The bounds of a gateway's configuration, beside those of every document.

pub(super) use eyesplice_identity::document::bounds::{
    LISTENER_ENTRIES, PHASE, RULE_ENTRIES, RULES, SIGNING,
};

use std::time::Duration;

/// One per address family, transport and API server, with room.
pub(super) const LISTENERS: usize = 64;
/// Process-wide streams; each takes two descriptors.
pub(super) const STREAMS: std::ops::RangeInclusive<i128> = 1..=1_000_000;
/// Connections on which nobody has authenticated: each may take a descriptor and a handshake's memory.
pub(super) const UNAUTHENTICATED: std::ops::RangeInclusive<i128> = 1..=100_000;
/// TLS handshakes per second: a core does about two thousand.
pub(super) const HANDSHAKES: std::ops::RangeInclusive<i128> = 1..=1_000_000;
/// Pipes of 1 MiB per worker; 0 turns splicing off.
pub(super) const PIPES: std::ops::RangeInclusive<i128> = 0..=4096;
/// Worker threads; 0 means one per core.
pub(super) const WORKERS: std::ops::RangeInclusive<i128> = 0..=1024;
/// Idle limit of an established stream.
pub(super) const LONG: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
/// Idle limit of a half-closed stream; 0s is none.
pub(super) const HALF_CLOSED: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(7 * 24 * 3600);
/// Drain; 0s ends live streams at once.
pub(super) const DRAIN: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(24 * 3600);
/// What the kernel takes for keepalive and user timeout, whole seconds and up.
pub(super) const TCP: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(32_767);
/// A session ticket; 0s gives none. Above, its key would be worth stealing.
pub(super) const TICKET: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(24 * 3600);
/// Putting off reads: a person does not notice less, and a sender must not fill its window in it.
pub(super) const COALESCE: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_millis(100);
/// Lifetime of a leaf: the API server re-dials all the time, so short is cheap.
pub(super) const LEAF_LIFETIME: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(600)..=Duration::from_secs(366 * 24 * 3600);
