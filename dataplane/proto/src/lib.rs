//! Speaks the protocols of eyesplice without I/O: plain functions and state machines over bytes.
//!
//! Nothing here opens a socket, reads a clock or trusts a length. Parsers take the whole buffer
//! that has arrived and say how much of it they used; bytes beyond that are the caller's to deliver,
//! first and once. Heads are never forwarded raw: `parse` checks them, `hop` takes off what concerns
//! one connection, `serialize` writes them again. Bodies are: `body` checks raw bytes on their way.
#![forbid(unsafe_code)]

pub mod api;
pub mod body;
pub mod causes;
mod chars;
pub mod connect;
pub mod framing;
pub mod head;
pub mod headers;
pub mod hop;
pub mod limits;
pub mod login;
pub mod parse;
pub mod proxy_protocol;
pub mod route;
pub mod serialize;
pub mod socks;
pub mod stream;
pub mod target;
pub mod tls;
pub mod tunnel;
pub mod upgrade;
