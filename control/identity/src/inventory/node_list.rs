//! Reads YAML documents that list a few texts for each node: the inventory, the pins.
//!
//! Everything keeps its line, and reading goes on after an unknown field, so that all mistakes of
//! a file are told at once. Only text that is not YAML, or a mapping where text should be, ends it.

use crate::yaml;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Largest file: 5,000 nodes, Kubernetes' own limit, with 20 lines of 150 bytes each.
const MAX_FILE: u64 = 16 << 20;

/// Problems that one error tells; a file of another kind would have thousands.
const MAX_PROBLEMS: usize = 50;

const API_VERSION: &str = "eyesplice.dev/v1alpha1";

/// How a kind of document calls its parts.
pub(crate) struct Shape {
    /// `kind` of the document.
    pub(crate) kind: &'static str,
    /// The list of nodes.
    pub(crate) list: &'static str,
    /// A node's name.
    pub(crate) name: &'static str,
    /// A node's texts.
    pub(crate) values: &'static str,
    /// A text of a node that may be left out, if there is one.
    pub(crate) more: Option<&'static str>,
}

/// One text and its line.
pub(crate) type Located = Spanned<String>;

/// One entry of the list.
pub(crate) struct Entry {
    /// As in `nodes[3]`.
    pub(crate) path: String,
    /// Its first line.
    pub(crate) line: u64,
    pub(crate) name: Option<Located>,
    pub(crate) values: Vec<Located>,
    pub(crate) more: Option<Located>,
}

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeListProblem {
    /// Line, from 1.
    pub line: u64,
    /// Field, as in `nodes[3].addresses[0]`.
    pub field: String,
    /// What is wrong with it, with the remedy.
    pub what: String,
}

impl fmt::Display for NodeListProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {} {}", self.line, self.field, self.what)
    }
}

/// Why a file of nodes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeListError {
    /// It cannot be read.
    #[error("cannot read {}; check path and permissions", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} is larger than {limit} bytes; it is no list of nodes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// It is no YAML, or a value has the wrong type.
    #[error("cannot parse {}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with line and column.
        message: String,
    },
    /// It says something wrong.
    #[error("{} is not usable: {}", .path.display(), Joined(.problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// All mistakes, in the order of the file.
        problems: Vec<NodeListProblem>,
    },
}

struct Joined<'a>(&'a [NodeListProblem]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().take(MAX_PROBLEMS).enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        match self.0.len().saturating_sub(MAX_PROBLEMS) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Collects mistakes.
#[derive(Default)]
pub(crate) struct Problems(Vec<NodeListProblem>);

impl Problems {
    pub(crate) fn add(&mut self, line: u64, field: impl Into<String>, what: impl Into<String>) {
        self.0.push(NodeListProblem {
            line,
            field: field.into(),
            what: what.into(),
        });
    }

    /// Gives `value` if there was none.
    pub(crate) fn finish<T>(mut self, value: T, path: &Path) -> Result<T, NodeListError> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_by_key(|problem| problem.line);
        Err(NodeListError::Invalid {
            path: path.to_owned(),
            problems: self.0,
        })
    }
}

/// Reads a file, within bounds.
pub(crate) fn read(path: &Path) -> Result<String, NodeListError> {
    let fail = |source| NodeListError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(fail)?;
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > MAX_FILE {
        return Err(NodeListError::TooLarge {
            path: path.to_owned(),
            limit: MAX_FILE,
        });
    }
    Ok(text)
}

/// Parses a document; what is wrong with single fields goes to `problems`.
pub(crate) fn parse(
    text: &str,
    path: &Path,
    shape: &Shape,
    problems: &mut Problems,
) -> Result<Vec<Entry>, NodeListError> {
    serde_saphyr::with_deserializer_from_str_with_options(text, yaml::options(), |deserializer| {
        Document {
            shape,
            problems: &mut *problems,
        }
        .deserialize(deserializer)
    })
    .map_err(|error| NodeListError::Syntax {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

struct Document<'a> {
    shape: &'a Shape,
    problems: &'a mut Problems,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Entry>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} document", self.shape.kind)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Entry>, A::Error> {
        let Self { shape, problems } = self;
        let (mut version, mut kind, mut entries) = (None, None, None);
        while let Some(key) = map.next_key::<Located>()? {
            match key.value.as_str() {
                "apiVersion" => version = Some(map.next_value::<Located>()?),
                "kind" => kind = Some(map.next_value::<Located>()?),
                name if name == shape.list => {
                    entries = Some(map.next_value_seed(List {
                        shape,
                        problems: &mut *problems,
                    })?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    let known = format!("apiVersion, kind and {}", shape.list);
                    unknown(&key, "", &known, problems);
                }
            }
        }
        expect("apiVersion", version, API_VERSION, problems);
        expect("kind", kind, shape.kind, problems);
        if entries.is_none() {
            problems.add(
                1,
                shape.list,
                format!("is missing; write {}: [] for none", shape.list),
            );
        }
        Ok(entries.unwrap_or_default())
    }
}

fn expect(field: &str, found: Option<Located>, expected: &str, problems: &mut Problems) {
    match found {
        None => problems.add(1, field, format!("is missing; write {field}: {expected}")),
        Some(found) if found.value != expected => {
            let what = format!("is {:?}; this must be {expected}", found.value);
            problems.add(found.referenced.line(), field, what);
        }
        Some(_) => {}
    }
}

fn unknown(key: &Located, parent: &str, known: &str, problems: &mut Problems) {
    let field = format!("{parent}{}", key.value);
    problems.add(
        key.referenced.line(),
        field,
        format!("is no known field; known are {known}"),
    );
}

struct List<'a> {
    shape: &'a Shape,
    problems: &'a mut Problems,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = Vec<Entry>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<Entry>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = Vec<Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", self.shape.list)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Entry>, A::Error> {
        let Self { shape, problems } = self;
        let mut entries = Vec::new();
        loop {
            let path = format!("{}[{}]", shape.list, entries.len());
            let seed = Item {
                shape,
                path,
                problems: &mut *problems,
            };
            match list.next_element_seed(seed)? {
                Some(entry) => entries.push(entry),
                None => return Ok(entries),
            }
        }
    }
}

struct Item<'a> {
    shape: &'a Shape,
    path: String,
    problems: &'a mut Problems,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = Entry;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Entry, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a mapping with {} and {}",
            self.shape.name, self.shape.values
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let Self {
            shape,
            path,
            problems,
        } = self;
        let (mut name, mut values, mut more, mut line) = (None, None, None, 0);
        while let Some(key) = map.next_key::<Located>()? {
            if line == 0 {
                line = key.referenced.line();
            }
            match key.value.as_str() {
                field if field == shape.name => name = Some(map.next_value::<Located>()?),
                field if field == shape.values => values = Some(map.next_value::<Vec<Located>>()?),
                field if Some(field) == shape.more => more = Some(map.next_value::<Located>()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    let known = match shape.more {
                        Some(more) => format!("{}, {} and {more}", shape.name, shape.values),
                        None => format!("{} and {}", shape.name, shape.values),
                    };
                    unknown(&key, &format!("{path}."), &known, problems);
                }
            }
        }
        if name.is_none() {
            problems.add(
                line,
                format!("{path}.{}", shape.name),
                "is missing; name the node",
            );
        }
        let values = values.unwrap_or_default();
        if values.is_empty() {
            problems.add(
                line,
                format!("{path}.{}", shape.values),
                "is missing or empty; list one",
            );
        }
        Ok(Entry {
            path,
            line,
            name,
            values,
            more,
        })
    }
}
