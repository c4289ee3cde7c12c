//! Holds the header lines of one head, in the order and spelling in which they came.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::chars::{is_token, is_value, trim};

/// Why bytes cannot become a header name or value. Never shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadHeader {
    /// The name is empty or has a byte that is no token character.
    #[error("header name is not a token")]
    Name,
    /// The value has a control character, or whitespace at an end.
    #[error("header value has a control character, or whitespace at an end")]
    Value,
}

/// Names a header line; always a token, in the spelling in which it came.
#[derive(Clone, derive_more::Debug)]
#[debug("{}", self.as_str())]
pub struct HeaderName(Bytes);

impl HeaderName {
    /// Makes a name of a literal; a literal that is no token panics, at compile time in a `const`.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        let bytes = name.as_bytes();
        assert!(!bytes.is_empty(), "empty header name");
        let mut at = 0;
        while at < bytes.len() {
            assert!(is_token(bytes[at]), "header name is not a token");
            at += 1;
        }
        Self(Bytes::from_static(bytes))
    }

    /// Makes a name of bytes.
    ///
    /// # Errors
    /// `BadHeader::Name` if they are no token.
    pub fn new(name: &[u8]) -> Result<Self, BadHeader> {
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(BadHeader::Name);
        }
        Ok(Self(Bytes::copy_from_slice(name)))
    }

    /// Takes bytes that the head parser has checked.
    pub(crate) const fn checked(name: Bytes) -> Self {
        Self(name)
    }

    /// Gives the name as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Compares without regard to case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.0.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Holds the value of a header line without the whitespace around it, byte for byte (obs-text is
/// kept). Any value may be a secret, so `Debug` shows its length only.
#[derive(Clone, derive_more::Debug)]
#[debug("<{} bytes>", _0.len())]
pub struct HeaderValue(Bytes);

impl HeaderValue {
    /// Makes a value of a literal; an illegal literal panics, at compile time in a `const`.
    #[must_use]
    pub const fn from_static(value: &'static str) -> Self {
        let bytes = value.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            assert!(is_value(bytes[at]), "header value has a control character");
            at += 1;
        }
        let edge = bytes.len() - (!bytes.is_empty()) as usize;
        assert!(
            bytes.is_empty() || (bytes[0] > b' ' && bytes[edge] > b' '),
            "header value has whitespace at an end"
        );
        Self(Bytes::from_static(bytes))
    }

    /// Makes a value of bytes.
    ///
    /// # Errors
    /// `BadHeader::Value` if they hold a control character or begin or end with whitespace.
    pub fn new(value: impl Into<Bytes>) -> Result<Self, BadHeader> {
        let value = value.into();
        if trim(&value).len() != value.len() || !value.iter().all(|byte| is_value(*byte)) {
            return Err(BadHeader::Value);
        }
        Ok(Self(value))
    }

    /// Takes bytes that the head parser has checked.
    pub(crate) const fn checked(value: Bytes) -> Self {
        Self(value)
    }

    /// Gives the bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Gives the value as text, or nothing if it is not UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }

    /// Compares without regard to ASCII case.
    #[must_use]
    pub fn is(&self, value: &str) -> bool {
        self.0.eq_ignore_ascii_case(value.as_bytes())
    }

    /// Iterates over the elements of a comma list, trimmed, empty ones left out.
    pub fn elements(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b',')
            .map(trim)
            .filter(|element| !element.is_empty())
    }
}

impl From<u64> for HeaderValue {
    fn from(number: u64) -> Self {
        Self(Bytes::from(number.to_string()))
    }
}

/// Says how often a header stands in a head, for headers that may stand once.
#[derive(Debug, Clone, Copy)]
pub enum Sole<'a> {
    /// No line has this name.
    Absent,
    /// One line has it.
    One(&'a HeaderValue),
    /// Several lines have it.
    Repeated,
}

/// Holds header lines in order; lookup ignores case. `Debug` shows names, never values.
#[derive(Clone, Default)]
pub struct Headers {
    lines: Vec<(HeaderName, HeaderValue)>,
}

impl Headers {
    /// Makes an empty list.
    #[must_use]
    pub const fn new() -> Self {
        Self { lines: Vec::new() }
    }

