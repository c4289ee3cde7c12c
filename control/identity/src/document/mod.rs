//! A document of our API, from its text to what its reader wants: YAML, version, kind, and every mistake
//! with its place.
//!
//! `tree` and `section` know YAML, places and unknown fields, and `value` one scalar; what a field means
//! its reader knows.

pub mod bounds;
mod file;
pub mod groups;
mod places;
mod report;
mod section;
mod tree;
pub mod value;

pub use file::{FileRef, paths};
pub use report::{CheckErrors, ConfigError, ConfigErrors, Finding, Problem, Report};
pub use section::Section;
pub use tree::{At, Node, Value, parse as parse_text};

use crate::yaml;
use places::Places;
use serde_saphyr::Options;
use std::io::Read;
use std::path::Path;

/// The version of the format; unknown versions are refused.
pub const API_VERSION: &str = "eyesplice.dev/v1alpha1";

/// Reads the text of a document, within bounds.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read_file(file: &Path) -> Result<String, ConfigErrors> {
    read_within(file, bounds::FILE_BYTES)
}

fn read_within(file: &Path, limit: usize) -> Result<String, ConfigErrors> {
    let failed = |error| ConfigErrors::new(file, vec![error]);
    let read = |error| failed(ConfigError::Read(error));
    let open = std::fs::File::open(file).map_err(read)?;
    let mut text = String::new();
    let mut bounded = open.take(limit as u64 + 1);
    bounded.read_to_string(&mut text).map_err(read)?;
    if text.len() > limit {
        return Err(failed(ConfigError::TooLarge { limit }));
    }
    Ok(text)
}

/// A kind of document of ours.
pub trait Document: Sized {
    /// Its `kind`.
    const KIND: &'static str;
    /// Most bytes of a file.
    const MAX_FILE: usize = bounds::FILE_BYTES;

    /// Takes the fields below `apiVersion` and `kind`; returns nothing only if it has reported why.
    fn read(root: &mut Section<'_>, file: &Path) -> Option<Self>;

    /// Reads and validates a file. Relative paths in it start at its directory.
    ///
    /// # Errors
    /// Every mistake of the file, each with field, line, column and remedy.
    fn load(file: &Path) -> Result<Loaded<Self>, ConfigErrors> {
        Self::parse(&read_within(file, Self::MAX_FILE)?, file)
    }

    /// Validates the text of a file; `file` names it in errors and is the base of relative paths.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn parse(text: &str, file: &Path) -> Result<Loaded<Self>, ConfigErrors> {
        let root = parse_tree(text, file, yaml::options())?;
        let (config, warnings) = parse_node(&root, file, |root| read_root(root, file))?;
        Ok(Loaded { config, warnings })
    }

    /// Reads what can be read of a file, for those that judge the files that it names as well.
    ///
    /// # Errors
    /// The file cannot be read, or is no YAML.
    fn partly(file: &Path) -> Result<Partly<Self>, ConfigErrors> {
        let text = read_within(file, Self::MAX_FILE)?;
        let root = parse_tree(&text, file, yaml::options())?;
        let (value, errors, warnings) = read_node(&root, file, |root| read_root(root, file));
        Ok(Partly {
            value,
            errors,
            warnings,
            places: Places::of(&root),
        })
    }
}

/// A configuration and what deserves the operator's attention in it.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// Things that are allowed and probably not meant.
    pub warnings: Vec<Finding>,
}

/// What could be read of a document, and all that is wrong with the rest.
pub struct Partly<T> {
    /// What could be read.
    pub value: Option<T>,
    /// All that is wrong.
    pub errors: Vec<ConfigError>,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Finding>,
    /// Where each field stands.
    pub places: Places,
}

fn read_root<T: Document>(root: &mut Section<'_>, file: &Path) -> Option<T> {
    expect(root, "apiVersion", API_VERSION);
    expect(root, "kind", T::KIND);
    T::read(root, file)
}

/// Parses a text by somebody else's rules of YAML.
pub(crate) fn parse_tree(text: &str, file: &Path, options: Options) -> Result<Node, ConfigErrors> {
    tree::parse_with(text, options).map_err(|error| {
        let tree::SyntaxError { at, message } = error;
        ConfigErrors::new(file, vec![ConfigError::Syntax { at, message }])
    })
}

/// Reads a tree: the value with the warnings, or all errors.
pub(crate) fn parse_node<T>(
    root: &Node,
    file: &Path,
    read: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    match read_node(root, file, read) {
        (Some(value), errors, warnings) if errors.is_empty() => Ok((value, warnings)),
        (_, errors, _) => Err(ConfigErrors::new(file, errors)),
    }
}

/// Reads what can be read of a tree, with all errors and warnings; relative paths start at its
/// file's directory.
fn read_node<T>(
    root: &Node,
    file: &Path,
    read: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> (Option<T>, Vec<ConfigError>, Vec<Finding>) {
    let report = Report::default();
    let directory = file.parent().unwrap_or(Path::new(""));
    let value = Section::root(root, directory, &report).and_then(|mut root| read(&mut root));
    let (errors, warnings) = report.into_parts();
    (value, errors, warnings)
}

/// Reads a field that can have one value only.
pub(crate) fn expect(root: &mut Section<'_>, field: &'static str, want: &str) {
    match root.required(field, want, value::text) {
        Some(value) if value != want => {
            let what = format!("{value:?} is not known to this version");
            root.error(field, what, format!("write `{field}: {want}`"));
        }
        _ => {}
    }
}
