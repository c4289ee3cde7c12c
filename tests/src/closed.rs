//! A port at which nobody listens, and which nobody else gets.

use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::TcpSocket;

/// Refuses connections until it is dropped: bound, and not listening.
#[derive(Debug)]
pub struct Closed(TcpSocket);

impl Closed {
    /// One on the loopback interface.
    pub fn port() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Self(socket)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }
}
