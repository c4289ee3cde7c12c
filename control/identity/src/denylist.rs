//! The deny list: agents that are refused, whatever their certificates and grants say.

use crate::document::{self, API_VERSION, ConfigErrors, Document, Node, Problem, Section, value};
use crate::file::{self, FileFault, Mode};
use crate::x509::{AGENT_PREFIX, NODE_PREFIX};
use std::collections::BTreeSet;
use std::path::Path;

/// Entries of each kind: as many certificates as a big cluster loses in years.
const ENTRIES: usize = 100_000;

/// Bytes of a serial number, RFC 5280 section 4.1.2.2, with room for issuers that overdo it.
const SERIAL_BYTES: usize = 32;

/// Longest name of an agent or node, as a user.
const NAME_BYTES: usize = 300;

/// What the name of an agent begins with that a node has by the place of its pod.
pub const NODE_AGENT: &str = "node:";

/// What is refused: the document `TunnelDenyList`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    names: BTreeSet<String>,
    serials: BTreeSet<String>,
}

/// The list could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum DenyError {
    /// What is there is no list.
    #[error(transparent)]
    Document(#[from] ConfigErrors),
    /// It cannot be written.
    #[error("nothing is revoked")]
    File(#[from] FileFault),
}

impl DenyList {
    /// Whether an agent is refused by its name.
    pub fn has_name(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the agent of a node is refused that is one by the place of its pod: by its own name,
    /// or because the node is.
    pub fn has_agent_of(&self, node: &str) -> bool {
        self.has_name(&format!("{NODE_AGENT}{node}"))
            || self.has_name(&format!("{NODE_PREFIX}{node}"))
    }

    /// Whether a certificate is refused by its serial number, in hexadecimal.
    pub fn has_serial(&self, serial: &str) -> bool {
        self.serials.contains(&plain_serial(serial))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.names.len() + self.serials.len()
    }

    /// Whether nobody is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what is to be refused to the list in a file, which need not be there, in one step.
    /// Returns whether that changed anything. Comments in the file are lost.
    ///
    /// # Errors
    /// The file holds something else, or cannot be written; it is as it was.
    pub fn add(path: &Path, names: &[String], serials: &[String]) -> Result<bool, DenyError> {
        let _lock = file::lock(path)?;
        let mut list = match <Self as Document>::load(path) {
            Ok(document::Loaded { config, .. }) => config,
            Err(errors) if is_missing(path) => {
                drop(errors);
                Self::default()
            }
            Err(errors) => return Err(errors.into()),
        };
        let before = list.clone();
        list.names.extend(names.iter().map(|name| plain_name(name)));
        list.serials
            .extend(serials.iter().map(|serial| plain_serial(serial)));
        if list == before && !is_missing(path) {
            return Ok(false);
        }
        file::replace(path, list.render().as_bytes(), Mode::Public)?;
        Ok(true)
    }

    /// JSON is YAML, and its strings need no second quoting.
    fn render(&self) -> String {
        let lines = |entries: &BTreeSet<String>| -> String {
            let line = |entry: &String| format!("- {}\n", serde_json::Value::from(entry.as_str()));
            entries.iter().map(line).collect()
        };
        let section = |name: &str, entries: &BTreeSet<String>| {
            if entries.is_empty() {
                format!("{name}: []\n")
            } else {
                format!("{name}:\n{}", lines(entries))
            }
        };
        format!(
            "apiVersion: {API_VERSION}\nkind: {}\n{}{}",
            Self::KIND,
            section("names", &self.names),
            section("serials", &self.serials)
        )
    }
}

impl Document for DenyList {
    const KIND: &'static str = "TunnelDenyList";
    /// A hundred bytes for each entry.
    const MAX_FILE: usize = 20 << 20;

    fn read(root: &mut Section<'_>, _: &Path) -> Option<Self> {
        let names = root.list("names", ENTRIES, name);
        let serials = root.list("serials", ENTRIES, serial);
        Some(Self {
            names: names.into_iter().collect(),
            serials: serials.into_iter().collect(),
        })
    }
}

fn is_missing(path: &Path) -> bool {
    !path.try_exists().unwrap_or(true)
}

fn name(node: &Node) -> Result<String, Problem> {
    let text = value::text(node)?;
    check_name(&text).map_err(|what| {
        let fix = "write an agent's name, node:NAME for the agent of a node that is a pod, or \
                   system:node:NAME for a node and all its agents";
        Problem::new(format!("{text:?} {what}"), fix)
    })
}

fn serial(node: &Node) -> Result<String, Problem> {
    let text = value::text(node)?;
    check_serial(&text).map_err(|what| {
        let fix =
            "write it in hexadecimal and quotes, like \"0a:1b:2c\", as `eyesplice pki show` does";
        Problem::new(format!("{text:?} {what}"), fix)
    })
}

/// Gives a name as the list has it.
///
/// # Errors
/// It can be nobody's.
pub fn check_name(text: &str) -> Result<String, &'static str> {
    let name = plain_name(text);
    let visible = |byte: u8| byte.is_ascii_graphic() && byte != b'"';
    if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(visible) {
        return Err("is no name of an agent");
    }
    Ok(name)
}

/// Gives a serial number as the list has it.
///
/// # Errors
/// It is none.
pub fn check_serial(text: &str) -> Result<String, &'static str> {
    let digits = text.bytes().filter(|byte| *byte != b':');
    let hexadecimal = text
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    if !hexadecimal || digits.count() > 2 * SERIAL_BYTES || plain_serial(text).is_empty() {
        return Err("is no serial number");
    }
    Ok(plain_serial(text))
}

