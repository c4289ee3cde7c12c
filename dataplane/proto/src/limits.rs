//! Names every bound of this crate, with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Largest head that any listener accepts, in bytes: what kube-apiserver and kubelet accept
/// (docs/wire.md, "API server limits"), so that a bearer token with many groups passes us if it
/// passes them.
pub const HEAD_BYTES: usize = 1 << 20;

/// Largest head of a client of the Kubernetes API that is not known yet, in bytes: a command of
/// 128 KiB, the longest argument that Linux takes, passes in its percent-encoding, and a crowd of
/// strangers costs a quarter of what it could.
pub const STRANGER_HEAD_BYTES: usize = 256 << 10;

/// Largest CONNECT head, in bytes. The API server sends under 400 (a 253-byte name, `Host`, a blank
/// line); the rest is room for another client's User-Agent and Proxy-Authorization.
pub const CONNECT_HEAD_BYTES: usize = 8 << 10;

/// Most header lines of a head. One line per group is what a front proxy sends (`X-Remote-Group`),
/// and users in a hundred groups exist.
pub const HEADERS: usize = 128;

/// Longest method token in bytes; the longest registered one is 17 (`UPDATEREDIRECTREF`).
pub const METHOD_BYTES: usize = 32;

/// Most elements of a `Connection` header over all its lines: each costs one pass over the headers,
/// and honest peers name one or two.
pub const CONNECTION_ELEMENTS: usize = 16;

/// Most interim (1xx) replies before a final one. Kubelets send none or one `100 Continue`; a peer
/// that goes on holds a stream without an answer.
pub const INTERIM_REPLIES: usize = 8;

/// Most digits of a Content-Length: those of 2^63 - 1, the largest that Go peers can represent.
pub const CONTENT_LENGTH_DIGITS: usize = 19;

/// Most digits of a chunk size: 16 hexadecimal digits are exactly 64 bits, so no overflow is
/// possible.
pub const CHUNK_SIZE_DIGITS: usize = 16;

/// Longest chunk extension in bytes. Nobody in Kubernetes sends one; the bound stops a peer that
/// hides bytes from everything that counts body bytes (CVE-2023-39326).
pub const CHUNK_EXTENSION_BYTES: usize = 256;

/// Most extension bytes over all chunks of one body, for the same reason.
pub const CHUNK_EXTENSIONS_BYTES: usize = 16 << 10;

/// Largest trailer section in bytes: Go peers send trailers only when a handler announces them, and
/// no kubelet handler does.
pub const TRAILER_BYTES: usize = 8 << 10;

/// Most bytes of a header name that the trailer check compares: longer than any name it refuses.
pub const TRAILER_NAME_BYTES: usize = 32;

/// Longest reason phrase that we write, in bytes. It is all that a kubectl user sees of a refused
/// CONNECT (docs/wire.md, "The CONNECT answer"): long enough for cause and remedy, short enough for
/// one terminal screen.
pub const REASON_BYTES: usize = 512;

/// Longest DNS name in presentation form without the final dot, in bytes (RFC 1035 section 2.3.4).
pub const NAME_BYTES: usize = 253;

/// Longest label of a DNS name in bytes (RFC 1035 section 2.3.4).
pub const LABEL_BYTES: usize = 63;

/// Most segments of a kubelet path. The deepest known ones are node log files below `/logs/`.
pub const PATH_SEGMENTS: usize = 32;

/// Longest segment of a kubelet path that names an object, in bytes: a pod name is a DNS subdomain.
pub const SEGMENT_BYTES: usize = 253;

/// Longest user and longest password of a proxy, in bytes: what SOCKS5 can say (RFC 1929
/// section 2).
pub const LOGIN_BYTES: usize = 255;

/// Largest tunnel frame in bytes, without the two bytes of its length: the largest text, the
/// longest name and all fixed fields together are a fourth of it.
pub const TUNNEL_FRAME_BYTES: usize = 4096;

/// Most gateways that an agent is told of in one frame: an agent holds two or three of them, and
/// one gateway is enough for a thousand agents.
pub const TUNNEL_GATEWAYS: usize = 64;

/// Longest address of a gateway with its port, as text: `[` an IPv6 address `%` a scope `]:65535`.
const TUNNEL_ADDRESS_BYTES: usize = 58;

// Each address has two bytes of key and length, and the message and its frame have three.
const _: () = assert!(TUNNEL_GATEWAYS * (TUNNEL_ADDRESS_BYTES + 2) + 8 <= TUNNEL_FRAME_BYTES);

/// Longest words of a tunnel frame in characters, all of one byte: what a client sees of them is
/// a reason phrase.
pub const TUNNEL_WORDS: usize = REASON_BYTES;

