//! Bounds that documents of several kinds share: how much of each thing, and how long a wait may be set.

use std::time::Duration;

/// A configuration file; the largest that fits the bounds below is far smaller.
pub(crate) const FILE_BYTES: usize = 1 << 20;
/// Every stream walks them in order.
pub const RULES: usize = 1024;
/// CIDRs, suffixes, ports, names or pins of one rule.
pub const RULE_ENTRIES: usize = 4096;
/// Names, uids and the like of one listener.
pub const LISTENER_ENTRIES: usize = 1024;
/// A rule's or listener's name: a metric label.
pub(crate) const NAME_BYTES: usize = 63;
/// Waits of one phase. Below, a healthy LAN already fails; above, a silent peer holds a slot.
pub const PHASE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(600);
/// Clocks that are further apart than this make every certificate a guess, too.
pub(crate) const LEEWAY: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(300);
/// Remembered answers about tokens; above, a revoked token works for too long.
pub(crate) const CACHE_TTL: std::ops::RangeInclusive<Duration> =
    Duration::ZERO..=Duration::from_secs(600);
/// What a signer gives at most: upstream's floor, and the life of a CA.
pub const SIGNING: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(600)..=Duration::from_secs(3650 * 24 * 3600);

const _: () = assert!(RULES * NAME_BYTES < FILE_BYTES);
