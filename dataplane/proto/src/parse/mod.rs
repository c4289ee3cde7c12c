//! Parses HTTP/1 heads strictly (RFC 9112 sections 2 to 5), from a buffer that grows.
//!
//! Every leniency of the RFC that lets two parsers disagree is refused: a bare LF or CR, an empty
//! line before the head, whitespace before a colon, a folded line, runs of spaces in the first
//! line. The peers are Go programs that never send these (docs/wire.md, "Request smuggling").

use bytes::Bytes;
use thiserror::Error;

use crate::chars::{is_blank, is_token, is_value, trim};
use crate::head::{BadTarget, Method, Reason, RequestHead, RequestTarget, ResponseHead, Version};
use crate::headers::{HeaderName, HeaderValue, Headers, Sole};
use crate::limits;

/// Says what header names with an underscore are: `x_remote_user` and `X-Remote-User` are one
/// variable to CGI-like peers, so identity can be forged through them (docs/wire.md, "Forged identity
/// headers").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// Accepted: replies of kubelets and pods may have them.
    Accept,
    /// Refused: requests of clients whose identity we vouch for.
    Refuse,
}

/// Bounds a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Most bytes, blank line included.
    pub bytes: usize,
    /// Most header lines.
    pub headers: usize,
    /// What underscores in names are.
    pub underscores: Underscores,
}

impl HeadLimits {
    /// Bounds requests from clients and the API server.
    pub const REQUEST: Self = Self {
        bytes: limits::HEAD_BYTES,
        headers: limits::HEADERS,
        underscores: Underscores::Refuse,
    };
    /// Bounds replies.
    pub const RESPONSE: Self = Self {
        underscores: Underscores::Accept,
        ..Self::REQUEST
    };
    /// Bounds requests of clients of the Kubernetes API, whose server takes underscores for what
    /// they are.
    pub const API: Self = Self {
        underscores: Underscores::Accept,
        ..Self::REQUEST
    };
    /// The same while it is not known whose they are.
    pub const STRANGER: Self = Self {
        bytes: limits::STRANGER_HEAD_BYTES,
        ..Self::API
    };
    /// Bounds CONNECT requests.
    pub const CONNECT: Self = Self {
        bytes: limits::CONNECT_HEAD_BYTES,
        ..Self::REQUEST
    };
}

/// Remembers how far the search for the end of a head came, so that a head that arrives byte by byte
/// costs one pass. One per head; it resets itself when the head is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    searched: usize,
    line: usize,
}

/// What a buffer holds.
#[derive(Debug, Clone)]
pub enum Parsed<T> {
    /// The beginning of a head; call again with more bytes appended.
    Incomplete,
    /// A whole head. Bytes from `consumed` on are not part of it: deliver them first, exactly once.
    Complete {
        /// The head.
        head: T,
        /// How many bytes of the buffer it took.
        consumed: usize,
    },
}

impl<T> Parsed<T> {
    /// Turns the head into something else.
    ///
    /// # Errors
    /// Those of the closure.
    pub fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Parsed<U>, E> {
        Ok(match self {
            Self::Incomplete => Parsed::Incomplete,
            Self::Complete { head, consumed } => Parsed::Complete {
                head: map(head)?,
                consumed,
            },
        })
    }
}

