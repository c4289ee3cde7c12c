//! The hash of a public key, as pins are written.

use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, digest};
use std::str::FromStr;

/// SHA-256 of a public key with its algorithm (SubjectPublicKeyInfo, DER).
///
/// Public keys are no secret, so comparison need not be constant-time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, derive_more::Debug, derive_more::Display)]
#[debug("SpkiHash({self})")]
// Writes it in base64, as a pins file takes it.
#[display("{}", BASE64.encode(_0))]
pub struct SpkiHash([u8; 32]);

impl SpkiHash {
    /// Hashes a SubjectPublicKeyInfo.
    pub fn of(spki: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, spki).as_ref());
        Self(hash)
    }

    /// Writes it as kubeadm does, and as `--ca-pin` takes it: `sha256:HEX`.
    pub fn as_pin(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl From<[u8; 32]> for SpkiHash {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// A text that is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no SHA-256; write 44 characters of base64 or 64 of hex")]
pub struct SpkiHashError;

impl FromStr for SpkiHash {
    type Err = SpkiHashError;

    /// Reads base64 or hex (colons allowed, as openssl prints them), with or without the prefixes
    /// `sha256:` (kubeadm), `sha256/` (OkHttp) and `sha256//` (curl).
    fn from_str(text: &str) -> Result<Self, SpkiHashError> {
        let text = ["sha256//", "sha256/", "sha256:"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let hex: String = text.split(':').collect();
        let bytes = match hex.len() {
            64 => HEXLOWER_PERMISSIVE.decode(hex.as_bytes()),
            _ if text.ends_with('=') => BASE64.decode(text.as_bytes()),
            _ => BASE64_NOPAD.decode(text.as_bytes()),
        };
        let bytes = bytes.map_err(|_| SpkiHashError)?;
        bytes.try_into().map(Self).map_err(|_| SpkiHashError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BASE64_TEXT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn spki_hash_reads_every_notation() {
        let expected = SpkiHash::of(b"");
        let colons: Vec<&str> = (0..32).map(|i| &HEX[2 * i..2 * i + 2]).collect();
        for text in [
            HEX.to_owned(),
            HEX.to_uppercase(),
            colons.join(":"),
            format!("sha256:{HEX}"),
            BASE64_TEXT.to_owned(),
            BASE64_TEXT.trim_end_matches('=').to_owned(),
            format!("sha256//{BASE64_TEXT}"),
            format!("sha256/{BASE64_TEXT}"),
            format!("sha256:{BASE64_TEXT}"),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), BASE64_TEXT);
        assert_eq!(expected.as_pin(), format!("sha256:{HEX}"));
        for text in [
            "",
            "sha256:",
            "abc",
            &HEX[1..],
            &HEX.replace('e', "g"),
            "AAAA",
            "é",
        ] {
            assert_eq!(text.parse::<SpkiHash>(), Err(SpkiHashError), "{text}");
        }
    }
}
