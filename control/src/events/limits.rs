//! Every bound of audit events, with its reason.

use std::time::Duration;

/// Bytes of lines that wait for the disk or a reader: some 8,000 events. Beyond, no stream goes
/// past the API servers.
pub(super) const FILE_ROOM: usize = 8 << 20;

/// Bytes beyond, for the later stages of streams that run: as for the audit log.
pub(super) const FILE_RESERVE: usize = 16 << 20;

/// Events that wait for the webhook, as many as API servers let wait.
pub(super) const WAITING: usize = 10_000;

/// Their bytes: an event has about one KiB, and a long command makes it longer.
pub(super) const WAITING_BYTES: usize = 16 << 20;

/// While more than this part of either waits (in quarters), no stream goes past the API servers;
/// the rest is for those that run.
pub(super) const NEW_QUARTERS: usize = 3;

/// Events of one request to the webhook, as API servers send them.
pub(super) const BATCH: usize = 400;

/// Their bytes; one event that is longer goes alone.
pub(super) const BATCH_BYTES: usize = 2 << 20;

/// How long the first event of a batch waits for others.
pub(super) const GATHER: Duration = Duration::from_secs(1);

/// The longest that one request to the webhook may take.
pub(super) const SEND: Duration = Duration::from_secs(30);

/// The wait after a request that failed; doubles up to [`MAX_RETRY`].
pub(super) const MIN_RETRY: Duration = Duration::from_secs(1);

/// The longest wait between two tries.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(30);

/// The longest answer of the webhook that is read; nothing in it is used.
pub(super) const ANSWER: usize = 64 << 10;

/// What the last events may take at the end of the process; with the last audit lines within what a
/// service manager is asked for.
pub(super) const LAST: Duration = Duration::from_secs(3);

/// How often that end is looked for.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// Longest `Audit-ID` that a client chose; API servers cut none, so a longer one is theirs to take.
pub(super) const AUDIT_ID: usize = 256;

/// Bytes of a `User-Agent`; API servers cut it there, too.
pub(super) const USER_AGENT: usize = 1024;

const _: () = assert!(BATCH <= WAITING && BATCH_BYTES <= WAITING_BYTES);
const _: () = assert!(NEW_QUARTERS < 4);
