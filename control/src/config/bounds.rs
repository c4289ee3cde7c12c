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
/// API servers: control planes have three or five, and each is looked at all the time.
pub(super) const API_SERVERS: usize = 16;
/// Between two looks at an API server: below, it has more to do with them than with its clients.
pub(super) const HEALTH_INTERVAL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);
/// Looks that fail before an API server is left alone.
pub(super) const HEALTH_FAILURES: std::ops::RangeInclusive<i128> = 1..=100;
/// Looks that fail on each path before break-glass: fewer are a restart, more are an outage that is
/// over.
pub(super) const BREAK_GLASS_FAILURES: std::ops::RangeInclusive<i128> = 2..=1000;
/// How long they must have failed.
pub(super) const BREAK_GLASS_AFTER: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 3600);
/// How old a review may be: above a week it says little of a user.
pub(super) const REVIEWED_WITHIN: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 3600);
/// Between two rounds of questions about what is remembered: a revoked right is good for so long.
pub(super) const REFRESH: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(3600);
/// How long a kubelet may remember that it allows us.
pub(super) const KUBELET_CACHE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600);
/// How long a stream may be that nobody could review.
pub(super) const BREAK_GLASS_STREAM: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);
/// Names of headers that one flag of an API server lists.
pub(super) const USER_HEADERS: usize = 16;
/// Agents of one configuration, each with a control connection.
pub(super) const AGENTS: usize = 10_000;
/// Control connections; each takes a descriptor and some KiB.
pub(super) const MAX_AGENTS: std::ops::RangeInclusive<i128> = 1..=1_000_000;
/// Connections of one agent that wait for a stream.
pub(super) const POOL: std::ops::RangeInclusive<i128> = 0..=1024;
/// Connections of all agents that wait for a stream; each takes a descriptor and some KiB.
pub(super) const PARKED: std::ops::RangeInclusive<i128> = 1..=1_000_000;
/// Between two pings: below the time after which NATs forget a connection, and no flood.
pub(super) const PING: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(300);
/// Between two renewals of a Lease: below, it is load for the API server; above, a gateway that
/// comes late is not known within a minute.
pub(super) const MEMBERSHIP: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(60);
/// Between two pings where agents hear of gateways with each: what they missed they hear within a
/// minute.
pub(super) const TOLD_WITHIN: Duration = Duration::from_secs(60);
/// Gateways that an agent names; a name may have several addresses.
pub(super) const GATEWAYS: usize = 64;
/// Gateways that an agent holds at a time.
pub(super) const HOLD: std::ops::RangeInclusive<i128> = 1..=64;
