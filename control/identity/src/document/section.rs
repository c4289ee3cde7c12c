//! Reads the fields of one mapping: each by name, with its path, and nothing left over.

use super::FileRef;
use super::report::{Problem, Report};
use super::tree::{At, Entry, Node, Value};
use super::value;
use std::path::Path;
use strsim::levenshtein;

/// One mapping whose fields are taken one after the other.
///
/// Every field that the code asks for counts as known; [`finish`](Section::finish) reports the
/// rest. A field that is `null` (`idle:`) counts as absent, as in Kubernetes.
pub struct Section<'a> {
    path: String,
    /// What its files are called by: its path, unless somebody knows a better name.
    name: String,
    /// Where relative paths start.
    base: &'a Path,
    at: At,
    entries: &'a [Entry],
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// Opens the root of a document; anything but a mapping is an error.
    pub(super) fn root(node: &'a Node, base: &'a Path, report: &mut Report) -> Option<Self> {
        Self::open(String::new(), String::new(), node, base, report)
    }

    fn open(
        path: String,
        name: String,
        node: &'a Node,
        base: &'a Path,
        report: &mut Report,
    ) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self {
                path,
                name,
                base,
                at: node.at,
                entries,
                known: Vec::new(),
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
    pub fn error(
        &self,
        field: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
        report: &mut Report,
    ) {
        let problem = Problem::new(what, fix);
        report.error(&self.path_of(field), self.place_of(field), problem);
    }

    /// Reports what deserves a look at a field, as [`error`](Self::error) does.
    pub fn warn(
        &self,
        field: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
        report: &mut Report,
    ) {
        let problem = Problem::new(what, fix);
        report.warn(&self.path_of(field), self.place_of(field), problem);
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
        report: &mut Report,
    ) -> Option<T> {
        let node = self.take(field)?;
        match parse(node) {
            Ok(value) => Some(value),
            Err(problem) => {
                report.error(&self.path_of(field), node.at, problem);
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
        report: &mut Report,
    ) -> Option<T> {
        if !self.has(field) {
            self.missing(field, example, report);
        }
        self.optional(field, parse, report)
    }

    /// Reports a field that must be there and is not.
    pub fn missing(&mut self, field: &'static str, example: &str, report: &mut Report) {
        self.known.push(field);
        let problem = Problem::new("is required", format!("add `{field}: {example}`"));
        report.error(&self.path_of(field), self.at, problem);
    }

    /// Takes a field that names a file, and may be absent.
    pub fn file(&mut self, field: &'static str, report: &mut Report) -> Option<FileRef> {
        let (name, base) = (below(&self.name, field), self.base);
        let path = self.optional(field, |node| value::path(node, base), report)?;
        Some(FileRef::new(name, path))
    }

    /// Takes a field that names a file and must be there; `example` completes the remedy.
    pub fn required_file(
        &mut self,
        field: &'static str,
        example: &str,
        report: &mut Report,
    ) -> Option<FileRef> {
        if !self.has(field) {
            self.missing(field, example, report);
        }
        self.file(field, report)
    }

    /// Takes a list of files; each bad one is reported by its index. Absent reads as empty.
    pub fn files(
        &mut self,
        field: &'static str,
        bound: usize,
        report: &mut Report,
    ) -> Vec<FileRef> {
        let (name, base) = (below(&self.name, field), self.base);
        let paths = self.list(field, bound, |node| value::path(node, base), report);
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
        report: &mut Report,
    ) -> Vec<T> {
        let path = self.path_of(field);
        let mut values = Vec::new();
        for (index, node) in self.items(field, bound, report).iter().enumerate() {
            match parse(node) {
                Ok(value) => values.push(value),
                Err(problem) => report.error(&format!("{path}[{index}]"), node.at, problem),
            }
        }
        values
    }

    /// Takes a nested mapping.
    pub fn section(&mut self, field: &'static str, report: &mut Report) -> Option<Section<'a>> {
        let node = self.take(field)?;
        let (path, name) = (self.path_of(field), below(&self.name, field));
        Section::open(path, name, node, self.base, report)
    }

    /// Takes a list of mappings.
    pub fn sections(
        &mut self,
        field: &'static str,
        bound: usize,
        report: &mut Report,
    ) -> Vec<Section<'a>> {
        let (path, name) = (self.path_of(field), below(&self.name, field));
        let nodes = self.items(field, bound, report);
        let open = |(index, node)| {
            let (path, name) = (format!("{path}[{index}]"), format!("{name}[{index}]"));
            Section::open(path, name, node, self.base, report)
        };
        nodes.iter().enumerate().filter_map(open).collect()
    }

    fn items(&mut self, field: &'static str, bound: usize, report: &mut Report) -> &'a [Node] {
        let Some(node) = self.take(field) else {
            return &[];
        };
        let path = self.path_of(field);
        match &node.value {
            Value::List(items) if items.len() <= bound => items,
            Value::List(items) => {
                let what = format!("has {} entries, more than {bound}", items.len());
                report.error(&path, node.at, Problem::new(what, "merge some of them"));
                &[]
            }
            other => {
                let what = format!("is {}, not a list", other.kind());
                report.error(&path, node.at, Problem::new(what, "write it as `[a, b]`"));
                &[]
            }
        }
    }

    /// Takes every field, whatever it is called; bad values are reported.
    pub fn each<T>(
        &self,
        parse: impl Fn(&Node) -> Result<T, Problem>,
        report: &mut Report,
    ) -> Vec<(String, T)> {
        let mut values = Vec::new();
        for entry in self.entries {
            match parse(&entry.node) {
                Ok(value) => values.push((entry.key.clone(), value)),
                Err(problem) => {
                    report.error(&self.path_of(&entry.key), entry.node.at, problem);
                }
            }
        }
        values
    }

    /// Reports every field that nobody asked for.
    pub fn finish(&self, report: &mut Report) {
        for (path, at, fix) in self.left_over() {
            report.error(&path, at, Problem::new("is not a known field", fix));
        }
    }

    /// Warns of every field that nobody asked for, where others take it in silence.
    pub fn finish_leniently(&self, report: &mut Report) {
        for (path, at, fix) in self.left_over() {
            let what = "is not a known field, and nobody reads it";
            report.warn(&path, at, Problem::new(what, fix));
        }
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
