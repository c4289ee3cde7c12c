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
    fn read(root: &mut Section<'_>, file: &Path, report: &mut Report) -> Option<Self>;

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
        let read = |root: &mut Section<'_>, report: &mut Report| read_root(root, file, report);
        let (config, warnings) = parse_node(&root, file, read)?;
        Ok(Loaded { config, warnings })
    }

    /// Reads what can be read of a file, for those that judge the files that it names as well.
    ///
    /// # Errors
    /// The file cannot be read, or is no YAML.
    fn partly(file: &Path) -> Result<Partly<Self>, ConfigErrors> {
        let text = read_within(file, Self::MAX_FILE)?;
        let root = parse_tree(&text, file, yaml::options())?;
        let mut report = Report::default();
        let value = Section::root(&root, directory(file), &mut report)
            .and_then(|mut root| read_root(&mut root, file, &mut report));
        let (errors, warnings) = report.into_parts();
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

fn read_root<T: Document>(root: &mut Section<'_>, file: &Path, report: &mut Report) -> Option<T> {
    expect(root, "apiVersion", API_VERSION, report);
    expect(root, "kind", T::KIND, report);
    let read = T::read(root, file, report);
    root.finish(report);
    read
}

fn directory(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Parses a text by somebody else's rules of YAML.
pub(crate) fn parse_tree(text: &str, file: &Path, options: Options) -> Result<Node, ConfigErrors> {
    tree::parse_with(text, options).map_err(|error| {
        let tree::SyntaxError { at, message } = error;
        ConfigErrors::new(file, vec![ConfigError::Syntax { at, message }])
    })
}

/// Reads a tree; the reader also says what of fields that it did not ask for.
pub(crate) fn parse_node<T>(
    root: &Node,
    file: &Path,
    read: impl FnOnce(&mut Section<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    let mut report = Report::default();
    let value = Section::root(root, directory(file), &mut report)
        .and_then(|mut root| read(&mut root, &mut report));
    let warnings = report
        .finish()
        .map_err(|errors| ConfigErrors::new(file, errors))?;
    match value {
        Some(value) => Ok((value, warnings)),
        None => unreachable!("a reader that returns nothing has reported why"),
    }
}

/// Reads a field that can have one value only.
pub(crate) fn expect(root: &mut Section<'_>, field: &'static str, want: &str, report: &mut Report) {
    let Some(value) = root.required(field, want, value::text, report) else {
        return;
    };
    if value != want {
        let problem = Problem::new(
            format!("{value:?} is not known to this version"),
            format!("write `{field}: {want}`"),
        );
        report.error(&root.path_of(field), root.place_of(field), problem);
    }
}
