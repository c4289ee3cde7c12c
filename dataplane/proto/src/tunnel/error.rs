//! Says why bytes are no frame that the reader accepts.

use std::net::AddrParseError;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::Words;
use crate::limits;
use crate::target::TargetError;

/// Why bytes are no frame. The connection is of no use any more: close it and log the words.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length is 0.
    #[error("tunnel frame has length 0")]
    Empty,
    /// The length is over the limit; often the peer speaks another protocol.
    #[error(
        "tunnel frame has {bytes} bytes, but at most {} are accepted; check that the peer is an \
         eyesplice agent or gateway",
        limits::TUNNEL_FRAME_BYTES
    )]
    TooLarge {
        /// The length that the frame has, in bytes.
        bytes: usize,
    },
    /// The bytes are no protobuf message of the right shape.
    #[error("tunnel frame of {bytes} bytes is no such protobuf message")]
    Malformed {
        /// The length of the frame in bytes.
        bytes: usize,
        /// What is wrong with it.
        #[source]
        cause: prost::DecodeError,
    },
    /// The message is of a kind that this version does not know.
    #[error("tunnel frame has a message of the unknown kind {field}")]
    Unknown {
        /// The number of its first field; 0 if there is none.
        field: u64,
    },
    /// The message is one that only the other end sends.
    #[error("tunnel frame has the message `{message}`, which only the other end sends")]
    WrongDirection {
        /// Its name.
        message: &'static str,
    },
    /// An id has not 16 bytes.
    #[error("`{field}` of a tunnel frame has {bytes} bytes instead of 16")]
    Id {
        /// Which message and field.
        field: &'static str,
        /// How many bytes it has.
        bytes: usize,
    },
    /// An address is none.
    #[error("`{field}` of a tunnel frame is `{got}` instead of an address and port")]
    Address {
        /// Which message and field.
        field: &'static str,
        /// What it is.
        got: Words,
        /// Why it is no address.
        #[source]
        cause: AddrParseError,
    },
    /// The host of a target is neither an address nor a DNS name.
    #[error("host `{got}` of an open is not acceptable")]
    Host {
        /// What it is.
        got: Words,
        /// Why not.
        #[source]
        cause: TargetError,
    },
    /// A number is out of its range.
    #[error("`{field}` of a tunnel frame is {got} instead of {} to {}", range.start(), range.end())]
    OutOfRange {
        /// Which message and field, with its unit.
        field: &'static str,
        /// What it is.
        got: u32,
        /// What it may be.
        range: RangeInclusive<u32>,
    },
}