/// An agent's user stands for its name.
fn plain_name(text: &str) -> String {
    text.strip_prefix(AGENT_PREFIX).unwrap_or(text).to_owned()
}

/// Lower case, without colons and leading zeros, which some programs print and others do not.
fn plain_serial(text: &str) -> String {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    digits.trim_start_matches('0').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: TunnelDenyList\n";

    fn parse(text: &str) -> Result<DenyList, String> {
        let parsed = DenyList::parse(text, Path::new("deny.yaml"));
        parsed
            .map(|loaded| loaded.config)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn list_finds_names_and_serials_in_every_spelling() {
        let text = format!(
            "{HEAD}names: [edge-1, eyesplice:agent:edge-2, \"system:node:w1\"]\nserials: \
             [\"0A:1b\", \"00ff\"]\n"
        );
        let list = parse(&text).unwrap();
        for (name, denied) in [
            ("edge-1", true),
            ("edge-2", true),
            ("system:node:w1", true),
            ("w1", false),
            ("edge", false),
        ] {
            assert_eq!(list.has_name(name), denied, "{name}");
        }
        for (serial, denied) in [("0a:1b", true), ("a1b", true), ("ff", true), ("0a", false)] {
            assert_eq!(list.has_serial(serial), denied, "{serial}");
        }
    }

    #[test]
    fn list_names_each_mistake_and_its_remedy() {
        let text = format!("{HEAD}names: ['a b']\nserials: [\"xy\", \"0\"]\nserial: []\n");
        let errors = parse(&text).unwrap_err();
        for words in [
            "names[0] (line 3, column 9): \"a b\" is no name of an agent; write an agent's name",
            "serials[0] (line 4, column 11): \"xy\" is no serial number; write it in hexadecimal",
            "serials[1] (line 4, column 17): \"0\" is no serial number",
            "serial (line 5, column 1): is not a known field; did you mean `serials`?",
        ] {
            assert!(errors.contains(words), "{words}: {errors}");
        }
    }

    #[test]
    fn add_keeps_what_is_there_and_makes_the_file_if_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deny.yaml");
        let owned = |entries: &[&str]| -> Vec<String> {
            entries.iter().map(|entry| (*entry).to_owned()).collect()
        };
        assert!(DenyList::add(&path, &owned(&["edge-1"]), &[]).unwrap());
        assert!(DenyList::add(&path, &[], &owned(&["0A:1B"])).unwrap());
        assert!(
            !DenyList::add(&path, &owned(&["eyesplice:agent:edge-1"]), &owned(&["a1b"])).unwrap()
        );
        let list = <DenyList as Document>::load(&path).unwrap().config;
        assert!(list.has_name("edge-1") && list.has_serial("0a1b"));
        assert_eq!(list.len(), 2);
        std::fs::write(&path, "kind: Other").unwrap();
        assert!(DenyList::add(&path, &owned(&["edge-2"]), &[]).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kind: Other");
    }
}
