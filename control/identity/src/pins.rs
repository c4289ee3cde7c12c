//! Pinned public keys of kubelets: SHA-256 of the SubjectPublicKeyInfo, by node.
//!
//! ```yaml
//! apiVersion: eyesplice.dev/v1alpha1
//! kind: KubeletPins
//! pins:
//! - node: worker-3
//!   spkiSHA256: [rFjc3wG7lTZe43zeYTvPq8k4xdDEutCmIhI5dn4oCeE=]
//! ```
//!
//! Several pins of one node are alternatives: list the next key before it is rotated in.

use crate::inventory::check_node_name;
use crate::inventory::node_list::{self, NodeListError, Problems, Shape};
use data_encoding::{BASE64, BASE64_NOPAD, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

const SHAPE: Shape = Shape {
    kind: "KubeletPins",
    list: "pins",
    name: "node",
    values: "spkiSHA256",
    more: None,
};

/// Pins of one node; more than a rotation needs is a mistake.
const MAX_PINS_OF_NODE: usize = 16;

/// SHA-256 of a public key with its algorithm (SubjectPublicKeyInfo, DER).
///
/// Public keys are no secret, so comparison need not be constant-time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpkiHash([u8; 32]);

impl SpkiHash {
    /// Hashes a SubjectPublicKeyInfo.
    pub fn of(spki: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, spki).as_ref());
        Self(hash)
    }

    /// Writes it as kubeadm does, and as `--ca-pin` takes it: `sha256:HEX`.
    pub fn as_pin(&self) -> String {
        format!("sha256:{}", HEXLOWER.encode(&self.0))
    }
}

impl From<[u8; 32]> for SpkiHash {
    fn from(hash: [u8; 32]) -> Self {
        Self(hash)
    }
}

/// Writes it in base64, as a pins file takes it.
impl fmt::Display for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpkiHash({self})")
    }
}

/// A text that is no SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no SHA-256; write 44 characters of base64 or 64 of hex")]
pub struct SpkiHashError;

impl FromStr for SpkiHash {
    type Err = SpkiHashError;

    /// Reads base64 or hex (colons allowed, as openssl prints them), with or without the prefixes
    /// `sha256:` (kubeadm), `sha256/` (OkHttp) and `sha256//` (curl).
    fn from_str(text: &str) -> Result<Self, SpkiHashError> {
        let text = ["sha256//", "sha256/", "sha256:"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))
            .unwrap_or(text);
        let hex: String = text.split(':').collect();
        let bytes = match hex.len() {
            64 => HEXLOWER_PERMISSIVE.decode(hex.as_bytes()),
            _ if text.ends_with('=') => BASE64.decode(text.as_bytes()),
            _ => BASE64_NOPAD.decode(text.as_bytes()),
        };
        let bytes = bytes.map_err(|_| SpkiHashError)?;
        bytes.try_into().map(Self).map_err(|_| SpkiHashError)
    }
}

/// Pins by node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(HashMap<String, Arc<[SpkiHash]>>);

