//! Types of request and response heads whose parts are always safe to write out again.

use std::fmt;

use bytes::Bytes;
pub use http::Method;
use thiserror::Error;

use crate::chars::{hex, is_path, is_query, is_value};
use crate::headers::Headers;
use crate::limits;

/// Why bytes cannot be a request target. Never shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadTarget {
    /// It has no byte.
    #[error("request target is empty")]
    Empty,
    /// A byte may not stand there.
    #[error("request target has an illegal character at byte {offset}")]
    Character {
        /// Where, counted from the start of the target.
        offset: usize,
    },
    /// A `%` in the path is not followed by two hexadecimal digits.
    #[error("request target has a broken percent-encoding at byte {offset}")]
    Percent {
        /// Where, counted from the start of the target.
        offset: usize,
    },
}

/// Holds a request target. `Debug` and `Display` leave out the query (an exec's command is in it)
/// and everything that could carry user information.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestTarget(Bytes);

impl RequestTarget {
    /// Makes a target: the characters of RFC 3986 before the query, visible ASCII without `#` in it.
    ///
    /// # Errors
    /// `BadTarget` says which byte is wrong.
    pub fn new(target: impl Into<Bytes>) -> Result<Self, BadTarget> {
        let target = target.into();
        if target.is_empty() {
            return Err(BadTarget::Empty);
        }
        let path = memchr::memchr(b'?', &target).unwrap_or(target.len());
        for (offset, byte) in target.iter().enumerate() {
            let legal = if offset < path {
                is_path(*byte)
            } else {
                is_query(*byte)
            };
            if !legal {
                return Err(BadTarget::Character { offset });
            }
        }
        for offset in memchr::memchr_iter(b'%', &target[..path]) {
            let digits = target[..path].get(offset + 1..offset + 3);
            if !digits.is_some_and(|digits| digits.iter().all(|digit| hex(*digit).is_some())) {
                return Err(BadTarget::Percent { offset });
            }
        }
        Ok(Self(target))
    }

    /// Gives all of it. The query of an exec holds the command: never log it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Gives what stands before the query, percent-encoded as it came.
    #[must_use]
    pub fn path(&self) -> &str {
        self.as_str()
            .split_once('?')
            .map_or(self.as_str(), |(path, _)| path)
    }

    /// Gives the query without its `?`. That of an exec holds the command: never log it.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.as_str().split_once('?').map(|(_, query)| query)
    }
}

impl fmt::Display for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path();
        if !path.starts_with('/') && path.contains('@') {
            return f.write_str("<redacted>");
        }
        f.write_str(path)?;
        if self.query().is_some() {
            f.write_str("?<redacted>")
        } else {
            Ok(())
        }
    }
}

impl fmt::Debug for RequestTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Names the HTTP versions that heads of this crate can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0, in responses only.
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// Gives the version as it stands in a head.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

/// Holds a reason phrase: one line, no control character, maybe empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reason(Bytes);

impl Reason {
    /// Makes a reason phrase of any text: everything but visible ASCII becomes `?`, whitespace of
    /// any length and kind one space, and what goes beyond `limits::REASON_BYTES` an ellipsis. For
    /// a refused CONNECT it is all that the user sees, so it must pass; it never fails.
    #[must_use]
    pub fn sanitised(text: &str) -> Self {
        const ELLIPSIS: &str = "...";
        let mut line = String::new();
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            if word.is_empty() {
                continue;
            }
            if !line.is_empty() {
                line.push(' ');
            }
            let visible = word
                .chars()
                .map(|c| if c.is_ascii_graphic() { c } else { '?' });
            line.extend(visible.take(limits::REASON_BYTES + 1));
            if line.len() > limits::REASON_BYTES {
                line.truncate(limits::REASON_BYTES - ELLIPSIS.len());
                line.push_str(ELLIPSIS);
                break;
            }
        }
        Self(Bytes::from(line))
    }

    /// Takes bytes off the wire; nothing if one of them may not stand in a reason phrase.
    pub(crate) fn checked(reason: Bytes) -> Option<Self> {
        reason
            .iter()
            .all(|byte| is_value(*byte))
            .then_some(Self(reason))
    }

    /// Gives the bytes; they may be obs-text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Holds the head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// What to do.
    pub method: Method,
    /// With what.
    pub target: RequestTarget,
    /// Always 1.1 when parsed.
    pub version: Version,
    /// The header lines.
    pub headers: Headers,
}

/// Holds the head of a response.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// Either; a 1.0 reply keeps its version so that framing can judge it.
    pub version: Version,
    /// 100 to 599 when parsed.
    pub status: u16,
    /// What the server says about the status.
    pub reason: Reason,
    /// The header lines.
    pub headers: Headers,
}

impl ResponseHead {
    /// Makes an HTTP/1.1 head without headers; the text is sanitised.
    #[must_use]
    pub fn new(status: u16, reason: &str) -> Self {
        let headers = Headers::new();
        Self {
            version: Version::Http11,
            status,
            reason: Reason::sanitised(reason),
            headers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_with_query_shows_none_of_it() {
        let target = RequestTarget::new("/exec/ns/p/c?command=hunter2&input=1").unwrap();
        assert_eq!(target.path(), "/exec/ns/p/c");
        assert_eq!(target.query(), Some("command=hunter2&input=1"));
        assert_eq!(format!("{target}"), "/exec/ns/p/c?<redacted>");
        assert_eq!(format!("{target:?}"), "/exec/ns/p/c?<redacted>");
        let target = RequestTarget::new("https://user:hunter2@host/").unwrap();
        assert_eq!(format!("{target:?}"), "<redacted>");
    }

    #[test]
    fn target_hostile_bytes_are_refused_with_their_place() {
        let character = |offset| Err(BadTarget::Character { offset });
        let percent = |offset| Err(BadTarget::Percent { offset });
        for (target, expected) in [
            (&b""[..], Err(BadTarget::Empty)),
            (b"/a b", character(2)),
            (b"/a\x00", character(2)),
            (b"/a#f", character(2)),
            (b"/?a#f", character(3)),
            (b"/\\exec", character(1)),
            (b"/{a}", character(1)),
            (b"/?\x7f", character(2)),
            (b"/caf\xc3\xa9", character(4)),
            (b"/%", percent(1)),
            (b"/%4", percent(1)),
            (b"/%4?1", percent(1)),
            (b"/a%zz", percent(2)),
            (b"/a%41/?q=%zz{|}", Ok(())),
            (b"[::1]:10250", Ok(())),
            (b"*", Ok(())),
        ] {
            assert_eq!(
                RequestTarget::new(target).map(|_| ()),
                expected,
                "{}",
                target.escape_ascii()
            );
        }
    }

    #[test]
    fn reason_sanitised_any_text_is_one_bounded_visible_line() {
        let long = "x".repeat(4 * limits::REASON_BYTES);
        for (text, expected) in [
            ("", String::new()),
            ("a\r\nX: y\0\tb", "a X: y b".into()),
            ("  caf\u{e9}\u{2028}ok  ", "caf? ok".into()),
            (
                &long,
                format!("{}...", "x".repeat(limits::REASON_BYTES - 3)),
            ),
        ] {
            assert_eq!(Reason::sanitised(text).to_string(), expected);
        }
        let exact = "y".repeat(limits::REASON_BYTES);
        assert_eq!(Reason::sanitised(&exact).to_string(), exact);
    }
}
