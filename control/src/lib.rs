//! The gateway around the engine, and the command line: configuration, policy, verdicts, what the gateway
//! presents and trusts, audit.
//!
//! Below it are `eyesplice-authority`, `eyesplice-process` and `eyesplice-identity`; none of them knows of
//! this crate.
#![forbid(unsafe_code)]

pub mod admit;
pub mod agent;
pub mod audit;
pub mod bootstrap;
pub mod check;
pub mod cli;
pub mod config;
pub mod dial;
mod enrol;
pub mod events;
mod front;
pub mod gateway;
pub mod grants;
pub mod leaf;
pub mod material;
#[cfg(feature = "bench")]
pub mod measure;
pub mod policy;
pub mod probe_report;
pub mod serve;
pub mod tickets;