/// Why bytes are no head that we accept: what and where, never the content. `offset` counts bytes of
/// the head from 0, `line` counts header lines from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The head does not end within the limit.
    #[error("head is larger than {limit} bytes; send fewer or shorter headers, or raise the limit")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There are more header lines than the limit.
    #[error("head has more than {limit} header lines; send fewer, or raise the limit")]
    TooManyHeaders {
        /// The limit in lines.
        limit: usize,
    },
    /// The first bytes cannot begin an HTTP/1 head; often the peer speaks TLS or HTTP/2.
    #[error("peer does not speak HTTP/1; check that TLS is expected on both ends or on neither")]
    NotHttp,
    /// A line ends in LF without CR.
    #[error("line feed without carriage return at byte {offset} of the head")]
    BareLf {
        /// Where.
        offset: usize,
    },
    /// The method is no token or too long.
    #[error("method is not a token of at most {} bytes", limits::METHOD_BYTES)]
    Method,
    /// The request line is not three parts with one space between.
    #[error("request line is not `method target version` with single spaces")]
    RequestLine,
    /// The target is not acceptable.
    #[error("request target is not acceptable")]
    RequestTarget(#[source] BadTarget),
    /// The target is not a path; absolute URIs, which proxies get, could differ from Host.
    #[error("request target does not begin with a slash")]
    TargetForm,
    /// A well-formed version that is not spoken here.
    #[error("HTTP version is not supported; use HTTP/1.1")]
    UnsupportedVersion,
    /// What should be a version is none.
    #[error("HTTP version is malformed")]
    Version,
    /// The status line is not version, three digits from 100 to 599 and a reason phrase.
    #[error("status line is malformed")]
    StatusLine,
    /// A line begins with whitespace: an obsolete continuation.
    #[error("header line {line} begins with whitespace")]
    Folded {
        /// Which.
        line: usize,
    },
    /// A line has no colon.
    #[error("header line {line} has no colon")]
    NoColon {
        /// Which.
        line: usize,
    },
    /// A line has nothing before its colon.
    #[error("header line {line} has an empty name")]
    EmptyName {
        /// Which.
        line: usize,
    },
    /// Whitespace stands between name and colon.
    #[error("header line {line} has whitespace before its colon")]
    SpaceBeforeColon {
        /// Which.
        line: usize,
    },
    /// The name is no token.
    #[error("header line {line} has an illegal character in its name")]
    Name {
        /// Which.
        line: usize,
    },
    /// The name has an underscore where they are refused.
    #[error("header line {line} has an underscore in its name; use a hyphen")]
    Underscore {
        /// Which.
        line: usize,
    },
    /// The value has a bare CR, a NUL or another control character.
    #[error("header line {line} has a control character in its value")]
    Value {
        /// Which.
        line: usize,
    },
    /// There is not exactly one Host header with a plausible value.
    #[error("request has no Host header, several, or a malformed one")]
    Host,
}

impl HeadError {
    /// Gives the HTTP status that tells the peer about it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } | Self::TooManyHeaders { .. } => 431,
            Self::UnsupportedVersion => 505,
            _ => 400,
        }
    }
}

/// Parses a request head: HTTP/1.1 with exactly one Host header. The target is a path, for OPTIONS
/// maybe `*`; that of CONNECT is for `authority` to judge.
///
/// `buf` is everything received since the last head; pass the same `progress` each time.
///
/// # Errors
/// `HeadError` as soon as the bytes cannot become an acceptable head. Answer and close: what follows
/// cannot be framed.
pub fn parse_request(
    buf: &[u8],
    progress: &mut Progress,
    limits: &HeadLimits,
) -> Result<Parsed<RequestHead>, HeadError> {
    if buf.first().is_some_and(|byte| !is_token(*byte)) {
        return Err(HeadError::NotHttp);
    }
    let Some(consumed) = find_end(buf, progress, limits.bytes)? else {
        return Ok(Parsed::Incomplete);
    };
    let (first, rest) = split(&buf[..consumed]);
    let (method, target, version) = request_line(&first)?;
    let headers = header_lines(&rest, limits)?;
    let host = match headers.sole("host") {
        Sole::One(value) => value.as_bytes(),
        Sole::Absent | Sole::Repeated => return Err(HeadError::Host),
    };
    if !host
        .iter()
        .all(|byte| byte.is_ascii_graphic() && !b"/\\,@?#\"<>".contains(byte))
    {
        return Err(HeadError::Host);
    }
    Ok(Parsed::Complete {
        head: RequestHead {
            method,
            target,
            version,
            headers,
        },
        consumed,
    })
}

/// Parses a response head, HTTP/1.0 or 1.1; arguments and errors as for `parse_request`.
///
/// # Errors
/// `HeadError`: the upstream leg cannot be used further.
pub fn parse_response(
    buf: &[u8],
    progress: &mut Progress,
    limits: &HeadLimits,
) -> Result<Parsed<ResponseHead>, HeadError> {
    const START: &[u8] = b"HTTP/";
    let seen = buf.len().min(START.len());
    if buf[..seen] != START[..seen] {
        return Err(HeadError::NotHttp);
    }
    let Some(consumed) = find_end(buf, progress, limits.bytes)? else {
        return Ok(Parsed::Incomplete);
    };
    let (first, rest) = split(&buf[..consumed]);
    let (version, status, reason) = status_line(&first)?;
    let headers = header_lines(&rest, limits)?;
    Ok(Parsed::Complete {
        head: ResponseHead {
            version,
            status,
            reason,
            headers,
        },
        consumed,
    })
}

/// Finds the byte after the blank line, and checks that every line ends in CR LF.
fn find_end(buf: &[u8], progress: &mut Progress, limit: usize) -> Result<Option<usize>, HeadError> {
    let window = &buf[..buf.len().min(limit)];
    let mut from = progress.searched.min(window.len());
    while let Some(found) = memchr::memchr(b'\n', &window[from..]) {
        let lf = from + found;
        if lf == 0 || window[lf - 1] != b'\r' {
            return Err(HeadError::BareLf { offset: lf });
        }
        if lf - 1 == progress.line {
            *progress = Progress::default();
            return Ok(Some(lf + 1));
        }
        from = lf + 1;
        progress.line = from;
    }
    progress.searched = window.len();
    if buf.len() >= limit {
        Err(HeadError::TooLarge { limit })
    } else {
        Ok(None)
    }
}

