//! Holds text of a peer that is for people: printable, on one line and short, whatever was sent.

use std::fmt;

use crate::limits;

/// Why something was refused or failed, in words.
pub type Words = Text<{ limits::TUNNEL_WORDS }>;

/// The version that a program claims.
pub type Version = Text<{ limits::TUNNEL_VERSION }>;

/// Holds at most `MOST` characters of printable ASCII. What does not fit is changed, never an
/// error: control characters are left out, any other character beyond ASCII becomes `?`, and the
/// rest is cut off.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MOST: usize>(Box<str>);

impl<const MOST: usize> Text<MOST> {
    /// Takes what it may hold of a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let printable = text
            .chars()
            .filter(|char| !char.is_control())
            .map(|char| if char.is_ascii() { char } else { '?' });
        Self(printable.take(MOST).collect())
    }

    /// Gives the text.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MOST: usize> From<&str> for Text<MOST> {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl<const MOST: usize> From<String> for Text<MOST> {
    fn from(text: String) -> Self {
        Self::new(&text)
    }
}

impl<const MOST: usize> fmt::Display for Text<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MOST: usize> fmt::Debug for Text<MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
