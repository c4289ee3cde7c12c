//! Judges public keys and signature algorithms: the one place that says which are strong enough.
//!
//! What comes in from outside passes here: certificate requests, certificates and CAs in files, what peers
//! present, keys of tokens. Libraries are of different minds about it: for some of them a signature by SHA-1
//! and RSA of 1024 bits is good. The signature of a self-issued certificate is not judged, nor that of a
//! trust anchor: they are trusted for standing where they stand.

use std::ops::RangeInclusive;
use x509_parser::asn1_rs::{Oid, Tag};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521,
    OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_RSAENCRYPTION,
    OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA,
    OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512,
    OID_SIG_ED25519,
};
use x509_parser::public_key::PublicKey;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

/// RSA moduli that are taken, in bits: below, they can be factored within the life of a CA; above, one
/// handshake costs more than it should, and no library here verifies them.
const RSA_BITS: RangeInclusive<usize> = 2048..=8192;

/// Longest RSA exponent that is taken, in bytes; in practice it is 65537.
const EXPONENT_BYTES: usize = 4;

/// Why a key or a signature is not taken. Its words go on from what has it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// An RSA key of a wrong size.
    #[error(
        "has an RSA key of {0} bits; make one of 2048 to 8192 bits, or better ECDSA P-256 or Ed25519"
    )]
    RsaBits(usize),
    /// An RSA key with an exponent by which it proves nothing, or that is not one.
    #[error("has an RSA key with a bad public exponent; make a key with exponent 65537")]
    RsaExponent,
    /// A curve that is too small, or that nobody verifies.
    #[error("has an EC key on the curve {0}; use P-256, P-384 or P-521")]
    Curve(String),
    /// Another kind of key.
    #[error("has a key of the kind {0}; use ECDSA P-256, Ed25519 or RSA of 2048 bits and more")]
    Kind(String),
    /// A key that cannot be read.
    #[error("has a public key that cannot be read; make a new one")]
    Unreadable,
    /// A signature by a hash that can be forged, or that nobody verifies.
    #[error("is signed by {0}; have it signed with SHA-256 or better")]
    Signature(String),
}

/// Judges a key.
pub(crate) fn judge_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), Weakness> {
    let kind = &key.algorithm.algorithm;
    if *kind == OID_SIG_ED25519 {
        return Ok(());
    }
    if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY {
        // Explicit parameters are not looked into: they could hide a curve that proves nothing.
        let parameters = key.algorithm.parameters.as_ref();
        let parameters = parameters.filter(|any| any.tag() == Tag::Oid);
        return match parameters.and_then(|any| any.as_oid().ok()) {
            Some(oid) if [OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521].contains(&oid) => Ok(()),
            Some(oid) => Err(Weakness::Curve(oid.to_id_string())),
            None => Err(Weakness::Curve("of its own parameters".to_owned())),
        };
    }
    if *kind != OID_PKCS1_RSAENCRYPTION {
        return Err(Weakness::Kind(name(kind)));
    }
    match key.parsed() {
        Ok(PublicKey::RSA(rsa)) => judge_rsa(rsa.modulus, rsa.exponent),
        _ => Err(Weakness::Unreadable),
    }
}

/// Judges the numbers of an RSA key, big-endian.
pub(crate) fn judge_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), Weakness> {
    let bits = bits(modulus);
    if !RSA_BITS.contains(&bits) {
        return Err(Weakness::RsaBits(bits));
    }
    let exponent = trimmed(exponent);
    let odd = exponent.last().is_some_and(|low| low % 2 == 1);
    if !odd || exponent == [1] || exponent.len() > EXPONENT_BYTES {
        return Err(Weakness::RsaExponent);
    }
    Ok(())
}

/// Judges the algorithm of a signature.
pub(crate) fn judge_signature(algorithm: &AlgorithmIdentifier<'_>) -> Result<(), Weakness> {
    let oid = &algorithm.algorithm;
    let good = [
        OID_PKCS1_SHA256WITHRSA,
        OID_PKCS1_SHA384WITHRSA,
        OID_PKCS1_SHA512WITHRSA,
        OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384,
        OID_SIG_ECDSA_WITH_SHA512,
        OID_SIG_ED25519,
    ]
    .contains(oid)
        || *oid == OID_PKCS1_RSASSAPSS && is_good_pss(algorithm);
    if good {
        Ok(())
    } else {
        Err(Weakness::Signature(name(oid)))
    }
}

/// RSASSA-PSS names its hash in its parameters, and means SHA-1 when it has none (RFC 4055).
fn is_good_pss(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let hashes = [
        OID_NIST_HASH_SHA256,
        OID_NIST_HASH_SHA384,
        OID_NIST_HASH_SHA512,
    ];
    matches!(
        SignatureAlgorithm::try_from(algorithm),
        Ok(SignatureAlgorithm::RSASSA_PSS(with)) if hashes.contains(with.hash_algorithm_oid())
    )
}

/// The name of what is refused, where people know one.
fn name(oid: &Oid<'_>) -> String {
    let id = oid.to_id_string();
    let known = match id.as_str() {
        "1.2.840.10040.4.1" => "DSA",
        "1.2.840.113549.1.1.4" => "MD5 with RSA",
        "1.2.840.113549.1.1.5" | "1.3.14.3.2.29" => "SHA-1 with RSA",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS without SHA-256 or better",
        "1.2.840.113549.1.1.14" => "SHA-224 with RSA",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.2.840.10045.4.3.1" => "ECDSA with SHA-224",
        _ => return id,
    };
    known.to_owned()
}

fn bits(number: &[u8]) -> usize {
    let number = trimmed(number);
    let zeros = number.first().map_or(0, |top| top.leading_zeros() as usize);
    number.len() * 8 - zeros
}

/// DER puts a zero before numbers whose first bit is set.
fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