impl Pins {
    /// Loads a pins file.
    ///
    /// # Errors
    /// It cannot be read or parsed, or all that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, NodeListError> {
        Self::parse(&node_list::read(path)?, path)
    }

    /// Parses pins; `path` is for errors.
    ///
    /// # Errors
    /// It cannot be parsed, or all that is wrong in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, NodeListError> {
        let mut problems = Problems::default();
        let entries = node_list::parse(text, path, &SHAPE, &mut problems)?;
        let mut pins: HashMap<String, Arc<[SpkiHash]>> = HashMap::new();
        for entry in entries {
            let mut hashes = Vec::with_capacity(entry.values.len());
            for (index, text) in entry.values.iter().enumerate() {
                match text.value.parse::<SpkiHash>() {
                    Ok(hash) => hashes.push(hash),
                    Err(problem) => {
                        let field = format!("{}.spkiSHA256[{index}]", entry.path);
                        let what = format!("{:?} {problem}", text.value);
                        problems.add(text.referenced.line(), field, what);
                    }
                }
            }
            if hashes.len() > MAX_PINS_OF_NODE {
                let field = format!("{}.spkiSHA256", entry.path);
                let what = format!("has more than {MAX_PINS_OF_NODE} pins; drop the old ones");
                problems.add(entry.line, field, what);
            }
            let Some(node) = entry.name else { continue };
            let (line, field) = (node.referenced.line(), format!("{}.node", entry.path));
            if let Err(problem) = check_node_name(&node.value) {
                problems.add(line, field, format!("{:?} {problem}", node.value));
                continue;
            }
            match pins.entry(node.value) {
                Slot::Vacant(slot) => {
                    slot.insert(hashes.into());
                }
                Slot::Occupied(slot) => {
                    let what = format!("{:?} is listed twice; put all its pins in one", slot.key());
                    problems.add(line, field, what);
                }
            }
        }
        problems.finish(Self(pins), path)
    }

    /// The pins of a node, if it has any.
    pub fn of(&self, node: &str) -> Option<&Arc<[SpkiHash]>> {
        self.0.get(node)
    }

    /// Says how many nodes have pins.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether no node has pins.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Says whether a text has pins; panics if one is another after it was written again.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    let Ok(pins) = Pins::parse(text, Path::new("pins.yaml")) else {
        return false;
    };
    for (node, hashes) in &pins.0 {
        assert!(check_node_name(node).is_ok(), "{node:?} is no name");
        assert!((1..=MAX_PINS_OF_NODE).contains(&hashes.len()));
        for hash in hashes.iter() {
            assert_eq!(hash.to_string().parse().as_ref(), Ok(hash));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const BASE64_TEXT: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn spki_hash_reads_every_notation() {
        let expected = SpkiHash::of(b"");
        let colons: Vec<&str> = (0..32).map(|i| &HEX[2 * i..2 * i + 2]).collect();
        for text in [
            HEX.to_owned(),
            HEX.to_uppercase(),
            colons.join(":"),
            format!("sha256:{HEX}"),
            BASE64_TEXT.to_owned(),
            BASE64_TEXT.trim_end_matches('=').to_owned(),
            format!("sha256//{BASE64_TEXT}"),
            format!("sha256/{BASE64_TEXT}"),
            format!("sha256:{BASE64_TEXT}"),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert_eq!(expected.to_string(), BASE64_TEXT);
        assert_eq!(expected.as_pin(), format!("sha256:{HEX}"));
        for text in [
            "",
            "sha256:",
            "abc",
            &HEX[1..],
            &HEX.replace('e', "g"),
            "AAAA",
            "é",
        ] {
            assert_eq!(text.parse::<SpkiHash>(), Err(SpkiHashError), "{text}");
        }
    }

    #[test]
    fn pins_of_a_node_are_alternatives() {
        let text = format!(
            "apiVersion: eyesplice.dev/v1alpha1\nkind: KubeletPins\npins:\n\
             - node: worker-3\n  spkiSHA256: [\"{HEX}\", {}]\n",
            SpkiHash::of(b"next")
        );
        let pins = Pins::parse(&text, Path::new("pins.yaml")).unwrap();
        let worker = pins.of("worker-3").unwrap();
        assert_eq!(**worker, [SpkiHash::of(b""), SpkiHash::of(b"next")]);
        assert!(pins.of("worker-4").is_none());
        assert_eq!(pins.len(), 1);
    }

    #[test]
    fn pins_tell_all_mistakes_at_once() {
        let text = format!(
            "apiVersion: eyesplice.dev/v1alpha1\nkind: KubeletPins\npins:\n\
             - node: worker-3\n  spkiSHA256: [nonsense, {HEX}]\n\
             - node: worker-3\n  spkiSHA256: [{HEX}]\n\
             - node: a_b\n  spkiSHA256: []\n"
        );
        let error = Pins::parse(&text, Path::new("pins.yaml"))
            .unwrap_err()
            .to_string();
        for expected in [
            "line 5: pins[0].spkiSHA256[0] \"nonsense\" is no SHA-256",
            "line 6: pins[1].node \"worker-3\" is listed twice",
            "line 8: pins[2].node \"a_b\" has the character '_'",
            "line 8: pins[2].spkiSHA256 is missing or empty",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
