//! Follows the raw bytes of a body to its end, so that they can be passed on as they are.
//!
//! Chunked bodies stay chunked: nothing is decoded, everything is checked. The checks are strict
//! because the peer behind us parses the same bytes again and must find the same end.

use thiserror::Error;

use crate::chars::{hex, is_token, is_value};
use crate::framing::Framing;
use crate::hop::Identity;
use crate::limits;

/// What a piece of input meant for the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// So many bytes from the start of the input belong to this body: pass them on.
    pub bytes: usize,
    /// The body ended there: what follows belongs to the next message.
    pub ended: bool,
}

/// Why bytes are no body. All are the sender's fault: nothing after them can be framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BodyError {
    /// A chunk does not begin with hexadecimal digits.
    #[error("chunk size is not hexadecimal")]
    ChunkSize,
    /// A chunk size has too many digits.
    #[error("chunk size has more than {} digits", limits::CHUNK_SIZE_DIGITS)]
    ChunkSizeDigits,
    /// An extension is longer than the bounds, or has a control character.
    #[error(
        "chunk extension is malformed or longer than {} bytes",
        limits::CHUNK_EXTENSION_BYTES
    )]
    ChunkExtension,
    /// A line or the data of a chunk does not end in CR LF.
    #[error("chunk line or data does not end in CR LF")]
    LineEnd,
    /// A trailer line is malformed.
    #[error("trailer line is malformed")]
    Trailer,
    /// A trailer has a name that would change framing, routing or identity.
    #[error("trailer has a name that is not allowed in trailers")]
    TrailerName,
    /// The trailers are longer than the bound.
    #[error("trailers are longer than {} bytes", limits::TRAILER_BYTES)]
    TrailersTooLarge,
}

/// The peer ended in the middle of a body: a cut, never an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("peer ended the connection in the middle of a body")]
pub struct Truncated;

/// Follows one body. After an error it stays in error.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    extension_bytes: usize,
    trailer_bytes: usize,
    name: [u8; limits::TRAILER_NAME_BYTES],
    name_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are left of a body with a length.
    Length(u64),
    /// Everything belongs to the body.
    UntilClose,
    /// In the digits of a chunk size.
    Size { value: u64, digits: usize },
    /// In a chunk extension.
    Extension { value: u64, bytes: usize },
    /// Between CR and LF of a size line.
    SizeLf { value: u64 },
    /// In the data of a chunk.
    Data { left: u64 },
    /// After the data.
    DataCr,
    /// Between the CR and LF after the data.
    DataLf,
    /// At the start of a trailer line.
    Line,
    /// In the name of a trailer.
    Name,
    /// In the value of a trailer.
    Value,
    /// Between CR and LF of a trailer line.
    LineLf,
    /// Between CR and LF of the blank line.
    LastLf,
    /// After the body.
    Ended,
    /// After an error.
    Failed(BodyError),
}

