use super::*;
use crate::certificate::CertificateFacts;
use crate::testing::openssl;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;

/// Judges a key, a SubjectPublicKeyInfo in DER.
fn judge_spki(spki: &[u8]) -> Result<(), Weakness> {
    match SubjectPublicKeyInfo::from_der(spki) {
        Ok(([], key)) => judge_key(&key),
        _ => Err(Weakness::Unreadable),
    }
}

fn facts(pem: &[u8]) -> CertificateFacts {
    CertificateFacts::read(&CertificateDer::from_pem_slice(pem).unwrap()).unwrap()
}

#[test]
fn keys_of_every_kind_are_judged() {
    if !openssl::present("keys of every kind") {
        return;
    }
    let curve = |curve| ("EC", vec![curve]);
    let rsa = |options: &[&'static str]| ("RSA", options.to_vec());
    for ((algorithm, options), refused) in [
        (rsa(&["rsa_keygen_bits:2048"]), ""),
        (rsa(&["rsa_keygen_bits:1024"]), "RSA key of 1024 bits"),
        (rsa(&["rsa_keygen_bits:2040"]), "RSA key of 2040 bits"),
        (rsa(&["rsa_keygen_bits:2048", "rsa_keygen_pubexp:3"]), ""),
        (curve("ec_paramgen_curve:P-256"), ""),
        (curve("ec_paramgen_curve:P-384"), ""),
        (curve("ec_paramgen_curve:P-521"), ""),
        (curve("ec_paramgen_curve:P-224"), "the curve 1.3.132.0.33"),
        (
            curve("ec_paramgen_curve:secp256k1"),
            "the curve 1.3.132.0.10",
        ),
        (
            (
                "EC",
                vec!["ec_paramgen_curve:P-256", "ec_param_enc:explicit"],
            ),
            "of its own parameters",
        ),
        (("ED25519", vec![]), ""),
        (("ED448", vec![]), "the kind 1.3.101.113"),
        (("X25519", vec![]), "the kind 1.3.101.110"),
        (("RSA-PSS", vec!["rsa_keygen_bits:2048"]), "RSASSA-PSS"),
    ] {
        let spki = openssl::spki(&openssl::key(algorithm, &options));
        match judge_spki(&spki) {
            Ok(()) => assert_eq!(refused, "", "{algorithm} {options:?}"),
            Err(weakness) => {
                let words = weakness.to_string();
                assert!(
                    !refused.is_empty() && words.contains(refused),
                    "{algorithm} {options:?}: {words}"
                );
            }
        }
    }
}

#[test]
fn numbers_of_an_rsa_key_are_judged() {
    let modulus = |bits: usize| {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        bytes[0] >>= (8 - bits % 8) % 8;
        [&[0], &bytes[..]].concat()
    };
    for (bits, good) in [
        (512, false),
        (2047, false),
        (2048, true),
        (3072, true),
        (8192, true),
        (8193, false),
        (16_384, false),
    ] {
        let judged = judge_rsa(&modulus(bits), &[1, 0, 1]);
        let expected = if good {
            Ok(())
        } else {
            Err(Weakness::RsaBits(bits))
        };
        assert_eq!(judged, expected);
    }
    for (exponent, good) in [
        (&[][..], false),
        (&[0], false),
        (&[1], false),
        (&[2], false),
        (&[3], true),
        (&[0, 3], true),
        (&[1, 0, 0], false),
        (&[1, 0, 1], true),
        (&[0xff, 0xff, 0xff, 0xff], true),
        (&[1, 0, 0, 0, 1], false),
    ] {
        let judged = judge_rsa(&modulus(2048), exponent);
        let expected = if good {
            Ok(())
        } else {
            Err(Weakness::RsaExponent)
        };
        assert_eq!(judged, expected, "{exponent:?}");
    }
    assert_eq!(judge_rsa(&[], &[3]), Err(Weakness::RsaBits(0)));
    assert_eq!(judge_spki(b"no key"), Err(Weakness::Unreadable));
}

#[test]
fn signatures_are_judged_unless_they_are_by_themselves() {
    if !openssl::present("signatures") {
        return;
    }
    let key = openssl::key("RSA", &["rsa_keygen_bits:2048"]);
    let root = openssl::self_signed(&key, "/CN=root", &["-sha1"]);
    assert_eq!(facts(&root).weakness(), None, "nobody verifies it");
    let request = openssl::request(&key, "/CN=leaf", &[]);
    let pss = ["-sigopt", "rsa_padding_mode:pss"];
    for (options, refused) in [
        (&["-sha256"][..], ""),
        (&["-sha384"], ""),
        (&["-sha512"], ""),
        (&["-sha1"], "signed by SHA-1 with RSA"),
        (&["-md5"], "signed by MD5 with RSA"),
        (&["-sha224"], "signed by SHA-224 with RSA"),
        (&[&["-sha256"][..], &pss].concat(), ""),
        (
            &[&["-sha1"][..], &pss].concat(),
            "signed by RSASSA-PSS without",
        ),
    ] {
        let leaf = facts(&openssl::signed(&request, (&root, &key), options));
        let found = leaf.weakness().map(ToString::to_string).unwrap_or_default();
        let fits = if refused.is_empty() {
            found.is_empty()
        } else {
            found.contains(refused)
        };
        assert!(fits, "{options:?}: {found}");
        assert_eq!(leaf.weak_key, None);
    }
    let ec = openssl::key("EC", &["ec_paramgen_curve:P-256"]);
    let leaf = openssl::signed(
        &request,
        (&openssl::self_signed(&ec, "/CN=root", &[]), &ec),
        &["-sha1"],
    );
    let weakness = facts(&leaf).weakness().unwrap().to_string();
    assert!(weakness.contains("ECDSA with SHA-1"), "{weakness}");
}
