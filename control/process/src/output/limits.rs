//! Every bound of an output, with its reason.

use std::time::Duration;

/// Bytes of log lines that wait for a reader or a disk: some 8,000 lines, minutes of an ordinary log. Beyond,
/// lines are lost, counted, and the log says how many as soon as it can.
pub(crate) const LOG_ROOM: usize = 2 << 20;

/// Bytes of audit lines that wait: some 18,000 lines. Beyond, lines of streams that were refused before a
/// target was sought are lost and counted, and with `audit.onFailure: block` no stream begins.
pub const AUDIT_ROOM: usize = 8 << 20;

/// Bytes beyond [`AUDIT_ROOM`] for the lines of streams that ran: the default of 20,000 live streams at 800
/// bytes, twice what a line usually has.
pub const AUDIT_RESERVE: usize = 16 << 20;

/// Once a line was lost, none is taken until so much of the room is in use at most (in quarters): an output
/// that crawls would else carry a line about the loss for every few lines.
pub(super) const AGAIN_QUARTERS: usize = 3;

/// What one write to anything but a file may have: PIPE_BUF, which a pipe takes whole or not at all, so that
/// lines of several writers (log and audit on one pipe, as containers have it) stay lines.
pub(super) const PIPE_CHUNK: usize = 4096;

/// What one write to a file may have. Progress is seen between two writes.
pub(super) const FILE_CHUNK: usize = 64 << 10;

/// The wait after a first failed write; doubles up to [`MAX_RETRY`].
pub(super) const MIN_RETRY: Duration = Duration::from_millis(100);

/// The longest wait between two tries.
pub(super) const MAX_RETRY: Duration = Duration::from_secs(5);

/// How long a writer waits for room in a pipe of its own before it looks around.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// A failure that lasts is told again so often.
pub const TELL_AGAIN: Duration = Duration::from_secs(60);

/// An output that made no progress for so long is stalled: longer than a restart of journald or of a container
/// runtime takes, whose pipe this usually is, and short enough for a request that asks meanwhile.
pub const STALLED: Duration = Duration::from_secs(5);

/// What the last log lines may take at the end of the process.
pub(crate) const LAST_LOG: Duration = Duration::from_secs(1);

/// What the last audit lines may take at the end of the process; within what a service manager is asked for
/// (`systemd.rs: STOP_SLACK`).
pub const LAST_AUDIT: Duration = Duration::from_secs(3);

const _: () = assert!(PIPE_CHUNK <= FILE_CHUNK && FILE_CHUNK <= LOG_ROOM / 4);
const _: () = assert!(
    LOG_ROOM < AUDIT_ROOM,
    "a log is worth less than an audit log"
);
