//! Every bound of the authority, with its reason.

use std::time::Duration;

/// One request body: a CSR of the largest key with a hundred names, in base64, with annotations.
pub(super) const BODY: usize = 256 << 10;

/// Labels and annotations together, as upstream (`TotalAnnotationSizeLimitB`).
pub(super) const METADATA: usize = 256 << 10;

/// Conditions of one object: three are known, controllers may add theirs.
pub(super) const CONDITIONS: usize = 16;

/// Usages of one object: 23 are known.
pub(super) const USAGES: usize = 32;

/// Reason and message of one condition, as kubectl and we write them.
pub(super) const CONDITION_TEXT: usize = 32 << 10;

/// `status.certificate`: a chain of ten RSA certificates.
pub(super) const CERTIFICATE_PEM: usize = 64 << 10;

/// Connections served at a time: each node waits for its certificate on one.
pub(super) const CONNECTIONS: usize = 4096;

/// Connections that have shown no good credential: handshakes, and those who ask what anybody may. A
/// whole cluster that boots at once needs a moment of each.
pub(super) const STRANGERS: usize = 1024;

/// Of these, connections of one source address.
pub(super) const STRANGERS_PER_SOURCE: usize = 256;

/// TLS handshakes of one source address that may begin in a second: each costs a signature. A cluster
/// behind one address may need many at once, and clients try again.
pub(super) const HANDSHAKES_PER_SECOND: u32 = 200;

/// One TLS handshake.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// One request head, from the end of the previous response.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(120);

/// From accept to the first whole request.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(20);

/// One request head in bytes: a bearer token of 32 KiB fits twice.
pub(super) const HEAD: usize = 64 << 10;

/// One request body.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Between the start of a stop and the end of the last connection.
pub(super) const STOP: Duration = Duration::from_secs(5);

/// Events that a watch may be behind before its client must list again.
pub(super) const HISTORY: usize = 1024;

/// Events of one watch on their way to a client that reads slowly.
pub(super) const WATCH_QUEUE: usize = 16;

/// How long a watch lasts unless the client says less; upstream draws 30 to 60 minutes.
pub(super) const WATCH: Duration = Duration::from_secs(1800);

/// Between two bookmarks, as upstream.
pub(super) const BOOKMARK: Duration = Duration::from_secs(60);

/// A watch that takes nothing for so long is over: its client is gone or hung.
pub(super) const WATCH_STALL: Duration = Duration::from_secs(60);

/// Between two looks at every object: cleaning, and what an event was missed for.
pub(super) const SWEEP: Duration = Duration::from_secs(10);

/// Between two looks at the size of the store: CSRs live for an hour.
pub(super) const COMPACT: Duration = Duration::from_secs(3600);

/// Between two tries after the store failed.
pub(super) const STORE_RETRY: Duration = Duration::from_secs(1);

/// Nodes whose serving certificates are checked by DNS or a probe at a time; each takes one socket.
pub(super) const CHECKS: usize = 64;

/// Between two checks of one node, and the first pause after one that failed: whoever asks for many
/// certificates has its node dialled no more often than this.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause after checks that failed; it doubles up to this.
pub(super) const LONGEST_CHECK_PAUSE: Duration = Duration::from_secs(60);

/// One lookup of a name: the C library's own limit with two name servers is longer.
pub(super) const LOOKUP: Duration = Duration::from_secs(5);

/// Names whose newest client certificate is remembered: ten times Kubernetes' own limit of nodes. Whoever
/// is new beyond that waits until others' certificates end.
pub(super) const HOLDERS: usize = 50_000;

/// CSRs of the last part of `maxCSRs`, one of so many, are for those who hold a certificate, and for
/// administrators: whoever floods with bootstrap tokens cannot keep a node from renewing.
pub(super) const RESERVE: usize = 10;

/// CSRs of one node or gateway that may lie in that part: two are asked for at a time.
pub(super) const RESERVED_EACH: usize = 10;

/// How long a certificate that was issued lies before it makes room for others: clients poll within
/// seconds.
pub(super) const FETCH: Duration = Duration::from_secs(60);

/// How long a CSR of a node or gateway that nobody knows waits. A kubelet waits for 15 minutes and asks
/// again.
pub(super) const STRANGER: Duration = Duration::from_secs(20 * 60);

/// Identities whose rate of creation is remembered; the one that was idle longest is forgotten.
pub(super) const RATED_IDENTITIES: usize = 4096;

const _: () = assert!(eyesplice_identity::x509::REQUEST_PEM * 4 / 3 < BODY);
const _: () = assert!(STRANGERS_PER_SOURCE < STRANGERS && STRANGERS < CONNECTIONS);
const _: () = assert!(HANDSHAKE_TIMEOUT.as_secs() < FIRST_REQUEST.as_secs());
const _: () = assert!(CHECK_INTERVAL.as_secs() < LONGEST_CHECK_PAUSE.as_secs());
