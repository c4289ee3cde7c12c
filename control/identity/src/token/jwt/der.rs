//! Writes the few DER structures that keys are wrapped in.

use super::Algorithm;
use crate::certificate::der::{INTEGER, OCTET_STRING, SEQUENCE, tlv};
use rustls::pki_types::{AlgorithmIdentifier, alg_id};
use rustls::sign::public_key_to_spki;

/// Wraps a public key (RSAPublicKey, or an EC point) as SubjectPublicKeyInfo, as Go writes it.
pub(super) fn spki(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    public_key_to_spki(&identifier(algorithm), key).to_vec()
}

/// Writes RSAPublicKey (RFC 8017, appendix A.1.1) from big-endian numbers.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[unsigned(modulus), unsigned(exponent)].concat())
}

/// Wraps an ECPrivateKey (RFC 5915) as PKCS #8, which is the form that ring reads.
pub(super) fn pkcs8(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let version = tlv(INTEGER, &[0]);
    let identifier = tlv(SEQUENCE, &identifier(algorithm));
    tlv(
        SEQUENCE,
        &[version, identifier, tlv(OCTET_STRING, key)].concat(),
    )
}

fn identifier(algorithm: Algorithm) -> AlgorithmIdentifier {
    match algorithm {
        Algorithm::Rs256 => alg_id::RSA_ENCRYPTION,
        Algorithm::Es256 => alg_id::ECDSA_P256,
        Algorithm::Es384 => alg_id::ECDSA_P384,
    }
}

fn unsigned(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    match digits.first() {
        None => tlv(INTEGER, &[0]),
        Some(first) if *first < 0x80 => tlv(INTEGER, digits),
        Some(_) => tlv(INTEGER, &[&[0], digits].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_keeps_numbers_positive_and_short() {
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
    }
}
