//! What a process is to its surroundings: signals, the service manager, its build, its exit status.

mod build;
mod exit;
pub(crate) mod signals;
pub(crate) mod systemd;

pub use build::{BUILD, Build};
pub use exit::Exit;