/// Copies a complete head once, and cuts it into first line and header lines, the latter each with
/// its CR LF and without the blank line.
fn split(head: &[u8]) -> (Bytes, Bytes) {
    let mut rest = Bytes::copy_from_slice(head);
    let lf = memchr::memchr(b'\n', &rest).unwrap_or(rest.len() - 1);
    let mut first = rest.split_to(lf + 1);
    first.truncate(lf.saturating_sub(1));
    rest.truncate(rest.len().saturating_sub(2));
    (first, rest)
}

fn request_line(line: &Bytes) -> Result<(Method, RequestTarget, Version), HeadError> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::RequestLine);
    };
    let short = method.len() <= limits::METHOD_BYTES;
    let method = Method::from_bytes(method).ok().filter(|_| short);
    let method = method.ok_or(HeadError::Method)?;
    let target = RequestTarget::new(line.slice_ref(target)).map_err(HeadError::RequestTarget)?;
    if parse_version(version)? == Version::Http10 {
        return Err(HeadError::UnsupportedVersion);
    }
    let fits = match target.as_str() {
        "*" => method == Method::OPTIONS,
        target => target.starts_with('/'),
    };
    if fits || method == Method::CONNECT {
        Ok((method, target, Version::Http11))
    } else {
        Err(HeadError::TargetForm)
    }
}

fn status_line(line: &Bytes) -> Result<(Version, u16, Reason), HeadError> {
    let version = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    let rest = line.slice(version.len()..);
    let version = parse_version(version)?;
    let [
        b' ',
        hundreds @ b'1'..=b'5',
        tens @ b'0'..=b'9',
        ones @ b'0'..=b'9',
        reason @ ..,
    ] = &rest[..]
    else {
        return Err(HeadError::StatusLine);
    };
    // The space before an absent reason phrase is missing in many servers; nothing depends on it.
    let reason = match reason {
        [] => Bytes::new(),
        [b' ', reason @ ..] => rest.slice_ref(reason),
        _ => return Err(HeadError::StatusLine),
    };
    let digit = |byte: u8| u16::from(byte - b'0');
    let status = digit(*hundreds) * 100 + digit(*tens) * 10 + digit(*ones);
    Ok((
        version,
        status,
        Reason::checked(reason).ok_or(HeadError::StatusLine)?,
    ))
}

fn parse_version(version: &[u8]) -> Result<Version, HeadError> {
    match version {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(HeadError::UnsupportedVersion)
        }
        _ => Err(HeadError::Version),
    }
}

fn header_lines(lines: &Bytes, limits: &HeadLimits) -> Result<Headers, HeadError> {
    let mut headers = Headers::new();
    let count = memchr::memchr_iter(b'\n', lines).count();
    if count > limits.headers {
        return Err(HeadError::TooManyHeaders {
            limit: limits.headers,
        });
    }
    headers.reserve(count);
    let mut start = 0;
    for lf in memchr::memchr_iter(b'\n', lines) {
        let line = &lines[start..lf.saturating_sub(1).max(start)];
        let (name, value) = header_line(line, headers.len() + 1, limits.underscores)?;
        headers.append(
            HeaderName::checked(lines.slice_ref(name)),
            HeaderValue::checked(lines.slice_ref(value)),
        );
        start = lf + 1;
    }
    Ok(headers)
}

fn header_line(
    bytes: &[u8],
    line: usize,
    underscores: Underscores,
) -> Result<(&[u8], &[u8]), HeadError> {
    if bytes.first().is_some_and(|byte| is_blank(*byte)) {
        return Err(HeadError::Folded { line });
    }
    let colon = memchr::memchr(b':', bytes).ok_or(HeadError::NoColon { line })?;
    let (name, value) = (&bytes[..colon], trim(&bytes[colon + 1..]));
    match name.last() {
        None => return Err(HeadError::EmptyName { line }),
        Some(last) if is_blank(*last) => return Err(HeadError::SpaceBeforeColon { line }),
        Some(_) => {}
    }
    if !name.iter().all(|byte| is_token(*byte)) {
        return Err(HeadError::Name { line });
    }
    if underscores == Underscores::Refuse && name.contains(&b'_') {
        return Err(HeadError::Underscore { line });
    }
    if !value.iter().all(|byte| is_value(*byte)) {
        return Err(HeadError::Value { line });
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests;
