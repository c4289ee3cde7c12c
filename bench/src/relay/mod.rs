//! A delayed line: what is between a proxy and a far end that is not on the same machine.
//!
//! A relay of streams would end TCP on both sides, and a proxy's TCP would see the round-trip time of
//! loopback: windows, their growth and congestion control would be those of no delay at all. So this one
//! is below TCP. A network namespace of its own is beyond it; a TUN device on each side hands IP packets
//! to a thread, which holds each for half of the delay and writes it to the other device. Order is kept,
//! and nothing is lost unless the window is full, as in a router (`queue`).
//!
//! Threads of this process do that: what they use is the generator's, never the proxy's.

mod command;
mod direction;
mod line;
mod losses;
mod options;
mod queue;
mod space;
mod used;

pub use command::{RelayOptions, relay};
pub(crate) use line::{Line, listener};
pub use options::{Bandwidth, LineOptions};
pub(crate) use used::Used;

#[cfg(test)]
mod tests;
