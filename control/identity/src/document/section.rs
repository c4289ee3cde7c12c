//! Reads the fields of one mapping: each by name, with its path, and nothing left over.

use super::FileRef;
use super::report::{Problem, Report};
use super::tree::{At, Entry, Node, Value};
use super::value;
use std::path::Path;
use strsim::levenshtein;

/// One mapping whose fields are taken one after the other.
///
/// Every field that the code asks for counts as known; the rest is reported when the section is
/// dropped, so that no reader can forget it. A field that is `null` (`idle:`) counts as absent, as
/// in Kubernetes.
pub struct Section<'a> {
    path: String,
    /// What its files are called by: its path, unless somebody knows a better name.
    name: String,
    /// Where relative paths start.
    base: &'a Path,
    at: At,
    entries: &'a [Entry],
    known: Vec<&'static str>,
    /// Fields that nobody asks for are a warning, as others take them in silence.
    lenient: bool,
    report: &'a Report,
}

impl<'a> Section<'a> {
    /// Opens the root of a document; anything but a mapping is an error.
    pub(super) fn root(node: &'a Node, base: &'a Path, report: &'a Report) -> Option<Self> {
        let around = Self {
            path: String::new(),
            name: String::new(),
            base,
            at: node.at,
            entries: &[],
            known: Vec::new(),
            lenient: false,
            report,
        };
        around.open(String::new(), String::new(), node)
    }

    /// Opens a mapping in this one.
    fn open(&self, path: String, name: String, node: &'a Node) -> Option<Self> {
        let (base, lenient, report) = (self.base, self.lenient, self.report);
        match &node.value {
            Value::Map(entries) => Some(Self {
                path,
                name,
                base,
                at: node.at,
                entries,
                known: Vec::new(),
                lenient,
                report,
            }),
            other => {
                let what = format!("is {}, not a mapping", other.kind());
                let fix = "write its fields below it, indented by two spaces";
                report.error(&path, node.at, Problem::new(what, fix));
                None
            }
        }
    }

    /// The path of a field of this mapping; of the mapping itself if the field is empty.
    pub fn path_of(&self, field: &str) -> String {
        below(&self.path, field)
    }

    /// Calls the files of this mapping by another name than its path.
    pub fn name_files(&mut self, name: String) {
        self.name = name;
    }

