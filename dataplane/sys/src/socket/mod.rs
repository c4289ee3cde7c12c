//! Calls on sockets that never wait: transfer, listeners, options.
//!
//! `WouldBlock` means: await [`crate::uring::poll`] and call again.

mod address;
mod connect;
mod file;
mod inherited;
mod listen;
mod option;
mod passed;
mod place;
mod progress;
mod ready;
mod rights;
mod transfer;
mod unix;

pub use address::{Address, local_address};
pub use connect::{Connecting, connect, connect_messages, connect_unix, connected};
pub use file::SocketFile;
pub use inherited::{Inherited, Wanted, tcp_place};
pub use listen::{Accepted, accept, listen_tcp_group, new_tcp};
pub use option::{
    Keepalive, PeerCredentials, acknowledge, keepalive, linger_zero, nodelay, peer_credentials,
    readable_from, take_error, widen_unix,
};
pub use passed::passed;
pub use place::Place;
pub use progress::{Progress, ask_at_least_every, is_abandoned, progress, unacknowledged, unsent};
pub use ready::watched;
pub use rights::{MAX_RIGHTS, give, take};
pub use transfer::{peek, recv, send, shutdown, unread};
pub use unix::{ListenUnixError, Ownership, listen_messages, listen_unix};

#[cfg(test)]
mod progress_tests;
#[cfg(test)]
mod tests;
