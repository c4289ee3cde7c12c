//! One library at work, for a caller that has a clock.

use super::aead::{Algorithm, RecordLibrary};
use super::protection::{DATA, Protection, RECORD_OVERHEAD, Traffic};
use super::record::{RECORD_HEADER, RECORD_PAYLOAD};

/// Full records of AES-128-GCM that are sealed and opened again, under a key that protects nothing.
pub struct Trial {
    /// Both ends; `None` if the library has no AES-GCM, which both have.
    ends: Option<(Protection, Protection)>,
    payload: Vec<u8>,
    wire: Vec<u8>,
}

impl Trial {
    /// Prepares a library.
    pub fn new(library: RecordLibrary) -> Self {
        let traffic = Traffic {
            algorithm: Algorithm::Aes128Gcm,
            key: vec![0; 16],
            iv: [0; 12],
            sequence: 0,
        };
        let end = || Protection::of(library, true, &traffic);
        Self {
            ends: end().zip(end()),
            payload: vec![0; RECORD_PAYLOAD],
            wire: vec![0; RECORD_PAYLOAD + RECORD_OVERHEAD],
        }
    }

    /// Seals one record and opens it where it stands, as the relay does between two sessions.
    /// Returns whether it came through.
    pub fn round(&mut self) -> bool {
        let Some((tx, rx)) = &mut self.ends else {
            return false;
        };
        let sealed = tx.seal(DATA, &self.payload, &mut self.wire);
        sealed.is_ok_and(|len| rx.open(&mut self.wire, 0..len, RECORD_HEADER).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_of_each_library_comes_through() {
        for library in RecordLibrary::BUILT {
            let mut trial = Trial::new(*library);
            assert!((0..3).all(|_| trial.round()), "{library}");
        }
    }
}
