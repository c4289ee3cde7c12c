//! The form of a bootstrap token: `abcdef.0123456789abcdef`.

use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use std::str::FromStr;
use zeroize::Zeroizing;

const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Bytes below this are a whole number of alphabets: taking them modulo 36 favours no character.
const FAIR: u8 = 252;

const _: () = assert!((FAIR as usize).is_multiple_of(ALPHABET.len()));

/// A text that is no bootstrap token, or no part of one. It is not quoted: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not a whole token.
    #[error("is no bootstrap token; its form is [a-z0-9]{{6}}.[a-z0-9]{{16}}")]
    Token,
    /// Not an identifier.
    #[error("is no bootstrap token ID; its form is [a-z0-9]{{6}}")]
    Id,
    /// Not a secret.
    #[error("is no bootstrap token secret; its form is [a-z0-9]{{16}}")]
    Secret,
}

/// The public half of a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, derive_more::Display)]
pub struct TokenId(String);

impl TokenId {
    /// The identifier.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        if is_code(text, ID_LENGTH) {
            Ok(Self(text.to_owned()))
        } else {
            Err(FormatError::Id)
        }
    }
}

/// The secret half of a token: never printed, wiped when dropped, compared in constant time.
#[derive(Clone, derive_more::Debug)]
#[debug("TokenSecret(redacted)")]
pub struct TokenSecret(Zeroizing<String>);

impl TokenSecret {
    /// Reads a secret.
    ///
    /// # Errors
    /// It has not the form of one.
    pub fn new(text: &str) -> Result<Self, FormatError> {
        if is_code(text, SECRET_LENGTH) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(FormatError::Secret)
        }
    }

    /// Compares without telling by its time where two secrets differ. Both have 16 bytes.
    pub fn matches(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.0.as_bytes(), other.0.as_bytes()).into()
    }

    /// Lends the secret to whoever writes it down.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A whole token.
#[derive(Clone, Debug)]
pub struct BootstrapToken {
    /// Names it.
    pub id: TokenId,
    /// Proves it.
    pub secret: TokenSecret,
}

impl BootstrapToken {
    /// Draws a token: 31 and 82 bits.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn generate() -> Result<Self, Unspecified> {
        let random = SystemRandom::new();
        Ok(Self {
            id: TokenId(random_code(&random, ID_LENGTH)?.to_string()),
            secret: TokenSecret(random_code(&random, SECRET_LENGTH)?),
        })
    }

    /// Writes it whole, for the person that will use it.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}.{}", self.id, self.secret.expose()))
    }
}

impl FromStr for BootstrapToken {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let (id, secret) = text.split_once('.').ok_or(FormatError::Token)?;
        Ok(Self {
            id: id.parse().map_err(|_| FormatError::Token)?,
            secret: TokenSecret::new(secret).map_err(|_| FormatError::Token)?,
        })
    }
}

fn is_code(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

fn random_code(random: &SystemRandom, length: usize) -> Result<Zeroizing<String>, Unspecified> {
    let mut code = Zeroizing::new(String::with_capacity(length));
    while code.len() < length {
        let mut bytes = Zeroizing::new([0; 32]);
        random.fill(&mut bytes[..])?;
        for byte in bytes.iter().filter(|byte| **byte < FAIR) {
            if code.len() < length {
                code.push(char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
            }
        }
    }
    Ok(code)
}

/// Says whether a text is a token; panics if it is another one after it was written again.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    let Ok(token) = text.parse::<BootstrapToken>() else {
        return false;
    };
    assert_eq!(
        *token.expose(),
        text,
        "another one when it was written again"
    );
    assert!(text.is_ascii() && text.len() == ID_LENGTH + 1 + SECRET_LENGTH);
    let shown = format!("{token:?}");
    assert!(!shown.contains(token.secret.expose()), "a secret is shown");
    true
}
