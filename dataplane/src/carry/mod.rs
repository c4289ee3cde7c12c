//! What runs on both legs of a stream, until both are closed.
//!
//! Last of three rooms in a stream's life: `accept` uses it, and it uses `reach` to renew a connection.

mod coalesce;
pub(crate) mod ending;
pub(crate) mod exchange;
pub(crate) mod front;
mod half_closed;
mod refusal;
pub(crate) mod relay;
mod renew;
mod waits;
