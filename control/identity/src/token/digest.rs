//! Tokens as keys of a map: HMAC-SHA-256 under a random key of the process.
//!
//! A map may be searched in any time by such a key, and dumped, without telling a token (apiserver
//! `pkg/authentication/token/cache`).

use ring::hmac::{Context, HMAC_SHA256, Key};
use ring::rand::{SecureRandom, SystemRandom};

/// A token, and what was asked of it, as a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, derive_more::Debug)]
#[debug("Digest(redacted)")]
pub(crate) struct Digest([u8; 32]);

/// Makes digests under one key.
#[derive(derive_more::Debug)]
#[debug("Digester(redacted)")]
pub(crate) struct Digester(Key);

impl Digester {
    /// Draws a key.
    ///
    /// # Panics
    /// The system has no random bytes: a key that could be guessed would be worse than no process.
    pub(crate) fn new() -> Self {
        let mut key = zeroize::Zeroizing::new([0; 32]);
        let drawn = SystemRandom::new().fill(&mut key[..]);
        assert!(drawn.is_ok(), "the system's random source failed");
        Self(Key::new(HMAC_SHA256, &key[..]))
    }

    /// Digests texts; each is preceded by its length, so that no two lists are alike.
    pub(crate) fn digest(&self, parts: &[&str]) -> Digest {
        let mut context = Context::with_key(&self.0);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_tells_lists_apart_and_depends_on_the_key() {
        let digester = Digester::new();
        assert_eq!(digester.digest(&["a", "bc"]), digester.digest(&["a", "bc"]));
        assert_ne!(digester.digest(&["a", "bc"]), digester.digest(&["ab", "c"]));
        assert_ne!(digester.digest(&["a"]), digester.digest(&["a", ""]));
        assert_ne!(digester.digest(&["a"]), Digester::new().digest(&["a"]));
        assert_eq!(
            format!("{:?}{digester:?}", digester.digest(&[])),
            "Digest(redacted)Digester(redacted)"
        );
    }
}
