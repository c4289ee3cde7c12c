//! Calls on sockets that never wait: transfer, listeners, options.
//!
//! `WouldBlock` means: await [`crate::ring::poll`] and call again.

mod address;
mod listen;
mod option;
mod transfer;
mod unix;

pub use address::{Address, local_address, peer_address};
pub use listen::{Accepted, accept, listen_tcp, new_tcp};
pub use option::{
    Keepalive, PeerCredentials, keepalive, linger_zero, nodelay, peer_credentials, readable_from,
    take_error, user_timeout, widen_unix,
};
pub use transfer::{peek, recv, send, send_vectored, shutdown, unread};
pub use unix::{ListenUnixError, Ownership, SocketFile, listen_unix};

#[cfg(test)]
mod tests;
