//! Says who is at either end of a socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use socket2::{SockAddr, SockRef};

/// One end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// An IP address and port; IPv4 in its own form, also on a dual-stack socket.
    Ip(SocketAddr),
    /// A UNIX socket. Clients rarely have a name there: see [`super::peer_credentials`].
    Unix,
}

impl Address {
    pub(super) fn new(address: &SockAddr) -> Self {
        match address.as_socket() {
            Some(ip) => Address::Ip(SocketAddr::new(ip.ip().to_canonical(), ip.port())),
            None => Address::Unix,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix => f.write_str("unix"),
        }
    }
}

/// Says where this end of `socket` is, with the port that the kernel chose.
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<Address> {
    Ok(Address::new(&SockRef::from(&socket).local_addr()?))
}
