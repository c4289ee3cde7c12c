//! Every bound of the engine, with its reason. Limits that an operator sets are in
//! [`seam`](crate::seam).

use eyesplice_proto::tls::{
    OUTGOING_MAX, PENDING_MAX, RECORD_FULL, RECORD_MAX, RECORD_PAYLOAD, sealed_bound,
};
use std::time::Duration;

/// Size of a pooled buffer. One size for all uses keeps the pools simple and every large copy at
/// one alignment (a copy between buffers 16 bytes apart modulo 4096 is 20 times slower on Zen 3).
pub(crate) const BUFFER: usize = 33 * 4096;

/// Payload that one turn of the copy loop takes from a socket: large enough that system calls do
/// not show (0.7 s/GiB at 256 KiB against 1.6 at 8 KiB), small enough for the second-level cache.
pub(crate) const CHUNK: usize = 128 * 1024;

/// Ciphertext that one turn takes from a socket: a chunk in full records, so that those of a bulk sender
/// end with the turn. What a turn has of a record that goes on is copied aside and back.
pub(crate) const CIPHERTEXT: usize = CHUNK / RECORD_PAYLOAD * RECORD_FULL;

/// Idle buffers that a worker keeps. Only streams that move at the same moment need one each.
pub(crate) const BUFFERS_KEPT: usize = 32;

/// Size of a pipe: 64 KiB doubles the cost per byte, more than 1 MiB gains nothing.
pub(crate) const PIPE: usize = 1024 * 1024;

/// The smallest pipe worth splicing through, half of what a copying turn moves.
pub(crate) const PIPE_MIN: usize = 64 * 1024;

/// A read of at least so much counts as bulky; a terminal never makes one.
pub(crate) const BULKY_READ: usize = 32 * 1024;

/// Bulky reads in a row before a direction moves to splice: setting up costs two system calls more
/// per turn, which a single burst does not pay back.
pub(crate) const BULKY_READS: u8 = 2;

/// What a UNIX leg may hold for its reader once a direction towards it is bulky. Each write to a UNIX
/// socket that has a waiting reader wakes it, and its default of 208 KiB is full after two; with one
/// pipe's worth a download took 0.058 CPU seconds per GiB where an earlier build with the default took
/// 0.162 (bench/results/2026-11-22-against-1cf3f72-splice.md). Capped by net.core.wmem_max.
pub(crate) const UNIX_SEND: usize = PIPE;

/// What a reader that stalls leaves of a turn is copied out of its buffer up to here, so that a line of a
/// log does not hold [`BUFFER`] bytes for as long as its pager is paused. The copy of more would gain
/// little, and cost a bulk stream time.
pub(crate) const SETTLED: usize = 32 * 1024;

/// A spliced turn below this is small.
pub(crate) const SMALL_SPLICE: usize = 8 * 1024;

/// Small turns in a row before a direction goes back to copy.
pub(crate) const SMALL_SPLICES: u8 = 8;

/// Bytes that a direction may move before it lets the other streams of its worker run.
pub(crate) const TURN_BUDGET: usize = 2 * 1024 * 1024;

/// Small reads in a row after which a direction is watched: one that carries a request or a head before bulk
/// begins no watch that it ends again.
pub(crate) const WATCHED_READS: u8 = 4;

/// A read below this is small, as a line of a log is: a flow of them may be left to gather.
pub(crate) const COALESCE_READ: usize = 4 * 1024;

/// Small reads in a row that make a flow.
pub(crate) const COALESCE_READS: u32 = 16;

/// How long that many reads of a flow may take, a hundred a second: in the time that a person does not
/// notice two of them gather. A slower flow is not worth a wait.
pub(crate) const COALESCE_WINDOW: Duration = Duration::from_millis(160);

/// A read is put off for at most one part in so many of the time that its flow has lasted.
pub(crate) const COALESCE_SHARE: u32 = 4;

/// A wait below the resolution of the runtime's timer is none.
pub(crate) const COALESCE_LEAST: Duration = Duration::from_millis(1);

/// How long a stream that is over waits for a peer that still sends, or still has to receive, before
/// the socket is closed: long enough for the last bytes to cross a bad network.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// Looks at a half-closed stream in one `timeouts.halfClosed`: it ends so much late at most.
pub(crate) const HALF_CLOSED_LOOKS: u32 = 8;

