//! Protects TLS records in user space, straight from the RFCs: what the kernel is compared with.

use eyesplice_sys::ktls::{Cipher, Keys, Version};
use ring::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};

pub(crate) const DATA: u8 = 23;
pub(crate) const ALERT: u8 = 21;

const HEADER_LEN: usize = 5;

/// One direction of a connection: the same secrets for the kernel and for this file.
#[derive(Clone)]
pub(crate) struct Direction {
    pub(crate) version: Version,
    pub(crate) cipher: Cipher,
    key: Vec<u8>,
    iv: [u8; 12],
    sequence: u64,
}

impl Direction {
    /// Makes secrets up; `sequence` is not 0, so that a lost one shows.
    pub(crate) fn new(version: Version, cipher: Cipher) -> Self {
        let key = (1..).take(cipher.key_len()).collect();
        let iv = [201, 202, 203, 204, 205, 206, 207, 208, 209, 210, 211, 212];
        Direction {
            version,
            cipher,
            key,
            iv,
            sequence: 0x0102_0304,
        }
    }

    /// As the kernel wants them.
    pub(crate) fn keys(&self) -> Keys {
        Keys::new(
            self.version,
            self.cipher,
            &self.key,
            &self.iv,
            self.sequence,
        )
        .expect("a key of the cipher's length")
    }

    /// TLS 1.2 with AES-GCM sends a part of the nonce with each record, RFC 5288.
    fn has_explicit_nonce(&self) -> bool {
        self.version == Version::Tls12 && self.cipher != Cipher::ChaCha20Poly1305
    }

    fn aead_key(&self) -> LessSafeKey {
        let algorithm = match self.cipher {
            Cipher::Aes128Gcm => &aead::AES_128_GCM,
            Cipher::Aes256Gcm => &aead::AES_256_GCM,
            Cipher::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        LessSafeKey::new(UnboundKey::new(algorithm, &self.key).expect("a key of its length"))
    }

    /// RFC 8446 section 5.3, RFC 7905 section 2: the IV with the sequence number XORed in.
    fn nonce(&self, explicit: &[u8]) -> Nonce {
        let mut nonce = self.iv;
        if self.has_explicit_nonce() {
            nonce[4..].copy_from_slice(explicit);
        } else {
            for (byte, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
                *byte ^= number;
            }
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// RFC 8446 section 5.2: the record's header. RFC 5246 section 6.2.3.3: sequence number, type,
    /// version, length of the content.
    fn additional_data(&self, kind: u8, record_len: usize, content_len: usize) -> Vec<u8> {
        match self.version {
            Version::Tls13 => header(DATA, record_len).to_vec(),
            Version::Tls12 => {
                let mut data = self.sequence.to_be_bytes().to_vec();
                data.extend(header(kind, content_len));
                data
            }
        }
    }

    /// Makes the next record.
    pub(crate) fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let explicit = if self.has_explicit_nonce() {
            self.sequence
                .wrapping_mul(0x9e37_79b9)
                .to_be_bytes()
                .to_vec()
        } else {
            Vec::new()
        };
        let mut protected = content.to_vec();
        if self.version == Version::Tls13 {
            protected.push(kind);
        }
        let record_len = explicit.len() + protected.len() + 16;
        let aad = self.additional_data(kind, record_len, content.len());
        self.aead_key()
            .seal_in_place_append_tag(self.nonce(&explicit), Aad::from(aad), &mut protected)
            .expect("a record of this size can be sealed");
        self.sequence += 1;
        let outer = if self.version == Version::Tls13 {
            DATA
        } else {
            kind
        };
        [&header(outer, record_len)[..], &explicit, &protected].concat()
    }

    /// Opens the record at the start of `stream`, removes it, and returns its type and content.
    pub(crate) fn open(&mut self, stream: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
        let len = usize::from(u16::from_be_bytes(
            stream.get(3..HEADER_LEN)?.try_into().ok()?,
        ));
        let record = stream.get(HEADER_LEN..HEADER_LEN + len)?.to_vec();
        let outer = stream[0];
        stream.drain(..HEADER_LEN + len);
        let (explicit, protected) = record.split_at(if self.has_explicit_nonce() { 8 } else { 0 });
        let aad = self.additional_data(outer, len, protected.len() - 16);
        let mut protected = protected.to_vec();
        let content = self
            .aead_key()
            .open_in_place(self.nonce(explicit), Aad::from(aad), &mut protected)
            .expect("the record is authentic");
        self.sequence += 1;
        match self.version {
            Version::Tls12 => Some((outer, content.to_vec())),
            Version::Tls13 => {
                let (kind, content) = content.split_last().expect("a type, RFC 8446 section 5.2");
                Some((*kind, content.to_vec()))
            }
        }
    }
}

fn header(kind: u8, len: usize) -> [u8; HEADER_LEN] {
    let [high, low] = u16::try_from(len).expect("a record's length").to_be_bytes();
    [kind, 3, 3, high, low]
}
