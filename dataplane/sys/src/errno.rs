//! Says what an error of the kernel means, where `std::io::ErrorKind` has no word for it.

use std::io;

/// Says whether the kernel gave up on the peer: no answer to keepalive or to what was sent, or no
/// way to it.
#[must_use]
pub fn peer_lost(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH)
    )
}

/// Says whether the machine, not the peer, is at the end of its means: descriptors, memory or ports
/// towards one address.
#[must_use]
pub fn exhausted(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_is_of_the_peer_of_the_machine_or_of_neither() {
        let of = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            (peer_lost(&error), exhausted(&error))
        };
        for errno in [libc::ETIMEDOUT, libc::EHOSTUNREACH, libc::ENETUNREACH] {
            assert_eq!(of(errno), (true, false), "{errno}");
        }
        let none_left = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
        for errno in none_left.into_iter().chain([libc::EADDRNOTAVAIL]) {
            assert_eq!(of(errno), (false, true), "{errno}");
        }
        for errno in [libc::ECONNRESET, libc::EPIPE, libc::ECONNREFUSED] {
            assert_eq!(of(errno), (false, false), "{errno}");
        }
        let ours = io::Error::from(io::ErrorKind::TimedOut);
        assert!(!peer_lost(&ours), "a deadline of ours is no loss");
    }
}
