//! Binds an address that this process alone may have.

use eyesplice_sys::socket::Inherited;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// How long an address that is in use may take to come free: the kernel lets go of the sockets of a
/// killed process some time after its death.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks whether it is free.
const RELEASE_LOOK: Duration = Duration::from_millis(50);

/// Takes the socket at an address from a process before this one, or listens there as [`tcp`] does.
///
/// # Errors
/// As those of [`tcp`].
pub async fn tcp_from(
    inherited: &mut Inherited,
    address: SocketAddr,
) -> io::Result<(TcpListener, SocketAddr)> {
    // One is all that there ever is without workers.
    match inherited.take_tcp(address).pop() {
        Some(fd) => {
            let listener = TcpListener::from_std(fd.into())?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        }
        None => tcp(address).await,
    }
}

/// Listens on an address; port 0 takes a free one. Nobody else can listen there meanwhile.
///
/// # Errors
/// An address that another process keeps, or that is not of this machine.
pub async fn tcp(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let until = Instant::now() + RELEASED_WITHIN;
    let listener = loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                sleep(RELEASE_LOOK).await;
            }
            result => break result?,
        }
    };
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn address_has_one_owner_and_is_waited_for() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (first, address) = tcp(any).await.unwrap();
        assert_ne!(address.port(), 0);
        let began = Instant::now();
        let error = tcp(address).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(began.elapsed() >= RELEASED_WITHIN);
        let waiting = tokio::spawn(tcp(address));
        // Time is paused: it moves once everybody waits.
        sleep(RELEASE_LOOK).await;
        drop(first);
        assert_eq!(waiting.await.unwrap().unwrap().1, address);
    }
}
