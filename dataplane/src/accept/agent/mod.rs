//! The agent's side of tunnels: it holds gateways, connects back when they ask, and takes the
//! streams that they open.
//!
//! Nothing listens: a connection that was dialled becomes a leg that asks for a stream when a
//! gateway says `open` on it.

mod connect;
pub(crate) mod held;
pub(crate) mod hold;
mod pool;
pub(crate) mod serve;
