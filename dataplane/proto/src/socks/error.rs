//! Says why a SOCKS5 proxy gives no connection.

use std::fmt;
use thiserror::Error;

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SocksError {
    /// The first byte is another version: it is something else, or a login of another kind.
    #[error("it answered with byte {got:#04x} in place of version {wanted}; is it a SOCKS5 proxy?")]
    Version {
        /// What it is.
        got: u8,
        /// What it should be.
        wanted: u8,
    },
    /// It takes no client without a login, and none is configured.
    #[error("it wants a login")]
    LoginWanted,
    /// It takes neither clients without a login nor a user with a password.
    #[error("it takes no login by user and password")]
    NoMethod,
    /// It chose a method that was not offered.
    #[error("it chose method {0}, which was not offered")]
    Method(u8),
    /// User or password are wrong.
    #[error("it refused user and password (status {0})")]
    Login(u8),
    /// It does not connect to the target.
    #[error("{0}")]
    Refused(Reply),
    /// An address of its answer is of no known kind.
    #[error("it answered with an address of the unknown kind {0}")]
    AddressKind(u8),
    /// An answer was given behind the last one.
    #[error("its answer is behind the last one")]
    Over,
}

impl SocksError {
    /// Says whether another user or password may help.
    #[must_use]
    pub const fn is_of_the_login(self) -> bool {
        matches!(self, Self::LoginWanted | Self::NoMethod | Self::Login(_))
    }
}

/// The code of a reply (RFC 1928 section 6), in words with what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply(pub u8);

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            1 => "general failure; see the proxy's log",
            2 => "not allowed by the proxy's rules; allow it there",
            3 => "the proxy cannot reach its network",
            4 => "the proxy cannot reach the host, or resolve its name",
            5 => "connection refused; is a gateway listening there?",
            6 => "it did not answer in time",
            7 => "the proxy does not know CONNECT",
            8 => "the proxy does not know this kind of address; write a name, or the other family",
            _ => "unknown code; see the proxy's log",
        };
        write!(f, "reply {}: {words}", self.0)
    }
}
