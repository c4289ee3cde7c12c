//! Says what an error on a kernel TLS socket means.

use std::io;

/// What an error of `recv` or `splice` on a kernel TLS socket means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing there now.
    WouldBlock,
    /// A control record is next: take it with [`super::recv_record`], then go on.
    ControlRecord,
    /// A record's authentication failed: somebody changed the bytes, or the keys do not match.
    BadRecord,
    /// A record is longer than TLS allows, or what came is no TLS.
    MalformedRecord,
    /// The peer changed its keys and the kernel waits for the new ones (Linux 6.14 and later).
    KeyUpdate,
    /// The connection itself: reset, timed out, and so on.
    Connection,
}

impl Trouble {
    /// Classifies an error that came from a socket with receive keys.
    ///
    /// `EIO` and `EINVAL` are how Linux says that a control record is pending, `recv` the first and
    /// `splice` the second. `EINVAL` also means TLS of the wrong version, which
    /// [`super::recv_record`] then says again: so take at most one record, and never loop on it.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            _ if error.kind() == io::ErrorKind::WouldBlock => Trouble::WouldBlock,
            Some(libc::EIO | libc::EINVAL) => Trouble::ControlRecord,
            Some(libc::EBADMSG) => Trouble::BadRecord,
            Some(libc::EMSGSIZE) => Trouble::MalformedRecord,
            Some(libc::EKEYEXPIRED) => Trouble::KeyUpdate,
            _ => Trouble::Connection,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_of_kernel_tls_has_its_meaning() {
        for (errno, expected) in [
            (libc::EAGAIN, Trouble::WouldBlock),
            (libc::EIO, Trouble::ControlRecord),
            (libc::EINVAL, Trouble::ControlRecord),
            (libc::EBADMSG, Trouble::BadRecord),
            (libc::EMSGSIZE, Trouble::MalformedRecord),
            (libc::EKEYEXPIRED, Trouble::KeyUpdate),
            (libc::ECONNRESET, Trouble::Connection),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Trouble::of(&error), expected, "{error}");
        }
    }
}