impl BodyDecoder {
    /// Starts at the first byte after the head.
    #[must_use]
    pub const fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Ended,
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::Size {
                value: 0,
                digits: 0,
            },
            Framing::UntilClose => State::UntilClose,
        };
        Self {
            state,
            extension_bytes: 0,
            trailer_bytes: 0,
            name: [0; limits::TRAILER_NAME_BYTES],
            name_bytes: 0,
        }
    }

    /// Says whether the body is over.
    #[must_use]
    pub const fn ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Takes the next raw bytes. How the input is cut into pieces never changes the result.
    ///
    /// # Errors
    /// `BodyError`: pass nothing of this input on; reset both legs.
    pub fn take(&mut self, input: &[u8]) -> Result<Taken, BodyError> {
        let mut bytes = 0;
        while let Some(rest) = input.get(bytes..)
            && !rest.is_empty()
            && self.state != State::Ended
        {
            match self.step(rest) {
                Ok((state, used)) => {
                    self.state = state;
                    bytes += used;
                }
                Err(error) => {
                    self.state = State::Failed(error);
                    return Err(error);
                }
            }
        }
        Ok(Taken {
            bytes,
            ended: self.ended(),
        })
    }

    /// Judges that the peer ended its side here: only a body that is over, or one until close, ended
    /// as it should. For the latter the leg must also say that its end was a clean one.
    ///
    /// # Errors
    /// `Truncated`: tell the other side of a cut, not of an end.
    pub const fn peer_ended(&self) -> Result<(), Truncated> {
        if matches!(self.state, State::Ended | State::UntilClose) {
            Ok(())
        } else {
            Err(Truncated)
        }
    }

    /// Moves over at least one byte of a non-empty input.
    fn step(&mut self, input: &[u8]) -> Result<(State, usize), BodyError> {
        let byte = input[0];
        let next = match self.state {
            State::UntilClose => return Ok((State::UntilClose, input.len())),
            State::Length(left) => {
                let (left, used) = pass(left, input);
                return Ok((
                    if left == 0 {
                        State::Ended
                    } else {
                        State::Length(left)
                    },
                    used,
                ));
            }
            State::Data { left } => {
                let (left, used) = pass(left, input);
                return Ok((
                    if left == 0 {
                        State::DataCr
                    } else {
                        State::Data { left }
                    },
                    used,
                ));
            }
            State::Size { value, digits } => size(value, digits, byte)?,
            State::Extension { value, .. } if byte == b'\r' => State::SizeLf { value },
            State::Extension { value, bytes } => self.extension(value, bytes, byte)?,
            State::SizeLf { value: 0 } => line_feed(byte, State::Line)?,
            State::SizeLf { value } => line_feed(byte, State::Data { left: value })?,
            State::DataCr if byte == b'\r' => State::DataLf,
            State::DataCr => return Err(BodyError::LineEnd),
            State::DataLf => line_feed(
                byte,
                State::Size {
                    value: 0,
                    digits: 0,
                },
            )?,
            State::Line | State::Name | State::Value => self.trailer(byte)?,
            State::LineLf => {
                self.trailer_bytes += 1;
                line_feed(byte, State::Line)?
            }
            State::LastLf => line_feed(byte, State::Ended)?,
            State::Ended => return Ok((State::Ended, 0)),
            State::Failed(error) => return Err(error),
        };
        Ok((next, 1))
    }

    fn extension(&mut self, value: u64, bytes: usize, byte: u8) -> Result<State, BodyError> {
        self.extension_bytes += 1;
        if bytes >= limits::CHUNK_EXTENSION_BYTES
            || self.extension_bytes > limits::CHUNK_EXTENSIONS_BYTES
            || !(byte == b'\t' || matches!(byte, b' '..=b'~'))
        {
            return Err(BodyError::ChunkExtension);
        }
        Ok(State::Extension {
            value,
            bytes: bytes + 1,
        })
    }

    fn trailer(&mut self, byte: u8) -> Result<State, BodyError> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits::TRAILER_BYTES {
            return Err(BodyError::TrailersTooLarge);
        }
        match (self.state, byte) {
            (State::Line, b'\r') => Ok(State::LastLf),
            (State::Line, _) if is_token(byte) => {
                self.name_bytes = 0;
                self.remember(byte);
                Ok(State::Name)
            }
            (State::Name, b':') if self.name_is_forbidden() => Err(BodyError::TrailerName),
            (State::Name, b':') => Ok(State::Value),
            (State::Name, _) if is_token(byte) => {
                self.remember(byte);
                Ok(State::Name)
            }
            (State::Value, b'\r') => Ok(State::LineLf),
            (State::Value, _) if is_value(byte) => Ok(State::Value),
            _ => Err(BodyError::Trailer),
        }
    }

    /// Keeps the first bytes of a trailer name; longer ones are none of those that are refused.
    fn remember(&mut self, byte: u8) {
        if let Some(slot) = self.name.get_mut(self.name_bytes) {
            *slot = byte.to_ascii_lowercase();
        }
        self.name_bytes += 1;
    }

    fn name_is_forbidden(&self) -> bool {
        let kept = &self.name[..self.name_bytes.min(self.name.len())];
        let identity = str::from_utf8(kept).is_ok_and(|name| Identity::of(name).is_some());
        identity || FORBIDDEN_TRAILERS.contains(&kept)
    }
}

/// Names that would change framing, routing, identity or the connection if a peer merged trailers
/// into its headers (RFC 9110 section 6.5.1).
const FORBIDDEN_TRAILERS: &[&[u8]] = &[
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"set-cookie",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

const _: () = {
    let mut at = 0;
    while at < FORBIDDEN_TRAILERS.len() {
        assert!(FORBIDDEN_TRAILERS[at].len() <= limits::TRAILER_NAME_BYTES);
        at += 1;
    }
};

/// Passes over as many of the bytes that are left as the input has.
fn pass(left: u64, input: &[u8]) -> (u64, usize) {
    let used = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    (left - used as u64, used)
}

fn size(value: u64, digits: usize, byte: u8) -> Result<State, BodyError> {
    match (hex(byte), byte) {
        (Some(_), _) if digits >= limits::CHUNK_SIZE_DIGITS => Err(BodyError::ChunkSizeDigits),
        (Some(digit), _) => Ok(State::Size {
            value: value << 4 | u64::from(digit),
            digits: digits + 1,
        }),
        (None, b'\r') if digits > 0 => Ok(State::SizeLf { value }),
        (None, b';') if digits > 0 => Ok(State::Extension { value, bytes: 0 }),
        (None, b'\n') if digits > 0 => Err(BodyError::LineEnd),
        (None, _) => Err(BodyError::ChunkSize),
    }
}

fn line_feed(byte: u8, next: State) -> Result<State, BodyError> {
    if byte == b'\n' {
        Ok(next)
    } else {
        Err(BodyError::LineEnd)
    }
}

#[cfg(test)]
mod tests;
