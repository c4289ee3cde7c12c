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

pub use crate::spki::{SpkiHash, SpkiHashError};

use crate::document::{Document, Section, value};
use crate::inventory::{NodeListError, node_name};
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::path::Path;
use std::sync::Arc;

/// Pins of one node; more than a rotation needs is a mistake.
const MAX_PINS_OF_NODE: usize = 16;

/// Pins by node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(HashMap<String, Arc<[SpkiHash]>>);

impl Pins {
    /// Loads a pins file.
    ///
    /// # Errors
    /// It cannot be read or parsed, or all that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, NodeListError> {
        Ok(<Self as Document>::load(path)?.config)
    }

    /// Parses pins; `path` is for errors.
    ///
    /// # Errors
    /// It cannot be parsed, or all that is wrong in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, NodeListError> {
        Ok(<Self as Document>::parse(text, path)?.config)
    }

    /// The pins of a node, if it has any.
    pub fn of(&self, node: &str) -> Option<&Arc<[SpkiHash]>> {
        self.0.get(node)
    }

    /// Says whether no node has pins.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Document for Pins {
    const KIND: &'static str = "KubeletPins";
    const MAX_FILE: usize = crate::inventory::MAX_FILE;

    fn read(root: &mut Section<'_>, _: &Path) -> Option<Self> {
        let mut pins: HashMap<String, Arc<[SpkiHash]>> = HashMap::new();
        if !root.has("pins") {
            root.missing("pins", "[]");
        }
        for mut section in root.sections("pins", crate::inventory::MAX_NODES) {
            let node = section.required("node", "worker-1", node_name);
            let field = "spkiSHA256";
            if section.is_blank(field) {
                section.missing(field, "[rFjc3wG7lTZe43zeYTvPq8k4xdDEutCmIhI5dn4oCeE=]");
            }
            let hashes = section.list(field, MAX_PINS_OF_NODE, value::spki_hash);
            match node.map(|node| pins.entry(node)) {
                None => {}
                Some(Slot::Vacant(slot)) => {
                    slot.insert(hashes.into());
                }
                Some(Slot::Occupied(slot)) => {
                    let what = format!("{:?} is listed twice", slot.key());
                    section.error("node", what, "put all its pins in one");
                }
            }
        }
        Some(Self(pins))
    }
}

/// Says whether a text has pins; panics if one is another after it was written again.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    let Ok(pins) = Pins::parse(text, Path::new("pins.yaml")) else {
        return false;
    };
    for (node, hashes) in &pins.0 {
        let name = crate::inventory::check_node_name(node);
        assert!(name.is_ok(), "{node:?} is no name");
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
            "pins[0].spkiSHA256[0] (line 5, column 16): \"nonsense\" is not a SHA-256",
            "pins[1].node (line 6, column 9): \"worker-3\" is listed twice",
            "pins[2].node (line 8, column 9): \"a_b\" has the character '_'",
            "pins[2].spkiSHA256 (line 8, column 3): is required",
        ] {
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
