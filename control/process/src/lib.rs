//! What every long-running process of eyesplice has around what it serves: signals and the service
//! manager, log and metrics, health, reload of files, a sandbox, hand-over to the
//! next process, reminders of certificates that end, and manners
//! towards guests of a listener.
#![forbid(unsafe_code)]

pub mod admin;
mod build;
mod exit;
pub mod expiry;
pub mod exposure;
pub mod guests;
pub mod linger;
pub mod listen;
pub mod log;
pub mod metrics;
pub mod output;
mod process;
pub mod reload;
pub mod resolve;
pub mod sandbox;
pub mod signals;
pub mod systemd;
pub mod takeover;
mod threads;

pub use build::{BUILD, Build};
pub use exit::Exit;
pub use process::Process;
pub use threads::{ProcessError, blocking, run};