/// A look costs a timer and three system calls.
pub(crate) const HALF_CLOSED_LOOK_MIN: Duration = Duration::from_millis(10);

/// How late a UNIX peer that closed for good is noticed behind a silent target.
pub(crate) const HALF_CLOSED_LOOK_MAX: Duration = Duration::from_secs(5);

/// The first look at a leg that is over and has unsent bytes: a round trip in a data centre.
pub(crate) const PARTING_LOOK_MIN: Duration = Duration::from_millis(2);

/// Later looks: the stream costs two system calls a second until its reader goes on.
pub(crate) const PARTING_LOOK_MAX: Duration = Duration::from_secs(1);

/// First pause between two looks at what a peer has yet to acknowledge; the runtime's timer knows none
/// shorter. On loopback the first look mostly is the last.
pub(crate) const SETTLE_FIRST: Duration = Duration::from_millis(1);

/// Longest pause between them, for peers that are far away: half of a long round trip.
pub(crate) const SETTLE_MOST: Duration = Duration::from_millis(64);

/// How long a cut waits for a byte of a client whose UNIX socket can only show it by input that nobody
/// read: one that is sending sends within it, and nobody notices that an end came so much later.
pub(crate) const UNSEEN: Duration = Duration::from_millis(100);
/// Reads that empty the socket of a peer that broke the protocol before it is closed: more than a socket's
/// buffer holds, and an end for a peer that never stops.
pub(crate) const DISCARDS: usize = 64;

/// Bytes that a leg keeps for a peer that does not take what it is owed: a flight of its handshake, inside
/// of another session or not. After the handshake that is a ticket, an alert, a close_notify, and one
/// answer to key updates however many the peer sends.
pub(crate) const OWED: usize = 2 * OUTGOING_MAX;

/// Pause after accept(2) found no descriptor or memory: the connection stays queued meanwhile.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections taken per wake-up of a listener before other tasks run.
pub(crate) const ACCEPT_BATCH: usize = 16;

/// Connections on their way to one worker from those that accepted them; more stay where they are.
pub(crate) const ARRIVALS: usize = 64;

/// Listen backlog; the kernel cuts it to net.core.somaxconn.
pub(crate) const BACKLOG: u32 = 4096;

/// How long an address or path that is in use may take to come free: io_uring lets go of the sockets of
/// a killed process some time after its death, seconds on a busy machine.
pub(crate) const RELEASED_WITHIN: Duration = Duration::from_secs(2);

/// The first pause between two looks whether it is free; each is twice as long as the last.
pub(crate) const RELEASE_LOOK_FIRST: Duration = Duration::from_millis(5);

/// The longest of these pauses.
pub(crate) const RELEASE_LOOK: Duration = Duration::from_millis(320);

/// Streams above the limit that still get a readable refusal instead of a closed connection, of all
/// workers together: each holds a task and a descriptor, for as long as its peer takes to ask.
pub(crate) const POLITE_REFUSALS: usize = 64;

/// Sources whose handshakes per second are counted, twice over; a source takes 40 bytes. A crowd of more
/// shares what strangers have together.
pub(crate) const SOURCES: usize = 4096;

/// Sources that are known because somebody authenticated from there, and nobody else: API servers,
/// which are few, and agents, of which a gateway takes 10,000 unless it is configured otherwise. One
/// takes some 100 bytes.
pub(crate) const KNOWN: usize = 65_536;

/// How long a source stays known: over a night without a kubectl.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(24 * 3600);

/// Sources that are not known and do not authenticate get one in so many of all handshakes per
/// second, together.
pub(crate) const STRANGERS_SHARE: u32 = 4;

/// How long a handshake that found the rate of all used up keeps pools of connections from growing:
/// long enough that those that it turned away do not meet the next burst of them.
pub(crate) const CROWDED_FOR: Duration = Duration::from_secs(2);

/// How long a handshake may wait for its turn: a burst of an API server that is not known yet waits
/// for its first handshake, which takes milliseconds.
pub(crate) const TURN_WAIT: Duration = Duration::from_secs(1);

/// Delay between the connection attempts to a name's addresses (RFC 8305 section 5).
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long a client of a front listener that is known may wait with its next request, unless
/// `timeouts.idle` says otherwise: client-go closes an idle connection itself after 90 s. One that
/// is not known may leave what it is sent for so long.
pub(crate) const FRONT_IDLE: Duration = Duration::from_secs(5 * 60);

