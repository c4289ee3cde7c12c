//! Known answers: what each library must make of given keys, and TLS of given records.

use super::super::aead::{Algorithm, Key, NONCE, RecordLibrary, TAG};
use super::super::protection::{DATA, Protection, Traffic};
use Algorithm::{Aes128Gcm, Aes256Gcm, ChaCha20Poly1305};

/// One answer of an AEAD, in hexadecimal.
struct Answer {
    algorithm: Algorithm,
    key: &'static str,
    nonce: &'static str,
    aad: &'static str,
    text: &'static str,
    sealed: &'static str,
}

/// The text of the GCM specification's test cases 4 and 16.
const TEXT: &str = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";

/// Test cases 1, 4, 13 and 16 of the GCM specification as submitted to NIST, and RFC 8439 section
/// 2.8.2.
const ANSWERS: [Answer; 5] = [
    Answer {
        algorithm: Aes128Gcm,
        key: "00000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        text: "",
        sealed: "58e2fccefa7e3061367f1d57a4e7455a",
    },
    Answer {
        algorithm: Aes128Gcm,
        key: "feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        text: TEXT,
        sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
                 21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091\
                 5bc94fbc3221a5db94fae95ae7121a47",
    },
    Answer {
        algorithm: Aes256Gcm,
        key: "0000000000000000000000000000000000000000000000000000000000000000",
        nonce: "000000000000000000000000",
        aad: "",
        text: "",
        sealed: "530f8afbc74536b9a963b4f1c4cb738b",
    },
    Answer {
        algorithm: Aes256Gcm,
        key: "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        nonce: "cafebabefacedbaddecaf888",
        aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        text: TEXT,
        sealed: "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                 8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662\
                 76fc6ece0f4e1768cddf8853bb2d551b",
    },
    Answer {
        algorithm: ChaCha20Poly1305,
        key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        nonce: "070000004041424344454647",
        aad: "50515253c0c1c2c3c4c5c6c7",
        text: "4c616469657320616e642047656e746c656d656e206f662074686520636c6173\
               73206f66202739393a204966204920636f756c64206f6666657220796f75206f\
               6e6c79206f6e652074697020666f7220746865206675747572652c2073756e73\
               637265656e20776f756c642062652069742e",
        sealed: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6\
                 3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36\
                 92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc\
                 3ff4def08e4b7a9de576d26586cec64b6116\
                 1ae10b594f09e26a7e902ecbd0600691",
    },
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .map(|digit| crate::chars::hex(digit).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn each_library_gives_the_known_answers() {
    for library in RecordLibrary::BUILT {
        for answer in &ANSWERS {
            let key = Key::of(*library, answer.algorithm, &bytes(answer.key)).unwrap();
            let nonce: [u8; NONCE] = bytes(answer.nonce).try_into().unwrap();
            let (aad, text) = (bytes(answer.aad), bytes(answer.text));
            let mut sealed = text.clone();
            let tag = key.seal(nonce, &aad, &mut sealed).unwrap();
            sealed.extend(tag);
            assert_eq!(
                sealed,
                bytes(answer.sealed),
                "{library} {:?}",
                answer.algorithm
            );

            // To where it stands, a little before it, and clear of it.
            for shift in [0, 5, text.len(), text.len() + 40] {
                let mut region = [vec![0xee; shift], sealed.clone()].concat();
                let len = key.open(nonce, &aad, &mut region, shift).unwrap();
                assert_eq!(region[..len], text, "{library} {shift}");
            }
        }
    }
}

#[test]
fn each_library_refuses_what_was_changed_or_is_too_short() {
    for library in RecordLibrary::BUILT {
        for answer in &ANSWERS {
            let key = Key::of(*library, answer.algorithm, &bytes(answer.key)).unwrap();
            let nonce: [u8; NONCE] = bytes(answer.nonce).try_into().unwrap();
            let (aad, sealed) = (bytes(answer.aad), bytes(answer.sealed));
            for shift in [0, 5, 200] {
                for at in 0..sealed.len() {
                    let mut region = [vec![0; shift], sealed.clone()].concat();
                    region[shift + at] ^= 1;
                    assert!(key.open(nonce, &aad, &mut region, shift).is_err());
                }
                for len in 0..TAG {
                    let mut region = [vec![0; shift], sealed[..len].to_vec()].concat();
                    assert!(key.open(nonce, &aad, &mut region, shift).is_err());
                }
                let mut region = [vec![0; shift], sealed.clone()].concat();
                let others = [&aad[..], &[0]].concat();
                assert!(key.open(nonce, &others, &mut region, shift).is_err());
            }
        }
        for length in [0, 15, 17, 31, 33] {
            for algorithm in [Aes128Gcm, Aes256Gcm, ChaCha20Poly1305] {
                assert!(Key::of(*library, algorithm, &vec![0; length]).is_none());
            }
        }
    }
}

/// The records of application data of RFC 8448 section 3, and the server's keys.
#[test]
fn each_library_makes_the_records_of_rfc_8448() {
    let payload: Vec<u8> = (0..50).collect();
    let client = (
        "17422dda596ed5d9acd890e3c63f5051",
        "5b78923dee08579033e523d9",
        0,
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a\
         20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
    );
    // Its ticket was the record before.
    let server = (
        "9f02283b6c9c07efc26bb9f2ac92e356",
        "cf782b88dd83549aadf1e984",
        1,
        "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb\
         501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
    );
    for library in RecordLibrary::BUILT {
        for (key, iv, sequence, wire) in [client, server] {
            let traffic = || Traffic {
                algorithm: Aes128Gcm,
                key: bytes(key),
                iv: bytes(iv).try_into().unwrap(),
                sequence,
            };
            let protection = || Protection::of(*library, true, &traffic()).unwrap();
            let mut out = vec![0; 200];
            let len = protection().seal(DATA, &payload, &mut out).unwrap();
            assert_eq!(out[..len], bytes(wire), "{library}");
            let opened = protection().open(&mut out, 0..len, 0).unwrap();
            assert_eq!(out[..opened.len], payload, "{library}");
            assert_eq!(opened.kind, DATA);
        }
    }
}
