//! The keys that records are protected with: three AEADs, by ring or by aws-lc.
//!
//! Both make the same bytes. They differ in what they need of a processor to be fast, and in where
//! a key lives: ring's is a value of 544 bytes, and aws-lc's a pointer to one of about that size. A
//! stream has four, so ring's are behind a pointer too, and a session has one size with both.

use rustls::ConnectionTrafficSecrets as Secrets;

/// Bytes of a nonce.
pub(super) const NONCE: usize = 12;

/// Tag of all three AEADs.
pub(super) const TAG: usize = 16;

/// What protects records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum RecordLibrary {
    /// ring, which is always there.
    #[default]
    Ring,
    /// aws-lc, if it was built in.
    #[cfg(feature = "aws-lc")]
    AwsLc,
}

impl RecordLibrary {
    /// All that were built in.
    pub const BUILT: &[Self] = &[
        Self::Ring,
        #[cfg(feature = "aws-lc")]
        Self::AwsLc,
    ];

    /// The name in configuration, log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => "aws-lc",
        }
    }

    /// aws-lc, if it was built in.
    pub const fn aws_lc() -> Option<Self> {
        match Self::BUILT {
            [_, other, ..] => Some(*other),
            _ => None,
        }
    }
}

/// One key of one direction.
pub(super) enum Key {
    Ring(Box<ring::aead::LessSafeKey>),
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc_rs::aead::LessSafeKey),
}

/// A record was not made with this key, or is longer than an AEAD can be asked for.
#[derive(Debug)]
pub(super) struct Refused;

/// Which AEAD, whichever library it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
}

impl Key {
    /// Makes the key that rustls negotiated; `None` for an AEAD that there is not.
    ///
    /// Returns with it its nonce base, and whether it is of AES-GCM.
    pub(super) fn new(
        library: RecordLibrary,
        secrets: &Secrets,
    ) -> Option<(Self, [u8; NONCE], bool)> {
        let (algorithm, key, iv) = match secrets {
            Secrets::Aes128Gcm { key, iv } => (Algorithm::Aes128Gcm, key, iv),
            Secrets::Aes256Gcm { key, iv } => (Algorithm::Aes256Gcm, key, iv),
            Secrets::Chacha20Poly1305 { key, iv } => (Algorithm::ChaCha20Poly1305, key, iv),
            _ => return None,
        };
        let gcm = algorithm != Algorithm::ChaCha20Poly1305;
        let key = Self::of(library, algorithm, key.as_ref())?;
        Some((key, iv.as_ref().try_into().ok()?, gcm))
    }

    /// Makes a key of as many bytes as the algorithm has; `None` for any other number.
    pub(super) fn of(library: RecordLibrary, algorithm: Algorithm, key: &[u8]) -> Option<Self> {
        match library {
            RecordLibrary::Ring => {
                use ring::aead;
                let algorithm = match algorithm {
                    Algorithm::Aes128Gcm => &aead::AES_128_GCM,
                    Algorithm::Aes256Gcm => &aead::AES_256_GCM,
                    Algorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
                };
                let key = aead::UnboundKey::new(algorithm, key).ok()?;
                Some(Self::Ring(Box::new(aead::LessSafeKey::new(key))))
            }
            #[cfg(feature = "aws-lc")]
            RecordLibrary::AwsLc => {
                use aws_lc_rs::aead;
                let algorithm = match algorithm {
                    Algorithm::Aes128Gcm => &aead::AES_128_GCM,
                    Algorithm::Aes256Gcm => &aead::AES_256_GCM,
                    Algorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
                };
                let key = aead::UnboundKey::new(algorithm, key).ok()?;
                Some(Self::AwsLc(aead::LessSafeKey::new(key)))
            }
        }
    }

    /// Encrypts `text` where it stands; returns its tag.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG], Refused> {
        let tag = match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
                tag.ok().and_then(|tag| tag.as_ref().try_into().ok())
            }
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
                tag.ok().and_then(|tag| tag.as_ref().try_into().ok())
            }
        };
        tag.ok_or(Refused)
    }

    /// Decrypts the text with its tag at `region[shift..]` to the front of `region`; returns its
    /// length.
    ///
    /// ring decrypts to another place at no cost. aws-lc does where the places do not overlap, and
    /// must move the text behind it where they do.
    pub(super) fn open(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        region: &mut [u8],
        shift: usize,
    ) -> Result<usize, Refused> {
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let opened = key.open_within(nonce, Aad::from(aad), region, shift..);
                opened.map(|text| text.len()).map_err(|_| Refused)
            }
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let len = region.len().checked_sub(shift + TAG).ok_or(Refused)?;
                let opened = if shift >= len && shift > 0 {
                    let (front, sealed) = region.split_at_mut(shift);
                    let (text, tag) = sealed.split_at(len);
                    let front = front.get_mut(..len).ok_or(Refused)?;
                    key.open_separate_gather(nonce, Aad::from(aad), text, tag, front)
                } else {
                    key.open_within(nonce, Aad::from(aad), region, shift..)
                        .map(drop)
                };
                opened.map(|()| len).map_err(|_| Refused)
            }
        }
    }
}
