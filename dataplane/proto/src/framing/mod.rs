//! Decides how the body of a message is delimited (RFC 9112 section 6), refusing every message on
//! whose length two parsers could disagree (docs/wire.md, "Request smuggling").

use thiserror::Error;

use crate::head::{Method, RequestHead, ResponseHead, Version};
use crate::headers::{HeaderName, HeaderValue, Headers, Sole};
use crate::limits;

/// Says where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none: the message ends with its head.
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked,
    /// When the connection ends; replies only.
    UntilClose,
}

/// Why the end of a body cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FramingError {
    /// Both headers are there.
    #[error("message has both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Several Content-Length lines, or a list in one: even equal ones are refused.
    #[error("message has more than one Content-Length")]
    RepeatedLength,
    /// The value is not digits, or too large.
    #[error("Content-Length is not a number below 2^63")]
    BadLength,
    /// Something else than one `chunked`.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    BadEncoding,
    /// HTTP/1.0 has no Transfer-Encoding.
    #[error("HTTP/1.0 message has a Transfer-Encoding")]
    EncodingInHttp10,
    /// A 1xx or 204 reply announces a body.
    #[error("reply whose status allows no body announces one")]
    BodyNotAllowed,
}

/// Decides the framing of a request; never `UntilClose`.
///
/// # Errors
/// `FramingError`: answer 400 and close.
pub fn request_framing(head: &RequestHead) -> Result<Framing, FramingError> {
    Ok(announced(head.version, &head.headers)?.unwrap_or(Framing::None))
}

/// Decides the framing of the reply to a request with `method`.
///
/// # Errors
/// `FramingError`: the upstream cannot be relayed; answer 502.
pub fn response_framing(method: &Method, head: &ResponseHead) -> Result<Framing, FramingError> {
    let announced = announced(head.version, &head.headers)?;
    let tunnel = *method == Method::CONNECT && matches!(head.status, 200..=299);
    match head.status {
        100..=199 | 204 => match announced {
            None | Some(Framing::Length(0)) => Ok(Framing::None),
            Some(_) => Err(FramingError::BodyNotAllowed),
        },
        304 => Ok(Framing::None),
        _ if *method == Method::HEAD || tunnel => Ok(Framing::None),
        _ => Ok(announced.unwrap_or(Framing::UntilClose)),
    }
}

impl Framing {
    /// Says whether no body byte will come.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }

    /// Writes the headers that announce it, in one spelling. `None` leaves a Content-Length alone:
    /// in a reply to HEAD it says what GET would give.
    pub fn announce(self, headers: &mut Headers) {
        const LENGTH: &str = "Content-Length";
        const ENCODING: &str = "Transfer-Encoding";
        match self {
            Self::None => {}
            Self::Length(bytes) => {
                headers.remove(ENCODING);
                headers.set(HeaderName::from_static(LENGTH), HeaderValue::from(bytes));
            }
            Self::Chunked => {
                headers.remove(LENGTH);
                let chunked = HeaderValue::from_static("chunked");
                headers.set(HeaderName::from_static(ENCODING), chunked);
            }
            Self::UntilClose => {
                headers.remove(LENGTH);
                headers.remove(ENCODING);
            }
        }
    }
}

/// Reads what the headers announce, whatever method and status say.
fn announced(version: Version, headers: &Headers) -> Result<Option<Framing>, FramingError> {
    let length = match headers.sole("content-length") {
        Sole::Absent => None,
        Sole::One(value) => Some(parse_length(value.as_bytes())?),
        Sole::Repeated => return Err(FramingError::RepeatedLength),
    };
    let chunked = match headers.sole("transfer-encoding") {
        Sole::Absent => false,
        Sole::One(_) | Sole::Repeated if version == Version::Http10 => {
            return Err(FramingError::EncodingInHttp10);
        }
        Sole::One(value) if value.is("chunked") => true,
        Sole::One(_) | Sole::Repeated => return Err(FramingError::BadEncoding),
    };
    match (length, chunked) {
        (Some(_), true) => Err(FramingError::LengthAndEncoding),
        (Some(length), false) => Ok(Some(Framing::Length(length))),
        (None, true) => Ok(Some(Framing::Chunked)),
        (None, false) => Ok(None),
    }
}

fn parse_length(digits: &[u8]) -> Result<u64, FramingError> {
    if digits.contains(&b',') {
        return Err(FramingError::RepeatedLength);
    }
    if digits.is_empty() || digits.len() > limits::CONTENT_LENGTH_DIGITS {
        return Err(FramingError::BadLength);
    }
    let mut length: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return Err(FramingError::BadLength);
        }
        // At most 19 digits: below 10^19, which fits 64 bits.
        length = length * 10 + u64::from(digit - b'0');
    }
    if i64::try_from(length).is_err() {
        Err(FramingError::BadLength)
    } else {
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
