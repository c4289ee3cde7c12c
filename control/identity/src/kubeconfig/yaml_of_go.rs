//! Reads YAML as client-go does: words of version 1.1, the last of two equal keys, one document.

use crate::document;
use crate::document::{At, ConfigError, ConfigErrors, Node, Problem, Report, Value};
use crate::yaml;
use data_encoding::BASE64;
use std::path::Path;
use zeroize::Zeroizing;

/// A document, and what of its text client-go passes over.
pub(super) struct Root {
    pub(super) node: Node,
    /// Fields that stand twice, with their places.
    repeated: Vec<(String, At)>,
    /// There is more than one document.
    cut: bool,
}

impl Root {
    pub(super) fn warn(&self, report: &Report) {
        for (path, at) in &self.repeated {
            let problem = Problem::new("stands twice, and the last one counts", "remove one");
            report.warn(path, *at, problem);
        }
        if self.cut {
            let what = "is followed by another document, which no client reads";
            let problem = Problem::new(what, "write it into a file of its own");
            report.warn("", At::default(), problem);
        }
    }
}

/// Parses the first document of a text.
pub(super) fn parse(text: &str, file: &Path) -> Result<Root, ConfigErrors> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (text, cut) = first_document(text);
    // Go's parser takes no line of white space that begins with a tab; ours does.
    let tab = |line: &str| line.starts_with('\t') && line.trim().is_empty();
    if let Some(index) = text.lines().position(tab) {
        let at = At {
            line: index as u64 + 1,
            column: 1,
        };
        let message = "a line begins with a tab".to_owned();
        let error = ConfigError::Syntax { at, message };
        return Err(ConfigErrors::new(file, vec![error]));
    }
    let mut node = document::parse_tree(text, file, yaml::options_of_go())?;
    if matches!(node.value, Value::Null) {
        node.value = Value::Map(Vec::new());
    }
    let mut repeated = Vec::new();
    tidy(&mut node, "", &mut repeated);
    Ok(Root {
        node,
        repeated,
        cut,
    })
}

/// Leaves of equal keys the last, and makes an empty entry of one that is null.
fn tidy(node: &mut Node, path: &str, repeated: &mut Vec<(String, At)>) {
    match &mut node.value {
        Value::Map(entries) => {
            let mut index = 0;
            while index < entries.len() {
                let key = entries[index].key.clone();
                let field = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let later = entries.iter().skip(index + 1).any(|other| other.key == key);
                if later {
                    repeated.push((field, entries[index].at));
                    entries.remove(index);
                } else {
                    tidy(&mut entries[index].node, &field, repeated);
                    index += 1;
                }
            }
        }
        Value::List(items) => {
            // Lists of the root hold entries.
            let entries = !path.contains(['.', '[']);
            for (index, item) in items.iter_mut().enumerate() {
                if entries && matches!(item.value, Value::Null) {
                    item.value = Value::Map(Vec::new());
                }
                tidy(item, &format!("{path}[{index}]"), repeated);
            }
        }
        _ => {}
    }
}

/// Cuts a text behind its first document; says whether anything is left out.
fn first_document(text: &str) -> (&str, bool) {
    let is = |line: &str, mark: &str| {
        line.strip_prefix(mark)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
    };
    let mut begun = false;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        if is(bare, "...") || is(bare, "---") && begun {
            let rest = &text[start + line.len()..];
            return (&text[..start], !rest.trim().is_empty());
        }
        begun |= !bare.trim().is_empty() && !bare.starts_with(['#', '%']);
        start += line.len();
    }
    (text, false)
}

/// Decodes base64 as Go does: line ends within it do not count.
pub fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let bare: Zeroizing<Vec<u8>> = text
        .bytes()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect::<Vec<u8>>()
        .into();
    BASE64.decode(&bare).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_document_ends_at_a_mark_of_its_own() {
        for (text, first, cut) in [
            ("a: 1\n", "a: 1\n", false),
            ("---\na: 1\n", "---\na: 1\n", false),
            (
                "# x\n%YAML 1.1\n---\na: 1\n---\nb: 1\n",
                "# x\n%YAML 1.1\n---\na: 1\n",
                true,
            ),
            ("a: 1\n...\n", "a: 1\n", false),
            ("a: 1\r\n--- # x\r\nb: [", "a: 1\r\n", true),
            ("a: |\n  ---\n", "a: |\n  ---\n", false),
            ("a: ---x\n---x: 1\n", "a: ---x\n---x: 1\n", false),
            ("---\n---\na: 1\n", "---\n", true),
        ] {
            assert_eq!(first_document(text), (first, cut), "{text:?}");
        }
    }

    #[test]
    fn decode_passes_over_line_ends_alone() {
        assert_eq!(decode("aGVs\nbG8=\r\n").unwrap().as_slice(), b"hello");
        for text in ["aGVs bG8=", "aGVs\tbG8=", "aGVsbG8", "%%", "aGVsbG9_"] {
            assert!(decode(text).is_none(), "{text:?}");
        }
    }
}
