//! Says which addresses are this host's own.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Tells whether an address is this host's: the kernel would use it as its own source towards it,
/// but for loopback, where it uses the first address for all. Connecting a datagram socket sends
/// nothing.
pub(super) fn is_local(address: IpAddr) -> bool {
    if address.is_loopback() {
        return true;
    }
    let any = match address {
        IpAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0_u16; 8], 0)),
    };
    let source = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((address, 9))?; // the discard port: any would do
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == address)
}
