use super::testing::{key, keys};
use super::*;
use crate::pem::{FileRef, encode_block};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

fn b64(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// A token with this header, signed properly whatever the header says.
fn with_header(key: &SigningKey, header: Value) -> String {
    let token = key.sign_with_header(&header, &json!({"iss": "a"})).unwrap();
    token.to_string()
}

fn refusal(token: &str, keys: &[PublicKey]) -> JwtError {
    Compact::parse(token)
        .and_then(|compact| compact.verify(keys).map(|_| ()))
        .unwrap_err()
}

#[test]
fn token_of_each_algorithm_verifies_with_its_key_alone() {
    let keys = keys();
    let public: Vec<PublicKey> = keys.iter().map(|key| key.public().clone()).collect();
    for key in &keys {
        let token = key.sign(&json!({"iss": "a"})).unwrap();
        let compact = Compact::parse(&token).unwrap();
        assert_eq!(compact.header.algorithm, key.public().algorithm());
        assert_eq!(compact.verify(&public).unwrap(), key.public());
        assert_eq!(compact.unverified::<Value>().unwrap(), json!({"iss": "a"}));
        let others: Vec<PublicKey> = public
            .iter()
            .filter(|k| *k != key.public())
            .cloned()
            .collect();
        assert!(matches!(refusal(&token, &others), JwtError::UnknownKey(..)));
        // Without kid every key of the algorithm is tried.
        let header = json!({"alg": key.public().algorithm().as_str()});
        let nameless = with_header(key, header);
        let compact = Compact::parse(&nameless).unwrap();
        assert_eq!(compact.verify(&public).unwrap(), key.public());
        assert_eq!(refusal(&nameless, &others), JwtError::Signature);
    }
}

#[test]
fn token_with_one_bit_flipped_anywhere_is_refused() {
    for key in keys() {
        let public = [key.public().clone()];
        let token = key.sign(&json!({"iss": "a", "n": 12345})).unwrap();
        for position in (0..token.len()).step_by(3) {
            let mut forged = token.as_bytes().to_vec();
            forged[position] ^= 1;
            let Ok(forged) = String::from_utf8(forged) else {
                continue;
            };
            let verified = Compact::parse(&forged).and_then(|c| c.verify(&public).map(|_| ()));
            assert!(
                verified.is_err(),
                "{position} of {}",
                key.public().algorithm()
            );
        }
    }
}

#[test]
fn token_prefixes_are_refused_without_panic() {
    let key = key(Algorithm::Es256).unwrap();
    let public = [key.public().clone()];
    let token = key.sign(&json!({"iss": "a"})).unwrap();
    for end in 0..token.len() {
        let _ = refusal(&token[..end], &public);
    }
}

#[test]
fn token_that_is_hostile_is_refused_by_name() {
    let key = key(Algorithm::Es256).unwrap();
    let other = testing::key(Algorithm::Es384).unwrap();
    let kid = key.public().kid();
    let keys = [key.public().clone(), other.public().clone()];
    let header = |header: Value| with_header(&key, header);
    let unsigned = |alg: &str| format!("{}.{}.", b64(&json!({"alg": alg}).to_string()), b64("{}"));
    let huge = format!("{}.{}.x", b64("{}"), "a".repeat(40 << 10));
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let deep = format!("{}.{}.AAAA", b64(&deep), b64("{}"));
    let good = key.sign(&json!({"iss": "a"})).unwrap().to_string();
    let swapped = with_header(&other, json!({"alg": "ES256", "kid": kid}));
    let with_key_in_it = header(json!({
        "alg": "ES256", "kid": "attacker", "jwk": {"kty": "EC"}, "jku": "https://evil.example"
    }));
    let table: Vec<(&str, String, &str)> = vec![
        ("empty", String::new(), "has 1 parts"),
        ("dots", "...".to_owned(), "has 4 parts"),
        ("two dots", "..".to_owned(), "header is not the JSON"),
        ("encrypted", "a.b.c.d.e".to_owned(), "has 5 parts"),
        ("none", unsigned("none"), "unsigned (alg none)"),
        ("None", unsigned("NoNe"), "unsigned (alg none)"),
        ("hmac", unsigned("HS256"), "alg is \"HS256\""),
        (
            "hmac by public key",
            header(json!({"alg": "HS256", "kid": kid})),
            "alg is \"HS256\"",
        ),
        ("pss", unsigned("PS256"), "alg is \"PS256\""),
        ("eddsa", unsigned("EdDSA"), "alg is \"EdDSA\""),
        ("P-521", unsigned("ES512"), "alg is \"ES512\"; RS256, ES256"),
        ("lower case", unsigned("es256"), "alg is \"es256\""),
        (
            "control bytes",
            unsigned("\u{1b}[2J"),
            "alg is \"\\\\u{1b}[2J\"",
        ),
        ("long alg", unsigned(&"A".repeat(9999)), "AAA...\""),
        ("no signature", unsigned("ES256"), "signature is wrong"),
        (
            "wrong algorithm",
            header(json!({"alg": "ES384", "kid": kid})),
            "says alg ES384",
        ),
        ("other key's", swapped, "signature is wrong"),
        (
            "unknown kid",
            header(json!({"alg": "ES256", "kid": "x"})),
            "signed by key x",
        ),
        (
            "traversal",
            header(json!({"alg": "ES256", "kid": "../../../dev/null"})),
            "signed by key ../../../dev/null",
        ),
        (
            "empty kid",
            header(json!({"alg": "ES256", "kid": ""})),
            "signed by key ,",
        ),
        (
            "long kid",
            header(json!({"alg": "ES256", "kid": "k".repeat(257)})),
            "kid is not a key",
        ),
        (
            "kid with newline",
            header(json!({"alg": "ES256", "kid": "a\nb"})),
            "kid is not a key",
        ),
        (
            "kid of a number",
            header(json!({"alg": "ES256", "kid": 1})),
            "header is not the JSON",
        ),
        (
            "kid of null bytes",
            header(json!({"alg": "ES256", "kid": "\0"})),
            "kid is not a key",
        ),
        ("key inside", with_key_in_it, "signed by key attacker"),
        (
            "critical",
            header(json!({"alg": "ES256", "crit": ["exp"]})),
            "critical extensions",
        ),
        (
            "b64",
            header(json!({"alg": "ES256", "b64": false, "crit": ["b64"]})),
            "critical",
        ),
        (
            "nested",
            header(json!({"alg": "ES256", "cty": "JWT"})),
            "wraps another token",
        ),
        (
            "no alg",
            header(json!({"kid": kid})),
            "header is not the JSON",
        ),
        ("list", header(json!(["ES256"])), "header is not the JSON"),
        (
            "alg twice",
            format!("{}.{}.", b64(r#"{"alg":"ES256","alg":"none"}"#), b64("{}")),
            "JSON",
        ),
        ("huge", huge, "longer than 32768 bytes"),
        ("deep", deep, "header is not the JSON"),
        ("padded", format!("{good}="), "signature is not base64url"),
        (
            "standard base64",
            format!("{}.e+/=.AA", b64("{}")),
            "is not",
        ),
        ("space", format!(" {good}"), "header is not base64url"),
        ("newline", format!("{good}\n"), "signature is not base64url"),
        (
            "not ASCII",
            format!("{good}é"),
            "signature is not base64url",
        ),
    ];
    for (name, token, words) in table {
        let error = refusal(&token, &keys).to_string();
        assert!(error.contains(words), "{name}: {error}");
        assert!(error.len() < 600, "{name}: {error}");
    }
}

#[test]
fn token_signed_by_openssl_with_rsa_verifies_and_with_another_padding_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let dir = directory.path();
    if !openssl(dir, &["genrsa", "-out", "key", "2048"]) {
        eprintln!("SKIPPED: token_signed_by_openssl_with_rsa: no openssl on this machine");
        return;
    }
    let public = [
        "rsa", "-in", "key", "-pubout", "-outform", "DER", "-out", "public",
    ];
    assert!(openssl(dir, &public));
    let key = PublicKey::from_spki(&fs::read(dir.join("public")).unwrap()).unwrap();
    let input = format!("{}.{}", b64(r#"{"alg":"RS256"}"#), b64(r#"{"iss":"a"}"#));
    fs::write(dir.join("input"), &input).unwrap();
    let sign = ["dgst", "-sha256", "-sign", "key", "-out", "signature"];
    for (more, good) in [
        (&[][..], true),
        (&["-sigopt", "rsa_padding_mode:pss"], false),
    ] {
        assert!(openssl(dir, &[&sign[..], more, &["input"]].concat()));
        let signature = fs::read(dir.join("signature")).unwrap();
        let token = format!("{input}.{}", BASE64URL_NOPAD.encode(&signature));
        let verified = Compact::parse(&token)
            .unwrap()
            .verify(std::slice::from_ref(&key))
            .is_ok();
        assert_eq!(verified, good, "{more:?}");
    }
}

#[test]
fn payload_that_programs_read_differently_is_refused() {
    use crate::token::serviceaccount::Claims;
    let deep = format!(
        r#"{{"iss":"a","sub":"b","aud":{}{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    for (name, payload) in [
        (
            "duplicate exp",
            br#"{"iss":"a","sub":"b","exp":1,"exp":9999999999}"#.to_vec(),
        ),
        (
            "duplicate sub",
            br#"{"iss":"a","sub":"b","sub":"c","exp":1}"#.to_vec(),
        ),
        (
            "not UTF-8",
            b"{\"iss\":\"a\",\"sub\":\"\xff\",\"exp\":1}".to_vec(),
        ),
        ("UTF-16 mark", b"\xff\xfe{\x00}\x00".to_vec()),
        (
            "two documents",
            br#"{"iss":"a","sub":"b","exp":1}{}"#.to_vec(),
        ),
        ("deep", deep.into_bytes()),
    ] {
        let header = b64(r#"{"alg":"ES256"}"#);
        let token = format!("{header}.{}.AAAA", BASE64URL_NOPAD.encode(&payload));
        let read = Compact::parse(&token).and_then(|compact| compact.unverified::<Claims>());
        assert_eq!(read.unwrap_err(), JwtError::Json(Part::Payload), "{name}");
    }
}

#[test]
fn ecdsa_signature_of_zeros_is_refused() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let key = key(algorithm).unwrap();
        let good = key.sign(&json!({"iss": "a"})).unwrap();
        let (signed, _) = good.rsplit_once('.').unwrap();
        for length in [0, 1, 64, 96, 97] {
            for byte in [0, 0xff] {
                let signature = BASE64URL_NOPAD.encode(&vec![byte; length]);
                let forged = format!("{signed}.{signature}");
                let refused = refusal(&forged, &[key.public().clone()]);
                assert_eq!(refused, JwtError::Signature, "{algorithm} {length} {byte}");
            }
        }
    }
}

#[test]
fn jwks_carries_every_key_there_and_back() {
    let keys: Vec<PublicKey> = keys().iter().map(|key| key.public().clone()).collect();
    let json = serde_json::to_vec(&JwkSet::of(&keys)).unwrap();
    assert_eq!(JwkSet::parse(&json).unwrap(), keys);
}

#[test]
fn jwks_that_is_wrong_is_refused_and_foreign_keys_are_passed_over() {
    let ours = key(Algorithm::Es256).unwrap().public().clone();
    let good = json!(Jwk::from(&ours));
    let with = |field: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[field] = value;
        JwkSet::parse(json!({"keys": [jwk]}).to_string().as_bytes())
    };
    assert_eq!(with("kid", json!("named")).unwrap()[0].kid(), "named");
    for (field, value, words) in [
        ("x", json!("AAAA"), "key 1 of the set is no public key"),
        ("x", json!("*"), "key 1 of the set is no public key"),
        ("x", Value::Null, "key 1 of the set is no public key"),
        ("use", json!("enc"), "no key for RS256"),
        ("crv", json!("secp256k1"), "no key for RS256"),
        ("crv", json!("P-521"), "no key for RS256"),
        ("kty", json!("oct"), "no key for RS256"),
        ("alg", json!("ES384"), "no key for RS256"),
        ("kty", json!(1), "is not JSON of the form"),
    ] {
        let error = with(field, value.clone()).unwrap_err().to_string();
        assert!(error.contains(words), "{field} {value}: {error}");
    }
    let foreign = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AA"}, good]});
    assert_eq!(
        JwkSet::parse(foreign.to_string().as_bytes()).unwrap(),
        [ours]
    );
    let many = json!({"keys": vec![good; 65]}).to_string();
    assert!(matches!(
        JwkSet::parse(many.as_bytes()),
        Err(JwkError::TooMany(_))
    ));
    let long = vec![b' '; MAX_JWKS_TEST + 1];
    assert!(matches!(JwkSet::parse(&long), Err(JwkError::TooLong(_))));
}

const MAX_JWKS_TEST: usize = jwk::MAX_JWKS;

/// Runs openssl in a directory; `false` if it is not here.
fn openssl(directory: &Path, arguments: &[&str]) -> bool {
    match Command::new("openssl")
        .current_dir(directory)
        .args(arguments)
        .output()
    {
        Err(_) => false,
        Ok(out) => {
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{arguments:?}: {stderr}");
            true
        }
    }
}

#[test]
fn key_files_of_openssl_load_with_the_same_identifier_from_either_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| FileRef::new("f", directory.path().join(name));
    let generators: [(&[&str], Algorithm); 6] = [
        (
            &["genrsa", "-traditional", "-out", "key", "2048"],
            Algorithm::Rs256,
        ),
        (
            &["genpkey", "-algorithm", "RSA", "-out", "key"],
            Algorithm::Rs256,
        ),
        (
            &["ecparam", "-name", "prime256v1", "-genkey", "-out", "key"],
            Algorithm::Es256,
        ),
        (
            &["ecparam", "-name", "secp384r1", "-genkey", "-out", "key"],
            Algorithm::Es384,
        ),
        (
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-out",
                "key",
            ],
            Algorithm::Es256,
        ),
        (
            &[
                "genpkey",
                "-algorithm",
                "EC",
                "-pkeyopt",
                "ec_paramgen_curve:P-384",
                "-out",
                "key",
            ],
            Algorithm::Es384,
        ),
    ];
    for (generate, algorithm) in generators {
        if !openssl(directory.path(), generate) {
            eprintln!(
                "SKIPPED: key_files_of_openssl_load_with_the_same_identifier_from_either_half: no openssl"
            );
            return;
        }
        openssl(
            directory.path(),
            &["pkey", "-in", "key", "-pubout", "-out", "pub"],
        );
        openssl(
            directory.path(),
            &[
                "req", "-x509", "-key", "key", "-subj", "/CN=x", "-out", "crt",
            ],
        );
        let key = load_signing_key(&path("key")).unwrap();
        assert_eq!(key.public().algorithm(), algorithm, "{generate:?}");
        for file in ["pub", "key", "crt"] {
            let keys = load_public_keys(&path(file)).unwrap();
            assert_eq!(keys, [key.public().clone()], "{generate:?} {file}");
        }
        let written = fs::read_to_string(directory.path().join("pub")).unwrap();
        assert_eq!(key.public().to_pem(), written, "{generate:?}");
        let token = key.sign(&json!({"iss": "a"})).unwrap();
        let compact = Compact::parse(&token).unwrap();
        compact
            .verify(&load_public_keys(&path("pub")).unwrap())
            .unwrap();
    }
}

