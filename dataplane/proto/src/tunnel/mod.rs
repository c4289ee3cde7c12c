//! Speaks the tunnel between an agent, which dials out, and a gateway, without I/O and without a
//! clock (docs/wire.md, "Tunnel frames" and "Tunnel order").
//!
//! Every connection begins with a frame of the agent: [`ToGateway::Control`] or
//! [`ToGateway::Data`]. A data connection carries one stream: after [`ToGateway::Connected`] it
//! *is* the stream. The version is the ALPN; fields that a reader does not know are ignored.

mod backoff;
mod error;
mod frame;
mod id;
pub mod open;
mod patience;
mod pool;
mod rank;
mod reason;
mod schema;
mod seen;
mod text;
mod to_agent;
mod to_gateway;

pub use backoff::Backoff;
pub use error::FrameError;
pub use id::{Instance, OpenId};
pub use patience::Patience;
pub use pool::{PoolPolicy, Shrunk};
pub use rank::{hold, rank};
pub use reason::FailReason;
pub use seen::{NotNew, SeenIds};
pub use text::{Text, Version, Words};
pub use to_agent::{Registered, ToAgent};
pub use to_gateway::{Register, ToGateway};

/// The application protocol of every tunnel connection (RFC 7301), and its version.
pub const ALPN: &[u8] = b"eyesplice-tunnel/1";

#[cfg(test)]
mod tests;
