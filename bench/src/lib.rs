//! The load harness, and what measures the engine.
//!
//! `eyesplice-load` puts load on any proxy and checks every byte ([`run`]), compares proxies in
//! interleaved rounds ([`contest`]), and is the far end ([`origin`]). [`idle`] measures the engine
//! alone; `benches/` times its parts. What is measured runs in a process of its own
//! ([`child`], [`proxy`]) on a core of its own, so that its CPU seconds are its own.
#![forbid(unsafe_code)]

pub mod args;
pub mod child;
pub mod contest;
pub mod cpu;
pub mod crypto;
mod error;
pub mod herd;
pub mod identity;
pub mod idle;
pub mod machine;
pub mod meter;
pub mod origin;
mod pem;
mod progress;
pub mod proxy;
pub mod readme;
pub mod relay;
pub mod results;
pub mod route;
pub mod run;
mod stats;
pub mod strangers;
pub mod tunnel;
mod wire;
pub mod work;

pub use error::{Attempt, Error, Result};
