//! The engine of eyesplice: it accepts legs, asks control for one verdict per stream, dials, and
//! relays bytes between two legs on io_uring workers, one per core.
//!
//! The engine never reads a file, resolves a name or decides a policy: what it needs arrives in a
//! [`seam::Verdict`] or in a numbered [`seam::Snapshot`], and what it learned leaves in a
//! [`seam::StreamRecord`].
#![forbid(unsafe_code)]

mod accept;
mod agents;
pub mod backend;
mod carry;
pub mod cipher;
mod config;
mod context;
pub mod counters;
mod crew;
pub mod descriptors;
mod desk;
mod end;
pub mod engine;
mod error;
mod heads;

mod ktls;
mod leg;
mod limits;
mod liveness;
mod pool;
mod reach;
mod record;
mod records;
pub mod routes;
pub mod seam;
mod source;
mod spares;
mod tunnel;

pub use accept::strangers;
