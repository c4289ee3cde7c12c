//! Reads a bearer token from an Authorization header.

use zeroize::Zeroizing;

/// Longest token: service-account tokens with many audiences stay below 4 KiB, OIDC tokens with
/// many groups below 16 KiB.
pub(crate) const MAX_TOKEN: usize = 32 << 10;

/// Why a text or a header is no bearer token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// The header has another scheme than Bearer, or no token.
    #[error("the Authorization header is not `Bearer TOKEN`; send a bearer token")]
    Scheme,
    /// The token has bytes that no token has.
    #[error("the token has bytes outside of RFC 6750's alphabet; check for quotes and line ends")]
    Alphabet,
    /// The token is longer than any.
    #[error("the token is longer than {0} bytes")]
    TooLong(usize),
}

/// A bearer token: never printed, wiped when dropped.
#[derive(Clone, derive_more::Debug)]
#[debug("BearerToken(redacted)")]
pub struct BearerToken(Zeroizing<String>);

impl BearerToken {
    /// Takes a token as text.
    ///
    /// # Errors
    /// It is empty, too long, or has bytes that no token has.
    pub fn new(text: &str) -> Result<Self, BearerError> {
        if text.is_empty() {
            return Err(BearerError::Scheme);
        }
        if text.len() > MAX_TOKEN {
            return Err(BearerError::TooLong(MAX_TOKEN));
        }
        // Visible ASCII. RFC 6750's b64token is narrower, but token files hold whatever an operator
        // wrote, and the API server takes it.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BearerError::Alphabet);
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// Reads `Bearer TOKEN`, the scheme in any case (RFC 9110, section 11.1).
    ///
    /// # Errors
    /// As [`new`](Self::new), and any other scheme.
    pub fn from_header(value: &[u8]) -> Result<Self, BearerError> {
        let visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        if !value.iter().all(visible) {
            return Err(BearerError::Alphabet);
        }
        let text = str::from_utf8(value)
            .map_err(|_| BearerError::Alphabet)?
            .trim();
        let (scheme, token) = text.split_once(' ').ok_or(BearerError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(BearerError::Scheme);
        }
        Self::new(token.trim_start_matches(' '))
    }

    /// Lends the token to whoever checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &[u8]) -> Result<String, BearerError> {
        BearerToken::from_header(value).map(|token| token.expose().to_owned())
    }

    #[test]
    fn from_header_reads_what_clients_send() {
        for value in [
            "Bearer abc.def",
            "bearer abc.def",
            "BEARER   abc.def",
            " Bearer abc.def ",
        ] {
            assert_eq!(
                read(value.as_bytes()).as_deref(),
                Ok("abc.def"),
                "{value:?}"
            );
        }
    }

    #[test]
    fn from_header_refuses_what_is_no_token() {
        let long = format!("Bearer {}", "a".repeat(MAX_TOKEN + 1));
        let table: [(&[u8], BearerError); 9] = [
            (b"", BearerError::Scheme),
            (b"Bearer", BearerError::Scheme),
            (b"Bearer ", BearerError::Scheme),
            (b"Basic dXNlcjpwYXNz", BearerError::Scheme),
            (b"Bearer\tabc", BearerError::Scheme),
            (b"Bearer a b", BearerError::Alphabet),
            (b"Bearer a\tb", BearerError::Alphabet),
            (b"Bearer \xff", BearerError::Alphabet),
            (long.as_bytes(), BearerError::TooLong(MAX_TOKEN)),
        ];
        for (value, refusal) in table {
            assert_eq!(
                read(value),
                Err(refusal),
                "{:?}",
                value.escape_ascii().to_string()
            );
        }
        let longest = "a".repeat(MAX_TOKEN);
        assert!(read(format!("Bearer {longest}").as_bytes()).is_ok());
    }

    #[test]
    fn debug_of_a_token_hides_it() {
        let token = BearerToken::new("very-secret").unwrap();
        assert_eq!(format!("{token:?}"), "BearerToken(redacted)");
    }
}
