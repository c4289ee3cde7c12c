//! The process around the engine: configuration, identity, policy, kubelet verification, reload,
//! admin endpoints and the command line.
#![forbid(unsafe_code)]

pub mod admin;
pub mod admit;
pub mod apiserver;
pub mod audit;
pub mod authn;
pub mod authority;
pub mod bootstrap;
pub mod check;
pub mod cli;
pub mod config;
pub mod document;
mod enrol;
mod expiry;
mod exposure;
mod file;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gateway;
mod guests;
pub mod identity;
pub mod inventory;
pub mod kubeconfig;
pub mod leaf;
mod linger;
mod listen;
pub mod log;
pub mod material;
#[cfg(feature = "bench")]
pub mod measure;
pub mod metrics;
mod output;
pub mod pem;
pub mod pins;
pub mod pki;
pub mod policy;
pub mod probe_report;
pub mod process;
mod protobuf;
pub mod reload;
pub mod resolve;
#[cfg(test)]
mod testing;
pub mod tickets;
pub mod token;
pub mod user;
pub mod verify;
pub mod x509;
mod yaml;
