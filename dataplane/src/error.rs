//! Why the engine did not start.

use crate::seam::ListenerName;
use eyesplice_sys::probe::UringShortage;
use std::io;
use std::net::SocketAddr;

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("listener {name} cannot listen on {address}")]
    Bind {
        /// The listener.
        name: ListenerName,
        /// Its address.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process listens there.
    #[error(
        "listener {name} cannot listen on {address}: another process does; stop it, or configure \
         another address (`ss -ltnp` names it)"
    )]
    InUse {
        /// The listener.
        name: ListenerName,
        /// Its address.
        address: SocketAddr,
    },
    /// The limit of locked memory has room for no ring.
    #[error("no worker can create its io_uring: {shortage}")]
    Memory {
        /// The limit, and what to do.
        shortage: UringShortage,
        /// What the kernel said.
        source: io::Error,
    },
    /// A worker could not make its ring.
    #[error("worker {worker} cannot create its io_uring; run `eyesplice probe` for the remedy")]
    Uring {
        /// Index of the worker.
        worker: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// The system gave no random bits.
    #[error(
        "the system's random source failed, and ids of tunnels must not be predictable; try again"
    )]
    Random,
}