/// Spare connections of one worker: in a cluster of more nodes only those used last have one, and a
/// worker's spares take a few MB at most.
pub(crate) const SPARES: usize = 256;

/// Reads that empty the socket of an unused connection: a kubelet sends one session ticket.
pub(crate) const QUIET_READS: usize = 8;

/// Orders that may wait for a control connection, each of some bytes: a burst of opens without a
/// parked connection. One more, and the next agent is asked.
pub(crate) const TUNNEL_ORDERS: usize = 256;

/// Reads of frames in a row before the other tasks of a worker run.
pub(crate) const TUNNEL_READS: u8 = 8;

/// Ping periods without a word after which a control connection is dead: two answers may be lost.
pub(crate) const TUNNEL_SILENCES: u32 = 3;

/// How long a connection that is over waits for its peer to end it as well.
pub(crate) const TUNNEL_FAREWELL: Duration = Duration::from_secs(2);

/// How long an agent tries to reach a gateway, all its addresses together.
pub(crate) const TUNNEL_DIAL: Duration = Duration::from_secs(10);

/// How long an agent takes the requests of a gateway that it has told that it takes no more: they
/// may be on their way.
pub(crate) const TUNNEL_GRACE: Duration = Duration::from_secs(1);

/// How long an agent holds a gateway that it should not any more, while the others are not there
/// yet.
pub(crate) const TUNNEL_OVERLAP: Duration = Duration::from_secs(10);

/// Keepalive probes after the idle time, and between them.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Unanswered keepalive probes that the kernel can wait for (MAX_TCP_KEEPCNT).
pub(crate) const KEEPALIVE_COUNT_MAX: u32 = 127;

/// Questions to a silent peer in one user timeout: two may be lost before it counts as dead.
pub(crate) const ASKS: u32 = 3;

/// What the kernel takes for the longest pause between two of them (TCP_RTO_MAX_MS).
pub(crate) const ASK_MIN: Duration = Duration::from_secs(1);

/// The kernel's own longest pause.
pub(crate) const ASK_MAX: Duration = Duration::from_secs(120);

/// Looks at the legs that owe an acknowledgement in one user timeout.
pub(crate) const SWEEPS: u32 = 16;

/// No need to look more often: a dead peer is looked at when it is due.
pub(crate) const SWEEP_MIN: Duration = Duration::from_millis(50);

/// A leg that owed nothing any more is taken off the list so soon.
pub(crate) const SWEEP_MAX: Duration = Duration::from_secs(5);

/// The part of the user timeout that a peer has at least to answer a question that a look has seen.
pub(crate) const GRACE_SHARE: u32 = 4;

/// And no less than this: Linux answers no two probes of a shut window within half a second
/// (net.ipv4.tcp_invalid_ratelimit), and the first ones come faster. The next one comes within this.
pub(crate) const GRACE_MIN: Duration = Duration::from_secs(2);

/// Records that a worker keeps while control is behind with those in its channel: half a second of the 8,000 streams
/// a second that were measured, 2 MB. Beyond, they are lost and counted; no stream waits for control.
pub(crate) const RECORDS_KEPT: usize = 4096;

/// How long a worker that ends waits for control to take its last records.
pub(crate) const LAST_RECORDS: Duration = Duration::from_secs(5);

/// Bytes of an error body that we write ourselves.
pub(crate) const ERROR_BODY: usize = 1024;

/// Records that each library seals and opens at the start, to be compared: 100 of both take half a
/// millisecond to one.
pub(crate) const CALIBRATION_ROUNDS: usize = 100;

const _: () = assert!(
    PENDING_MAX + 2 * RECORD_MAX <= BUFFER,
    "a buffer has room for records behind what a session inside of another, and that other, keep"
);
const _: () = assert!(
    sealed_bound(sealed_bound(OUTGOING_MAX)) <= OWED,
    "the longest flight is never too long for the leg, nor inside of another session"
);
const _: () = assert!(
    2 * RECORD_MAX <= CIPHERTEXT,
    "a record and what was kept before it are no more than a turn takes"
);
const _: () = assert!(
    CHUNK <= CIPHERTEXT && sealed_bound(sealed_bound(CIPHERTEXT)) <= BUFFER,
    "what a turn takes, sealed twice (TLS inside of TLS), fits one buffer"
);
const _: () = assert!(BULKY_READ <= CHUNK && SMALL_SPLICE < BULKY_READ);
