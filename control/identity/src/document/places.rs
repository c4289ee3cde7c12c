//! Where every field of a document stands, for errors of the files that it names.

use super::report::ConfigError;
use super::tree::{At, Node, Value};
use std::collections::HashMap;

/// What entries of lists are called by, where an error names one by that and not by its index.
const NAMES: [&str; 2] = ["name", "signerName"];

/// The places of all fields, by path.
#[derive(Debug, Default)]
pub struct Places(HashMap<String, At>);

impl Places {
    pub(super) fn of(root: &Node) -> Self {
        let mut places = Self::default();
        places.add(root, "");
        places
    }

    fn add(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    let field = match path.is_empty() {
                        true => entry.key.clone(),
                        false => format!("{path}.{}", entry.key),
                    };
                    self.0.insert(field.clone(), entry.node.at);
                    self.add(&entry.node, &field);
                }
            }
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    let names = name_of(item).into_iter();
                    for key in names.chain([index.to_string()]) {
                        let field = format!("{path}[{key}]");
                        self.0.insert(field.clone(), item.at);
                        self.add(item, &field);
                    }
                }
            }
            _ => {}
        }
    }

    /// Says whether the document has that field.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// The place of a field, or of the nearest that it is part of.
    fn find(&self, path: &str) -> At {
        let mut path = path;
        loop {
            if let Some(at) = self.0.get(path) {
                return *at;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return At::default(),
            }
        }
    }

    /// The error of a file, at the field that names it.
    pub fn file_error(&self, field: &str, message: String) -> ConfigError {
        ConfigError::File {
            at: self.find(field),
            message,
        }
    }
}

fn name_of(item: &Node) -> Option<String> {
    let Value::Map(entries) = &item.value else {
        return None;
    };
    let named = entries
        .iter()
        .find(|entry| NAMES.contains(&entry.key.as_str()))?;
    match &named.node.value {
        Value::Text(name) => Some(name.clone()),
        _ => None,
    }
}
