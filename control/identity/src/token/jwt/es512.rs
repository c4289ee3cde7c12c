//! ECDSA on P-521 with SHA-512, which ring does not have. Signatures are the fixed-size ones of
//! RFC 7518, section 3.4: R and S of 66 bytes each.

use super::{JwtError, Part};
use data_encoding::BASE64URL_NOPAD;
use p521::SecretKey;
use p521::ecdsa::signature::{Signer, Verifier};
use p521::ecdsa::{Signature, SigningKey, VerifyingKey};
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of a number below the order of the curve.
const SCALAR: usize = 66;

/// Verifies; `signature` is base64url.
pub(super) fn verify(key: &VerifyingKey, message: &[u8], signature: &str) -> Result<(), JwtError> {
    let bytes = BASE64URL_NOPAD
        .decode(signature.as_bytes())
        .map_err(|_| JwtError::Base64(Part::Signature))?;
    let signature = Signature::from_slice(&bytes).map_err(|_| JwtError::Signature)?;
    key.verify(message, &signature)
        .map_err(|_| JwtError::Signature)
}

/// Signs; deterministic nonces (RFC 6979), so no random source can fail it.
pub(super) fn sign(key: &SigningKey, message: &[u8]) -> String {
    let signature: Signature = key.sign(message);
    BASE64URL_NOPAD.encode(&signature.to_bytes())
}

/// Draws a key by rejection: half of all 521-bit numbers and more are below the order.
pub(super) fn generate() -> Result<SecretKey, Unspecified> {
    let random = SystemRandom::new();
    loop {
        let mut bytes = Zeroizing::new([0; SCALAR]);
        random.fill(&mut bytes[..])?;
        bytes[0] &= 1;
        if let Ok(key) = SecretKey::from_slice(&bytes[..]) {
            return Ok(key);
        }
    }
}
