//! Holds the user and the password that a proxy asks for.

use data_encoding::BASE64;
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::limits;

/// A user and a password: never printed, wiped when dropped.
#[derive(Clone)]
pub struct Login {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

/// Why a text is no login. It is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LoginError {
    /// There is no colon.
    #[error("has no `user:password`; write both in one line")]
    NoColon,
    /// One of them is empty or too long.
    #[error(
        "has a {part} of {bytes} bytes instead of 1 to {}",
        limits::LOGIN_BYTES
    )]
    Length {
        /// Which one.
        part: &'static str,
        /// Its length in bytes.
        bytes: usize,
    },
    /// There is a control character, as in a second line.
    #[error("has a control character or a second line; write `user:password` in one line")]
    Control,
}

impl Login {
    /// Reads `user:password`, which one line end may follow. A user has no colon (RFC 7617
    /// section 2); both have at most 255 bytes (RFC 1929 section 2).
    ///
    /// # Errors
    /// What it is not.
    pub fn parse(text: &str) -> Result<Self, LoginError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.chars().any(char::is_control) {
            return Err(LoginError::Control);
        }
        let (user, password) = line.split_once(':').ok_or(LoginError::NoColon)?;
        for (part, text) in [("user", user), ("password", password)] {
            let bytes = text.len();
            if !(1..=limits::LOGIN_BYTES).contains(&bytes) {
                return Err(LoginError::Length { part, bytes });
            }
        }
        Ok(Self {
            user: Zeroizing::new(user.to_owned()),
            password: Zeroizing::new(password.to_owned()),
        })
    }

    /// Gives the credentials of HTTP's Basic scheme (RFC 7617).
    pub(crate) fn basic(&self) -> Zeroizing<String> {
        let both = Zeroizing::new([self.user.as_str(), ":", self.password.as_str()].concat());
        Zeroizing::new(BASE64.encode(both.as_bytes()))
    }

    /// Appends user and password, each behind its length in one byte (RFC 1929 section 2).
    pub(crate) fn write_counted(&self, out: &mut Vec<u8>) {
        for part in [&self.user, &self.password] {
            // It was held to the bound when it was read.
            out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(part.as_bytes());
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_takes_one_line_and_names_what_is_wrong_with_others() {
        let login = Login::parse("edge:a:b c\n").unwrap();
        assert_eq!(login.basic().as_str(), "ZWRnZTphOmIgYw==");
        let mut counted = Vec::new();
        login.write_counted(&mut counted);
        assert_eq!(counted, b"\x04edge\x05a:b c");
        assert_eq!(format!("{login:?}"), "Login(redacted)");
        let long = "x".repeat(limits::LOGIN_BYTES);
        assert!(Login::parse(&format!("{long}:{long}\r\n")).is_ok());
        let length = |part, bytes| LoginError::Length { part, bytes };
        for (text, error) in [
            ("", LoginError::NoColon),
            ("edge", LoginError::NoColon),
            (":x", length("user", 0)),
            ("x:", length("password", 0)),
            (&format!("{long}y:x"), length("user", 256)),
            (&format!("x:{long}y"), length("password", 256)),
            ("a:b\nc:d\n", LoginError::Control),
            ("a:b\r\nProxy-X: 1", LoginError::Control),
            ("a:b\n\n", LoginError::Control),
        ] {
            assert_eq!(Login::parse(text).err(), Some(error), "{text:?}");
        }
    }
}