#[test]
fn key_on_p521_is_refused_by_name_in_each_form() {
    let directory = tempfile::tempdir().unwrap();
    for generate in [
        ["ecparam", "-name", "secp521r1", "-genkey", "-out", "key"].as_slice(),
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-521",
            "-out",
            "key",
        ],
    ] {
        if !openssl(directory.path(), generate) {
            eprintln!("SKIPPED: key_on_p521_is_refused_by_name_in_each_form: no openssl");
            return;
        }
        openssl(
            directory.path(),
            &["pkey", "-in", "key", "-pubout", "-out", "pub"],
        );
        let request = [
            "req", "-x509", "-key", "key", "-subj", "/CN=x", "-out", "crt",
        ];
        openssl(directory.path(), &request);
        let file = |name: &str| FileRef::new("f", directory.path().join(name));
        let signing = load_signing_key(&file("key")).unwrap_err();
        let public = ["pub", "key", "crt"].map(|name| load_public_keys(&file(name)).unwrap_err());
        for error in public.iter().chain([&signing]) {
            let error = error.to_string();
            assert!(error.contains("ES512 on P-521 is not supported"), "{error}");
        }
    }
}

#[test]
fn generated_key_is_read_back_from_its_pem() {
    let directory = tempfile::tempdir().unwrap();
    let file = FileRef::new("f", directory.path().join("key"));
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let (key, pem) = SigningKey::generate(algorithm).unwrap();
        fs::write(&file.path, pem.as_bytes()).unwrap();
        let read = load_signing_key(&file).unwrap();
        assert_eq!(read.public(), key.public());
        if !openssl(
            directory.path(),
            &["pkey", "-in", "key", "-pubout", "-out", "pub"],
        ) {
            eprintln!("SKIPPED: generated_key_is_read_back_from_its_pem: openssl half: no openssl");
            continue;
        }
        let by_openssl = fs::read_to_string(directory.path().join("pub")).unwrap();
        assert_eq!(by_openssl, key.public().to_pem());
    }
    let error = SigningKey::generate(Algorithm::Rs256)
        .unwrap_err()
        .to_string();
    assert!(error.contains("openssl genrsa"), "{error}");
}

