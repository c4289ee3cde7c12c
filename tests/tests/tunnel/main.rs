//! Streams through tunnels: an agent dials out, and a gateway reaches through it what it cannot
//! reach itself. Both are engines in this process.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod chained;
mod drain;
mod ends;
mod failure;
mod faults;
mod hostile;
mod inner;
mod killed;
mod open;
mod revoked;
mod status;
mod way_out;
