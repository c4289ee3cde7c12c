//! The bounds of a configuration: how much of each thing, and how long each wait may be set.

use std::time::Duration;

/// A configuration file; the largest that fits the bounds below is far smaller.
pub(crate) const FILE_BYTES: usize = 1 << 20;
/// One per address family, transport and API server, with room.
pub(super) const LISTENERS: usize = 64;
/// Every stream walks them in order.
pub(super) const RULES: usize = 1024;
/// CIDRs, suffixes, ports, names or pins of one rule.
pub(super) const RULE_ENTRIES: usize = 4096;
/// Names, uids and the like of one listener.
pub(super) const LISTENER_ENTRIES: usize = 1024;
/// A rule's or listener's name: a metric label.
pub(super) const NAME_BYTES: usize = 63;

/// Process-wide streams; each takes two descriptors.
pub(super) const STREAMS: std::ops::RangeInclusive<i128> = 1..=1_000_000;
/// TLS handshakes per second: a core does about two thousand.
pub(super) const HANDSHAKES: std::ops::RangeInclusive<i128> = 1..=1_000_000;
/// Pipes of 1 MiB per worker; 0 turns splicing off.
pub(super) const PIPES: std::ops::RangeInclusive<i128> = 0..=4096;
/// Worker threads; 0 means one per core.
pub(super) const WORKERS: std::ops::RangeInclusive<i128> = 0..=1024;

/// Waits of one phase. Below, a healthy LAN already fails; above, a silent peer holds a slot.
pub(super) const PHASE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(600);
/// Idle limit of an established stream.
pub(super) const LONG: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
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
/// Clocks that are further apart than this make every certificate a guess, too.
pub(super) const LEEWAY: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(300);
/// Remembered answers about tokens; above, a revoked token works for too long.
pub(super) const CACHE_TTL: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(600);
/// What a signer gives at most: upstream's floor, and the life of a CA.
pub(super) const SIGNING: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(600)..=Duration::from_secs(3650 * 24 * 3600);
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

const _: () = assert!(RULES * NAME_BYTES < FILE_BYTES);
