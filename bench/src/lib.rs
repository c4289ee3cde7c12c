//! Measures eyesplice.
//!
//! `eyesplice-ab` compares the engine with baselines in interleaved rounds ([`ab`]) and measures the
//! memory of idle streams ([`idle`]); `benches/` times its parts. What is measured runs in a process
//! of its own ([`child`], [`proxy`]) on a core of its own, so that its CPU seconds are its own.
#![forbid(unsafe_code)]

pub mod ab;
pub mod args;
pub mod child;
pub mod cpu;
mod error;
pub mod identity;
pub mod idle;
pub mod load;
pub mod machine;
pub mod proxy;
pub mod results;

pub use error::{Attempt, Error, Result};
