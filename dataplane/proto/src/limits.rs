//! Names every bound of this crate, with its reason.

/// Largest head that any listener accepts, in bytes: what kube-apiserver and kubelet accept
/// (docs/wire.md, "API server limits"), so that a bearer token with many groups passes us if it
/// passes them.
pub const HEAD_BYTES: usize = 1 << 20;

/// Smallest head limit that an operator may configure, in bytes: tokens with many groups are
/// normal, and below this real clients break (docs/wire.md, "Large heads").
pub const HEAD_BYTES_FLOOR: usize = 64 << 10;

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

/// Most digits of a chunk size: 16 hexadecimal digits are exactly 64 bits, so no overflow is possible.
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

const _: () = assert!(HEAD_BYTES_FLOOR <= HEAD_BYTES);
const _: () = assert!(CONNECT_HEAD_BYTES <= HEAD_BYTES_FLOOR);
const _: () = assert!(
    CONNECT_HEAD_BYTES > 2 * (NAME_BYTES + 64),
    "name in target and in Host"
);
const _: () = assert!(REASON_BYTES < CONNECT_HEAD_BYTES);
const _: () = assert!(LABEL_BYTES < NAME_BYTES);
const _: () = assert!(SEGMENT_BYTES >= NAME_BYTES);
const _: () = assert!(CHUNK_SIZE_DIGITS * 4 == u64::BITS as usize);
const _: () = assert!(CHUNK_EXTENSION_BYTES <= CHUNK_EXTENSIONS_BYTES);
const _: () = assert!(TRAILER_NAME_BYTES < TRAILER_BYTES && TRAILER_BYTES <= HEAD_BYTES_FLOOR);
const _: () = assert!(CONNECTION_ELEMENTS <= HEADERS);
