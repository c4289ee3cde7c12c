//! The YAML text as a tree in which every key and value knows its line and column.
//!
//! serde's derived structs stop at the first bad field. A tree read to its end first lets the
//! readers above name every mistake at once, each with its place in the file.

use crate::yaml;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Options, Spanned};
use std::fmt;

/// A place in the file, both from 1; 0 where it is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, derive_more::Display)]
#[display("line {line}, column {column}")]
pub struct At {
    /// Line.
    pub line: u64,
    /// Column.
    pub column: u64,
}

impl At {
    /// Words the place; nothing where it is unknown.
    pub(super) fn known(self, words: impl FnOnce(Self) -> String) -> String {
        match self.line {
            0 => String::new(),
            _ => words(self),
        }
    }
}

impl From<Location> for At {
    fn from(location: Location) -> Self {
        Self {
            line: location.line(),
            column: location.column(),
        }
    }
}

/// One value and its place.
#[derive(Debug)]
pub struct Node {
    /// Where it stands.
    pub at: At,
    /// What it is.
    pub value: Value,
}

/// What a value is, before anybody says what it should be.
#[derive(Debug)]
pub enum Value {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number that is not whole; nothing here takes one.
    Fraction,
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<Entry>),
}

impl Value {
    /// Names the kind for an error message.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) | Self::Fraction => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// One key of a mapping with its value.
#[derive(Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where it stands.
    pub at: At,
    /// Its value.
    pub node: Node,
}

/// Text that is not YAML.
#[derive(Debug)]
pub struct SyntaxError {
    /// Where the parser gave up.
    pub at: At,
    /// What it says.
    pub message: String,
}

/// Reads one YAML document.
///
/// # Errors
/// It is no YAML within bounds.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    parse_with(text, yaml::options())
}

/// Reads one YAML document that is not ours.
pub(crate) fn parse_with(text: &str, options: Options) -> Result<Node, SyntaxError> {
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().map(At::from).unwrap_or_default();
        SyntaxError {
            at,
            message: bare_message(&error.without_snippet().to_string()),
        }
    })
}

/// Drops the parser's own place suffix (ours stands in front) and its advice to programmers.
fn bare_message(message: &str) -> String {
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = message
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(message);
    let message = message.split("; use from_str").next().unwrap_or(message);
    message.to_owned()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            at: spanned.referenced.into(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let node = access.next_value()?;
            entries.push(Entry {
                key: key.value,
                at: key.referenced.into(),
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_nested_document_keeps_every_place() {
        let root = parse("a: 1\nb:\n- c: x\n  d: [true, 1.5]\n").unwrap();
        let Value::Map(entries) = root.value else {
            panic!("a mapping")
        };
        assert_eq!(entries[1].at, At { line: 2, column: 1 });
        let Value::List(items) = &entries[1].node.value else {
            panic!("a list")
        };
        let Value::Map(inner) = &items[0].value else {
            panic!("a mapping")
        };
        assert_eq!(inner[1].key, "d");
        assert_eq!(inner[1].node.at.line, 4);
        let Value::List(flow) = &inner[1].node.value else {
            panic!("a list")
        };
        assert_eq!(flow[0].at, At { line: 4, column: 7 });
        assert!(matches!(flow[1].value, Value::Fraction));
    }

    #[test]
    fn parse_text_that_is_not_yaml_names_line_and_column() {
        let table = [
            ("a: [1,2", 1, 4, "unclosed bracket '['"),
            ("a: 1\na: 2\n", 2, 1, "duplicate mapping key: a"),
            (
                "a: 1\n---\nb: 2\n",
                3,
                1,
                "multiple YAML documents detected",
            ),
            ("a: *x", 1, 4, "alias references unknown anchor"),
        ];
        for (text, line, column, message) in table {
            let error = parse(text).unwrap_err();
            assert_eq!(error.at, At { line, column }, "{text}");
            assert_eq!(error.message, message, "{text}");
        }
    }

    #[test]
    fn parse_of_deep_nesting_is_an_error_on_any_stack() {
        let nested = |depth: usize| format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
        parse(&nested(yaml::MAX_DEPTH - 2)).unwrap();
        for depth in [yaml::MAX_DEPTH + 1, 1000, 100_000] {
            parse(&nested(depth)).unwrap_err();
            parse(&"[".repeat(depth)).unwrap_err();
            parse(&"- ".repeat(depth)).unwrap_err();
            parse(&"{a: ".repeat(depth)).unwrap_err();
        }
    }

    #[test]
    fn parse_prefixes_of_a_document_never_panics() {
        let text = "apiVersion: x\nlisteners:\n- {name: \"a\", unix: {path: '/x'}}\nb: &z [1]\n";
        for end in 0..text.len() {
            let _ = parse(&text[..end]);
        }
    }
}