    /// Where relative paths start: the directory of the document.
    pub fn base(&self) -> &'a Path {
        self.base
    }

    /// Reports a mistake of a field: what is wrong, and what to do. No field is the mapping itself.
    pub fn error(&self, field: &str, what: impl Into<String>, fix: impl Into<String>) {
        let problem = Problem::new(what, fix);
        self.report
            .error(&self.path_of(field), self.place_of(field), problem);
    }

    /// Reports what deserves a look at a field, as [`error`](Self::error) does.
    pub fn warn(&self, field: &str, what: impl Into<String>, fix: impl Into<String>) {
        let problem = Problem::new(what, fix);
        self.report
            .warn(&self.path_of(field), self.place_of(field), problem);
    }

    /// Where mistakes are collected, for those that are not of this mapping alone.
    pub fn report(&self) -> &'a Report {
        self.report
    }

    /// The path of the mapping itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The place of the mapping itself.
    pub fn at(&self) -> At {
        self.at
    }

    /// Where a field stands; the mapping's own place if it is absent.
    pub fn place_of(&self, field: &str) -> At {
        let entry = self.entries.iter().find(|entry| entry.key == field);
        entry.map_or(self.at, |entry| entry.node.at)
    }

    /// Tells whether a field is present and not null.
    pub fn has(&self, field: &str) -> bool {
        self.entries
            .iter()
            .any(|e| e.key == field && !matches!(e.node.value, Value::Null))
    }

    /// Tells whether a list is absent or has no entry.
    pub fn is_blank(&self, field: &str) -> bool {
        let blank = |value: &Value| match value {
            Value::Null => true,
            Value::List(items) => items.is_empty(),
            _ => false,
        };
        !self
            .entries
            .iter()
            .any(|e| e.key == field && !blank(&e.node.value))
    }

    fn take(&mut self, field: &'static str) -> Option<&'a Node> {
        self.known.push(field);
        let entry = self.entries.iter().find(|entry| entry.key == field)?;
        (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
    }

    /// Takes a field that may be absent. A bad value is reported and reads as absent.
    pub fn optional<T>(
        &mut self,
        field: &'static str,
        parse: impl Fn(&Node) -> Result<T, Problem>,
    ) -> Option<T> {
        let node = self.take(field)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.report.error(&self.path_of(field), node.at, problem);
                None
            }
        }
    }

    /// Takes a field that must be there; `example` completes the remedy.
    pub fn required<T>(
        &mut self,
        field: &'static str,
        example: &str,
        parse: impl Fn(&Node) -> Result<T, Problem>,
    ) -> Option<T> {
        if !self.has(field) {
            self.missing(field, example);
        }
        self.optional(field, parse)
    }

    /// Reports a field that must be there and is not.
    pub fn missing(&mut self, field: &'static str, example: &str) {
        self.known.push(field);
        let problem = Problem::new("is required", format!("add `{field}: {example}`"));
        self.report.error(&self.path_of(field), self.at, problem);
    }

    /// Takes a field that names a file, and may be absent.
    pub fn file(&mut self, field: &'static str) -> Option<FileRef> {
        let (name, base) = (below(&self.name, field), self.base);
        let path = self.optional(field, |node| value::path(node, base))?;
        Some(FileRef::new(name, path))
    }

    /// Takes a field that names a file and must be there; `example` completes the remedy.
    pub fn required_file(&mut self, field: &'static str, example: &str) -> Option<FileRef> {
        if !self.has(field) {
            self.missing(field, example);
        }
        self.file(field)
    }

    /// Takes a list of files; each bad one is reported by its index. Absent reads as empty.
    pub fn files(&mut self, field: &'static str, bound: usize) -> Vec<FileRef> {
        let (name, base) = (below(&self.name, field), self.base);
        let paths = self.list(field, bound, |node| value::path(node, base));
        let named = |(index, path)| FileRef::new(format!("{name}[{index}]"), path);
        paths.into_iter().enumerate().map(named).collect()
    }

    /// Counts a field as known, whatever it holds.
    pub fn ignore(&mut self, field: &'static str) {
        self.known.push(field);
    }

    /// Takes a list of values; each bad one is reported by its index. Absent reads as empty.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        bound: usize,
        parse: impl Fn(&Node) -> Result<T, Problem>,
    ) -> Vec<T> {
        let path = self.path_of(field);
        let mut values = Vec::new();
        for (index, node) in self.items(field, bound).iter().enumerate() {
            match parse(node) {
                Ok(value) => values.push(value),
                Err(problem) => {
                    self.report
                        .error(&format!("{path}[{index}]"), node.at, problem);
                }
            }
        }
        values
    }

    /// Takes a nested mapping.
    pub fn section(&mut self, field: &'static str) -> Option<Section<'a>> {
        let node = self.take(field)?;
        self.open(self.path_of(field), below(&self.name, field), node)
    }

    /// Takes a nested mapping that must be there; `example` completes the remedy.
    pub fn required_section(&mut self, field: &'static str, example: &str) -> Option<Section<'a>> {
        if !self.has(field) {
            self.missing(field, example);
        }
        self.section(field)
    }

    /// Takes a list of mappings.
    pub fn sections(&mut self, field: &'static str, bound: usize) -> Vec<Section<'a>> {
        let (path, name) = (self.path_of(field), below(&self.name, field));
        let nodes = self.items(field, bound).iter().enumerate();
        let open =
            |(index, node)| self.open(format!("{path}[{index}]"), format!("{name}[{index}]"), node);
        nodes.filter_map(open).collect()
    }

    fn items(&mut self, field: &'static str, bound: usize) -> &'a [Node] {
        let Some(node) = self.take(field) else {
            return &[];
        };
        let (what, fix) = match &node.value {
            Value::List(items) if items.len() <= bound => return items,
            Value::List(items) => {
                let what = format!("has {} entries, more than {bound}", items.len());
                (what, "merge some of them")
            }
            other => (
                format!("is {}, not a list", other.kind()),
                "write it as `[a, b]`",
            ),
        };
        self.error(field, what, fix);
        &[]
    }

    /// Takes every field, whatever it is called; bad values are reported.
    pub fn each<T>(mut self, parse: impl Fn(&Node) -> Result<T, Problem>) -> Vec<(String, T)> {
        let mut values = Vec::new();
        for entry in std::mem::take(&mut self.entries) {
            match parse(&entry.node) {
                Ok(value) => values.push((entry.key.clone(), value)),
                Err(problem) => {
                    self.report
                        .error(&self.path_of(&entry.key), entry.node.at, problem);
                }
            }
        }
        values
    }

    /// Passes over the whole mapping: what is in it does not matter.
    pub fn pass_over(mut self) {
        self.entries = &[];
    }

    /// Warns of every field that nobody asks for, here and below, where others take it in silence.
    pub fn be_lenient(&mut self) {
        self.lenient = true;
    }

    /// The fields that nobody asked for, with their places and a guess at what was meant.
    fn left_over(&self) -> Vec<(String, At, String)> {
        let entries = self.entries.iter();
        let unknown = entries.filter(|entry| !self.known.contains(&entry.key.as_str()));
        let guess = |entry: &Entry| {
            let key = entry.key.as_str();
            let nearest = self.known.iter().min_by_key(|known| distance(known, key));
            let fix = match nearest {
                Some(known) if distance(known, key) <= MOST_TYPOS => {
                    format!("did you mean `{known}`?")
                }
                _ => format!("known here: {}", self.known.join(", ")),
            };
            (self.path_of(key), entry.at, fix)
        };
        unknown.map(guess).collect()
    }
}

impl Drop for Section<'_> {
    /// Reports every field that nobody asked for.
    fn drop(&mut self) {
        for (path, at, fix) in self.left_over() {
            if self.lenient {
                let what = "is not a known field, and nobody reads it";
                self.report.warn(&path, at, Problem::new(what, fix));
            } else {
                let problem = Problem::new("is not a known field", fix);
                self.report.error(&path, at, problem);
            }
        }
    }
}

/// The path of a field of the mapping at `path`, and `path` itself for no field.
fn below(path: &str, field: &str) -> String {
    if path.is_empty() || field.is_empty() {
        format!("{path}{field}")
    } else {
        format!("{path}.{field}")
    }
}

/// Edits between a typo and the field that was probably meant: two letters swapped, and one more.
const MOST_TYPOS: usize = 3;

/// Edits between two fields without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let small = |text: &str| {
        text.chars()
            .take(64)
            .collect::<String>()
            .to_ascii_lowercase()
    };
    levenshtein(&small(a), &small(b))
}
