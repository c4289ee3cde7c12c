//! Calls on sockets that never wait: transfer, listeners, options.
//!
//! `WouldBlock` means: await [`crate::ring::poll`] and call again.

mod address;
mod listen;
mod option;
mod progress;
mod transfer;
mod unix;

pub use address::{Address, local_address};
pub use listen::{Accepted, accept, listen_tcp, listen_tcp_group, new_tcp};
pub use option::{
    Keepalive, PeerCredentials, keepalive, linger_zero, nodelay, peer_credentials, readable_from,
    take_error, widen_unix,
};
pub use progress::{Progress, ask_at_least_every, is_abandoned, progress, unacknowledged, unsent};
pub use transfer::{peek, recv, send, shutdown, unread};
pub use unix::{ListenUnixError, Ownership, SocketFile, listen_unix};

#[cfg(test)]
mod progress_tests;
#[cfg(test)]
mod tests;
