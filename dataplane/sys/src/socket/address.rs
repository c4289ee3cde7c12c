//! Says who is at either end of a socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use socket2::{SockAddr, SockRef};

/// One end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Address {
    /// An IP address and port; IPv4 in its own form, also on a dual-stack socket.
    #[display("{_0}")]
    Ip(SocketAddr),
    /// A UNIX socket. Clients rarely have a name there: see [`super::peer_credentials`].
    #[display("unix")]
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

/// Says where this end of `socket` is, with the port that the kernel chose.
///
/// # Errors
///
/// `ENOTSOCK` on something else.
pub fn local_address(socket: BorrowedFd<'_>) -> io::Result<Address> {
    Ok(Address::new(&SockRef::from(&socket).local_addr()?))
}