/// Longest version that an agent claims, in characters: `v1.2.3-rc.4+` and a commit.
pub const TUNNEL_VERSION: usize = 64;

/// Longest time that an open or a dial may be given, in milliseconds: the ids of opens are kept
/// so long.
pub const TUNNEL_DEADLINE_MS: u32 = 600_000;

/// Shortest and longest time between two pings, in milliseconds. A shorter one is load; a longer
/// one finds a dead peer (three of them) after half an hour, and most NATs have forgotten by then.
pub const TUNNEL_PING_MS: RangeInclusive<u32> = 100..=600_000;

/// Most parked connections that a gateway may ask of one agent: a burst of opens within one round
/// trip is smaller, and each costs both ends a TLS session.
pub const TUNNEL_PARK: u32 = 1024;

/// Shortest and longest wait for the acceptance of an open on a parked connection. The shortest
/// leaves a busy agent time to be scheduled, the longest leaves time of a deadline for others.
pub const TUNNEL_ACCEPT: RangeInclusive<Duration> =
    Duration::from_millis(250)..=Duration::from_secs(5);

/// Shortest and longest wait for a connection that an agent was asked for, before another agent is
/// asked. It takes three round trips and the work of a handshake at both ends.
pub const TUNNEL_ARRIVE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

/// The round trip of an agent that has answered no ping yet (the first timeout of RFC 6298, divided
/// by the four round trips that are waited for).
pub const TUNNEL_FIRST_ROUND_TRIP: Duration = Duration::from_millis(250);

/// Most parked connections of one agent that one open is sent on: if two in a row are dead, all are
/// likely to be, and a fresh one finds out.
pub const TUNNEL_PARKED_TRIES: usize = 2;

/// Most connections that are taken or asked for in the course of one open: three agents with
/// all their tries.
pub const TUNNEL_TRIES: usize = 3 * (TUNNEL_PARKED_TRIES + 1);

/// Width of a slot in which opens are counted: within one to two of them a taken connection is
/// replaced on any path.
pub const TUNNEL_POOL_SLOT: Duration = Duration::from_millis(500);

/// How many slots the busiest time is remembered: 30 seconds.
pub const TUNNEL_POOL_SLOTS: u64 = 60;

/// A parked connection that dies within this time died young. NATs must keep idle TCP connections
/// for two hours (RFC 5382), and the worst that are common keep them for some minutes.
pub const TUNNEL_POOL_YOUNG: Duration = Duration::from_secs(60);

/// How many young deaths in a row are no accident.
pub const TUNNEL_POOL_RUN: u32 = 3;

/// After this time one more parked connection is tried where they died young: a handshake for
/// nothing so often is not felt.
pub const TUNNEL_POOL_RELAX: Duration = Duration::from_secs(600);

/// Most opens that an agent remembers: a thousand in each second of the grace, in about 6 MiB.
pub const TUNNEL_SEEN: usize = 65_536;

/// How long an open is remembered after its deadline: no segment that TCP still delivers is older
/// in practice.
pub const TUNNEL_SEEN_GRACE: Duration = Duration::from_secs(60);

/// A control connection that lived so long shows that the gateway is well: back-off starts over.
pub const TUNNEL_LIVED: Duration = Duration::from_secs(10);

const _: () = assert!(CONNECT_HEAD_BYTES < STRANGER_HEAD_BYTES && STRANGER_HEAD_BYTES < HEAD_BYTES);
const _: () = assert!(
    CONNECT_HEAD_BYTES > 2 * (NAME_BYTES + 64),
    "name in target and in Host"
);
const _: () = assert!(REASON_BYTES < CONNECT_HEAD_BYTES);
// Lengths of SOCKS5 are bytes.
const _: () = assert!(LOGIN_BYTES <= u8::MAX as usize);
const _: () = assert!(NAME_BYTES <= u8::MAX as usize);
const _: () = assert!(LABEL_BYTES < NAME_BYTES);
const _: () = assert!(SEGMENT_BYTES >= NAME_BYTES);
const _: () = assert!(CHUNK_SIZE_DIGITS * 4 == u64::BITS as usize);
const _: () = assert!(CHUNK_EXTENSION_BYTES <= CHUNK_EXTENSIONS_BYTES);
const _: () = assert!(TRAILER_NAME_BYTES < TRAILER_BYTES && TRAILER_BYTES < HEAD_BYTES);
const _: () = assert!(CONNECTION_ELEMENTS <= HEADERS);
const _: () = assert!(
    TUNNEL_FRAME_BYTES >= 4 * (TUNNEL_WORDS + TUNNEL_VERSION + NAME_BYTES),
    "every message that is written fits"
);
const _: () = assert!(TUNNEL_FRAME_BYTES <= u16::MAX as usize);