    /// Counts the lines.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Says whether there is no line.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Iterates over all lines in order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.lines.iter().map(|(name, value)| (name, value))
    }

    /// Gives the first value of a name.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&HeaderValue> {
        self.all(name).next()
    }

    /// Iterates over the values of every line of a name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &HeaderValue> {
        self.lines
            .iter()
            .filter(move |line| line.0.is(name))
            .map(|line| &line.1)
    }

    /// Gives the value of a header that may stand once.
    #[must_use]
    pub fn sole(&self, name: &str) -> Sole<'_> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (None, _) => Sole::Absent,
            (Some(value), None) => Sole::One(value),
            (Some(_), Some(_)) => Sole::Repeated,
        }
    }

    /// Says whether a line of this name is there.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Iterates over the comma-separated elements of every line of a name.
    pub fn elements(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.all(name).flat_map(HeaderValue::elements)
    }

    /// Says whether a comma-separated element, compared without case, is there.
    #[must_use]
    pub fn lists(&self, name: &str, element: &str) -> bool {
        self.elements(name)
            .any(|found| found.eq_ignore_ascii_case(element.as_bytes()))
    }

    /// Adds a line at the end.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.lines.push((name, value));
    }

    /// Makes a line the only one of its name: in the place of the first, or else at the end.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(at) = self.lines.iter().position(|line| line.0.is(name.as_str())) else {
            return self.append(name, value);
        };
        let mut seen = 0;
        self.lines.retain(|line| {
            seen += 1;
            seen <= at + 1 || !line.0.is(name.as_str())
        });
        self.lines[at] = (name, value);
    }

    /// Takes all lines of a name out and counts them.
    pub fn remove(&mut self, name: &str) -> usize {
        self.remove_where(|found| found.is(name))
    }

    /// Takes out all lines whose name the closure picks, and counts them.
    pub fn remove_where(&mut self, mut pick: impl FnMut(&HeaderName) -> bool) -> usize {
        let before = self.lines.len();
        self.lines.retain(|line| !pick(&line.0));
        before - self.lines.len()
    }

    /// Makes room for lines to come.
    pub(crate) fn reserve(&mut self, lines: usize) {
        self.lines.reserve(lines);
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        headers
    }

    fn shown(headers: &Headers) -> Vec<String> {
        let line = |(n, v): (&HeaderName, &HeaderValue)| {
            format!("{}={}", n.as_str(), String::from_utf8_lossy(v.as_bytes()))
        };
        headers.iter().map(line).collect()
    }

    #[test]
    fn lookup_name_in_other_case_finds_all_lines_in_order() {
        let headers = headers(&[("Via", "a"), ("Host", "h"), ("vIA", "b"), ("via", "")]);
        let values: Vec<_> = headers.all("VIA").map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [&b"a"[..], b"b", b""]);
        assert!(matches!(headers.sole("host"), Sole::One(value) if value.is("H")));
        assert!(matches!(headers.sole("via"), Sole::Repeated));
        assert!(matches!(headers.sole("x"), Sole::Absent));
    }

    #[test]
    fn set_repeated_name_leaves_one_line_in_place_of_the_first() {
        let mut headers = headers(&[("A", "1"), ("B", "2"), ("a", "3"), ("C", "4"), ("a", "5")]);
        headers.set(HeaderName::from_static("a"), HeaderValue::from(9));
        assert_eq!(shown(&headers), ["a=9", "B=2", "C=4"]);
        headers.set(HeaderName::from_static("D"), HeaderValue::from_static(""));
        assert_eq!(shown(&headers), ["a=9", "B=2", "C=4", "D="]);
        assert_eq!(headers.remove("A"), 1);
        assert_eq!(headers.remove("A"), 0);
        assert_eq!(shown(&headers), ["B=2", "C=4", "D="]);
    }

    #[test]
    fn elements_lists_over_lines_are_one_list() {
        let headers = headers(&[("Connection", "close, ,Upgrade"), ("connection", "\"x\"")]);
        let found: Vec<_> = headers.elements("Connection").collect();
        assert_eq!(found, [&b"close"[..], b"Upgrade", b"\"x\""]);
        assert!(headers.lists("connection", "upgrade"));
        assert!(!headers.lists("connection", "upgrad"));
    }

    #[test]
    fn debug_of_headers_shows_no_value() {
        let headers = headers(&[("Authorization", "Bearer secret-token")]);
        let shown = format!("{headers:?}");
        assert!(
            shown.contains("Authorization") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn new_hostile_names_and_values_are_refused() {
        for name in [&b""[..], b"a b", b"a:", b"a\r\n", b"\x80", b"a\0"] {
            assert_eq!(HeaderName::new(name).err(), Some(BadHeader::Name));
        }
        for value in [&b"a\r\nb: c"[..], b"\0", b" a", b"a\t", b"\x7f", b"a\nb"] {
            assert_eq!(HeaderValue::new(value).err(), Some(BadHeader::Value));
        }
        assert!(HeaderValue::new(&b"caf\xe9 \tb"[..]).is_ok());
    }
}
