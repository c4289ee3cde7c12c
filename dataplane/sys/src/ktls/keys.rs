//! Holds the secrets of one direction of a TLS connection.

use thiserror::Error;
use zeroize::ZeroizeOnDrop;

/// A protocol version that the kernel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
pub enum Version {
    /// TLS 1.2, RFC 5246.
    #[display("TLS 1.2")]
    Tls12,
    /// TLS 1.3, RFC 8446.
    #[display("TLS 1.3")]
    Tls13,
}

impl Version {
    /// Both versions.
    pub const ALL: [Version; 2] = [Version::Tls12, Version::Tls13];
}

/// A cipher that the kernel speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, derive_more::Display)]
pub enum Cipher {
    /// AES-128-GCM.
    #[display("AES-128-GCM")]
    Aes128Gcm,
    /// AES-256-GCM.
    #[display("AES-256-GCM")]
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    #[display("ChaCha20-Poly1305")]
    ChaCha20Poly1305,
}

impl Cipher {
    /// All ciphers.
    pub const ALL: [Cipher; 3] = [
        Cipher::Aes128Gcm,
        Cipher::Aes256Gcm,
        Cipher::ChaCha20Poly1305,
    ];

    /// Length of this cipher's key in bytes.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Cipher::Aes128Gcm => 16,
            Cipher::Aes256Gcm | Cipher::ChaCha20Poly1305 => 32,
        }
    }
}

/// A key that does not fit its cipher.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a {cipher} key has {} bytes, not {actual}", .cipher.key_len())]
pub struct WrongKeyLength {
    /// The cipher.
    pub cipher: Cipher,
    /// Length of the key in bytes.
    pub actual: usize,
}

/// The secrets of one direction. Zeroised on drop; shows nothing of them.
#[derive(ZeroizeOnDrop, derive_more::Debug)]
pub struct Keys {
    #[zeroize(skip)]
    pub(super) version: Version,
    #[zeroize(skip)]
    pub(super) cipher: Cipher,
    /// As long as the cipher says; the rest is zero.
    #[debug(skip)]
    key: [u8; 32],
    /// For AES-GCM of TLS 1.2: 4 bytes of the fixed salt, then 8 of the first explicit nonce.
    #[debug(skip)]
    pub(super) iv: [u8; 12],
    /// Number of the next record.
    #[zeroize(skip)]
    pub(super) sequence: u64,
}

impl Keys {
    /// Copies the secrets; the caller wipes its own.
    ///
    /// `iv` is the write IV of TLS 1.3 and of ChaCha20-Poly1305; for AES-GCM of TLS 1.2 it is the
    /// salt of 4 bytes and an explicit nonce of 8 to begin with (the receiver's is not used).
    /// `sequence` is the number of the next record in this direction.
    ///
    /// # Errors
    ///
    /// When `key` has not the cipher's length.
    pub fn new(
        version: Version,
        cipher: Cipher,
        key: &[u8],
        iv: &[u8; 12],
        sequence: u64,
    ) -> Result<Self, WrongKeyLength> {
        if key.len() != cipher.key_len() {
            return Err(WrongKeyLength {
                cipher,
                actual: key.len(),
            });
        }
        let mut keys = Keys {
            version,
            cipher,
            key: [0; 32],
            iv: *iv,
            sequence,
        };
        keys.key[..key.len()].copy_from_slice(key);
        Ok(keys)
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.cipher.key_len()]
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroize;

    use super::*;

    #[test]
    fn key_of_another_length_is_refused() {
        for cipher in Cipher::ALL {
            for len in [0, 15, 17, 31, 33, 64] {
                let refused = Keys::new(Version::Tls13, cipher, &vec![1; len], &[2; 12], 0);
                assert_eq!(
                    refused.unwrap_err(),
                    WrongKeyLength {
                        cipher,
                        actual: len
                    }
                );
            }
            assert!(
                Keys::new(
                    Version::Tls13,
                    cipher,
                    &vec![1; cipher.key_len()],
                    &[2; 12],
                    0
                )
                .is_ok()
            );
        }
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let keys = Keys::new(
            Version::Tls13,
            Cipher::Aes128Gcm,
            &[0xab; 16],
            &[0xcd; 12],
            7,
        )
        .unwrap();
        let shown = format!("{keys:?} {keys:#?}");
        assert!(!shown.contains("171") && !shown.contains("205"), "{shown}");
        assert!(
            !shown.contains("ab, ") && !shown.contains("cd, "),
            "{shown}"
        );
        assert!(shown.contains("Aes128Gcm") && shown.contains('7'));
    }

    #[test]
    fn zeroize_wipes_key_and_iv() {
        let mut keys = Keys::new(
            Version::Tls12,
            Cipher::Aes256Gcm,
            &[0xab; 32],
            &[0xcd; 12],
            7,
        )
        .unwrap();
        keys.key.zeroize();
        keys.iv.zeroize();
        assert_eq!((keys.key, keys.iv), ([0; 32], [0; 12]));
        fn wipes_on_drop<T: ZeroizeOnDrop>(_: &T) {}
        wipes_on_drop(&keys);
    }
}
