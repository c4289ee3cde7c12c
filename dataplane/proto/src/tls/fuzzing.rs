//! Any bytes as records: the libraries agree on what is in them, and on what is not.

use super::aead::{Algorithm, RecordLibrary};
use super::protection::{DATA, Protection, RECORD_OVERHEAD, Traffic};
use super::record::RECORD_HEADER;

const ALGORITHMS: [Algorithm; 3] = [
    Algorithm::Aes128Gcm,
    Algorithm::Aes256Gcm,
    Algorithm::ChaCha20Poly1305,
];

/// The first byte chooses version, algorithm and how far from their records texts are opened to;
/// the rest is taken for records, and for a payload.
///
/// # Panics
/// When the libraries differ, or a record does not open to what was sealed.
pub fn records(data: &[u8]) {
    let [choice, data @ ..] = data else {
        return;
    };
    let choice = usize::from(*choice);
    let algorithm = ALGORITHMS[choice / 2 % ALGORITHMS.len()];
    let key = match algorithm {
        Algorithm::Aes128Gcm => vec![7; 16],
        Algorithm::Aes256Gcm | Algorithm::ChaCha20Poly1305 => vec![7; 32],
    };
    let traffic = Traffic {
        algorithm,
        key,
        iv: [9; 12],
        sequence: 3,
    };
    let before = choice / 6;
    let made = |library| {
        let protection = || Protection::of(library, choice % 2 == 0, &traffic).expect("a key");
        let opened = open(protection(), data, before);
        let payload = &data[..data.len().min(4096)];
        let mut wire = vec![0; payload.len() + RECORD_OVERHEAD];
        let sealed = protection().seal(DATA, payload, &mut wire);
        wire.truncate(sealed.expect("a record"));
        let again = open(protection(), &wire, before);
        assert_eq!(again, (payload.to_vec(), true));
        (opened, wire)
    };
    let by_ring = made(RecordLibrary::Ring);
    for library in RecordLibrary::BUILT {
        assert_eq!(by_ring, made(*library), "{library}");
    }
}

/// The payload of all records up to the first that is refused, and whether none is.
fn open(mut protection: Protection, wire: &[u8], before: usize) -> (Vec<u8>, bool) {
    let mut buffer = [vec![0; before], wire.to_vec()].concat();
    let (mut at, mut payload) = (before, 0);
    while let Some(header) = buffer[at..].first_chunk::<RECORD_HEADER>() {
        let Ok(len) = protection.check_header(header) else {
            return (buffer[..payload].to_vec(), false);
        };
        if buffer.len() < at + len {
            break;
        }
        match protection.open(&mut buffer, at..at + len, payload) {
            Ok(opened) => payload += opened.len,
            Err(_) => return (buffer[..payload].to_vec(), false),
        }
        at += len;
    }
    (buffer[..payload].to_vec(), true)
}
