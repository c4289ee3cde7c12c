//! What the baselines understand of HTTP CONNECT: a head that arrives in one read and names an
//! address.

use std::io;
use std::net::SocketAddr;

/// Longest head that a baseline takes.
pub(super) const HEAD: usize = 1024;

/// What every proxy answers once the target is connected.
pub(super) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// The address that a CONNECT names.
pub(super) fn target(head: &[u8]) -> io::Result<SocketAddr> {
    std::str::from_utf8(head)
        .ok()
        .and_then(|head| head.strip_prefix("CONNECT "))
        .and_then(|rest| rest.split_once(' '))
        .and_then(|(target, _)| target.parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}