#[test]
fn key_files_that_are_wrong_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let load = |content: &[u8]| {
        let file = FileRef::new("serviceAccount.keyFiles[0]", directory.path().join("k"));
        fs::write(&file.path, content).unwrap();
        load_public_keys(&file).unwrap_err().to_string()
    };
    let block = |label: &str, der: &[u8]| encode_block(label, der).to_string();
    let small = der::spki(
        Algorithm::Rs256,
        &der::rsa_public_key(&[0xff; 128], &[1, 0, 1]),
    );
    let short_point = der::spki(Algorithm::Es256, &[&[2][..], &[7; 32]].concat());
    let good = key(Algorithm::Es256).unwrap().public().to_pem();
    for (content, words) in [
        (String::new(), "holds no key"),
        ("nonsense".to_owned(), "holds no key"),
        (
            good.replace("-----END PUBLIC KEY-----", ""),
            "damaged PEM block",
        ),
        (block("PUBLIC KEY", b"x"), "key 1 is no public key"),
        (
            format!("{good}{}", block("PUBLIC KEY", b"x")),
            "key 2 is no public key",
        ),
        (
            block("PUBLIC KEY", &small),
            "key 1 has an RSA key of 1024 bits",
        ),
        (
            block("PUBLIC KEY", &short_point),
            "key 1 has a compressed point",
        ),
        (
            block("CERTIFICATE", b"x"),
            "key 1 is in a certificate that is no X.509",
        ),
        (block("PRIVATE KEY", b"x"), "key 1 is no public key"),
        (block("EC PRIVATE KEY", b"x"), "key 1 is not RSA or ECDSA"),
        (block("RSA PRIVATE KEY", b"x"), "key 1 is"),
        (good.repeat(65), "more than 64 keys"),
    ] {
        let error = load(content.as_bytes());
        assert!(error.contains(words), "{words}: {error}");
        assert!(error.contains("serviceAccount.keyFiles[0]"), "{error}");
    }
    // Ed25519 signs no service-account token.
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let error = load(ed.serialize_pem().as_bytes());
    assert!(error.contains("key 1 is not RSA or ECDSA"), "{error}");
    let error = load(ed.public_key_pem().as_bytes());
    assert!(error.contains("key 1 is"), "{error}");
    // The same key twice is one key.
    let file = FileRef::new("f", directory.path().join("twice"));
    fs::write(&file.path, good.repeat(2)).unwrap();
    assert_eq!(load_public_keys(&file).unwrap().len(), 1);
}

