//! Writes the few DER structures that keys are wrapped in.

use super::Algorithm;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;

/// OID 1.2.840.113549.1.1.1 with its NULL parameters (RFC 8017, appendix A.1).
const RSA: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// OID 1.2.840.10045.2.1 (RFC 5480, section 2.1.1), to be followed by the curve's.
const EC: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// OID 1.2.840.10045.3.1.7.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// OID 1.3.132.0.34.
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// OID 1.3.132.0.35.
const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];

/// Wraps a public key (RSAPublicKey, or an EC point) as SubjectPublicKeyInfo, as Go writes it.
pub(super) fn spki(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let bits = [&[0][..], key].concat();
    value(
        SEQUENCE,
        &[identifier(algorithm), value(BIT_STRING, &bits)].concat(),
    )
}

/// Writes RSAPublicKey (RFC 8017, appendix A.1.1) from big-endian numbers.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    value(SEQUENCE, &[unsigned(modulus), unsigned(exponent)].concat())
}

/// Wraps an ECPrivateKey (RFC 5915) as PKCS #8, which is the form that ring reads.
pub(super) fn pkcs8(algorithm: Algorithm, key: &[u8]) -> Vec<u8> {
    let version = [INTEGER, 1, 0];
    let parts = [
        &version[..],
        &identifier(algorithm),
        &value(OCTET_STRING, key),
    ];
    value(SEQUENCE, &parts.concat())
}

fn identifier(algorithm: Algorithm) -> Vec<u8> {
    let content = match algorithm {
        Algorithm::Rs256 => RSA.to_vec(),
        Algorithm::Es256 => [EC, P256].concat(),
        Algorithm::Es384 => [EC, P384].concat(),
        Algorithm::Es512 => [EC, P521].concat(),
    };
    value(SEQUENCE, &content)
}

fn unsigned(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    match digits.first() {
        None => value(INTEGER, &[0]),
        Some(first) if *first < 0x80 => value(INTEGER, digits),
        Some(_) => value(INTEGER, &[&[0], digits].concat()),
    }
}

fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 6);
    out.push(tag);
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match content.len() {
        0..0x80 => out.push(significant.first().copied().unwrap_or(0)),
        _ => {
            // At most 8 bytes of length.
            out.push(0x80 | significant.len().to_le_bytes()[0]);
            out.extend_from_slice(significant);
        }
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_writes_short_and_long_lengths() {
        let head = |length: usize| value(4, &vec![7; length])[..4.min(length + 2)].to_vec();
        assert_eq!(head(0), [4, 0]);
        assert_eq!(head(1), [4, 1, 7]);
        assert_eq!(head(127)[..2], [4, 127]);
        assert_eq!(head(128)[..3], [4, 0x81, 128]);
        assert_eq!(head(300), [4, 0x82, 1, 44]);
    }

    #[test]
    fn unsigned_keeps_numbers_positive_and_short() {
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        assert_eq!(unsigned(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
    }
}
