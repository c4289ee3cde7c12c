//! Writes heads out again in one spelling: single spaces, CR LF, no whitespace around values.
//!
//! The types of `head` and `headers` cannot hold a byte that would end a line, so nothing is checked
//! here and nothing of a peer's own layout survives.

use crate::head::{RequestHead, ResponseHead};
use crate::headers::{HeaderName, HeaderValue, Headers};

/// Appends a request head with its blank line.
pub fn write_request(head: &RequestHead, out: &mut Vec<u8>) {
    let (method, target) = (head.method.as_str(), head.target.as_str());
    out.reserve(method.len() + target.len() + head.version.as_str().len() + LINE_EXTRA);
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.version.as_str().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_headers(&head.headers, out);
}

/// Appends a response head with its blank line.
pub fn write_response(head: &ResponseHead, out: &mut Vec<u8>) {
    let digits = [
        head.status / 100 % 10,
        head.status / 10 % 10,
        head.status % 10,
    ];
    out.extend_from_slice(head.version.as_str().as_bytes());
    out.push(b' ');
    out.extend(digits.map(|digit| b"0123456789"[usize::from(digit)]));
    out.push(b' ');
    out.extend_from_slice(head.reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_headers(&head.headers, out);
}

/// Bytes of a line beside its parts: two separators and CR LF.
const LINE_EXTRA: usize = 4;

fn write_headers(headers: &Headers, out: &mut Vec<u8>) {
    let size = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.as_bytes().len() + LINE_EXTRA
    };
    out.reserve(headers.iter().map(size).sum::<usize>() + LINE_EXTRA);
    for (name, value) in headers.iter() {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}