#[test]
fn debug_of_a_signing_key_hides_it() {
    let (key, pem) = SigningKey::generate(Algorithm::Es256).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains(key.public().kid()), "{shown}");
    let secret = pem.lines().nth(1).unwrap();
    assert!(!shown.contains(secret));
}

proptest! {
    #[test]
    fn parse_any_text_never_panics(text in "\\PC{0,200}") {
        let _ = Compact::parse(&text);
    }

    #[test]
    fn parse_three_parts_never_panics(a in "[A-Za-z0-9_-]{0,80}", b in "[A-Za-z0-9_-]{0,80}", c in "[A-Za-z0-9_-]{0,80}") {
        let _ = Compact::parse(&format!("{a}.{b}.{c}"));
    }

    #[test]
    fn private_keys_of_any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = PublicKey::from_spki(&bytes);
        let _ = SigningKey::from_der(&PrivateKeyDer::Pkcs8(bytes.as_slice().into()));
        let _ = SigningKey::from_der(&PrivateKeyDer::Sec1(bytes.as_slice().into()));
        let _ = SigningKey::from_der(&PrivateKeyDer::Pkcs1(bytes.as_slice().into()));
    }
}

#[test]
fn weak_rsa_keys_are_refused_wherever_they_come_from() {
    use crate::certificate::Weakness;
    let modulus = |bytes: usize| BASE64URL_NOPAD.encode(&vec![0xc5; bytes]);
    for (bytes, exponent, expected) in [
        (128, "AQAB", Weakness::RsaBits(1024)),
        (255, "AQAB", Weakness::RsaBits(2040)),
        (2048, "AQAB", Weakness::RsaBits(16_384)),
        (256, "AQ", Weakness::RsaExponent),
        (256, "AQAA", Weakness::RsaExponent),
    ] {
        let n = modulus(bytes);
        let set = format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"{exponent}"}}]}}"#);
        match JwkSet::parse(set.as_bytes()) {
            Err(JwkError::Key(1, problem)) => {
                assert_eq!(problem, KeyProblem::Weak(expected));
            }
            other => panic!("{bytes} {exponent}: {other:?}"),
        }
    }
    if !crate::testing::openssl::present("weak keys of tokens") {
        return;
    }
    let key = crate::testing::openssl::key("RSA", &["rsa_keygen_bits:1024"]);
    let spki = crate::testing::openssl::spki(&key);
    let refused = PublicKey::from_spki(&spki).unwrap_err();
    assert_eq!(refused, KeyProblem::Weak(Weakness::RsaBits(1024)));
    let der = PrivateKeyDer::from_pem_slice(&key).unwrap();
    let refused = SigningKey::from_der(&der).unwrap_err();
    assert_eq!(refused, KeyProblem::RsaSize);
}
