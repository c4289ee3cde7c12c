//! The engine of eyesplice: it accepts legs, asks control for one verdict per stream, dials, and
//! relays bytes between two legs on io_uring workers, one per core.
//!
//! The engine never reads a file, resolves a name or decides a policy: what it needs arrives in a
//! [`seam::Verdict`] or in a numbered [`seam::Snapshot`], and what it learned leaves in a
//! [`seam::StreamRecord`].
#![forbid(unsafe_code)]

mod admission;
mod coalesce;
mod context;
pub mod counters;
pub mod descriptors;
mod desk;
mod dial;
mod door;
mod egress;
mod ending;
pub mod engine;
mod exchange;
mod failure;
mod gate;
mod half_closed;
mod handshake;
mod ktls;
mod leg;
mod limits;
mod listeners;
mod liveness;
mod placement;
mod pool;
mod record;
mod records;
mod refusal;
mod relay;
mod renew;
mod rings;
pub mod seam;
pub mod strangers;
mod stream;
mod waits;
mod worker;
