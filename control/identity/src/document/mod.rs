//! A document of our API, from its text to what its reader wants: YAML, version, kind, and every mistake
//! with its place.
//!
//! `tree` and `section` know YAML, places and unknown fields, and `value` one scalar; what a field means
//! its reader knows.

pub mod bounds;
mod places;
mod report;
mod section;
mod tree;
pub mod value;

pub use report::Problem;
pub use report::Report;
pub use report::{CheckErrors, ConfigError, ConfigErrors, Finding};
pub use section::Section;
pub use tree::At;
pub use tree::Node;
pub use tree::Value;
pub use tree::parse as parse_text;

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
    read_bounded(file).map_err(|error| ConfigErrors {
        file: file.to_owned(),
        errors: vec![error],
    })
}

/// Parses a document of `kind`; `file` names it in errors. The reader takes the fields below
/// `apiVersion` and `kind`; it returns nothing only if it has reported why.
///
/// # Errors
/// All that is wrong with it.
pub fn parse<T>(
    text: &str,
    file: &Path,
    kind: &str,
    read: impl FnOnce(&mut Section<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    parse_any(text, file, |root, report| {
        expect(root, "apiVersion", API_VERSION, report);
        expect(root, "kind", kind, report);
        read(root, report)
    })
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

/// Reads what can be read of a document of `kind`, for whoever judges the files that it names as well.
///
/// # Errors
/// The file cannot be read, or is no YAML.
pub fn parse_partly<T>(
    file: &Path,
    kind: &str,
    read: impl FnOnce(&mut Section<'_>, &mut Report) -> Option<T>,
) -> Result<Partly<T>, ConfigErrors> {
    let root = parse_tree(&read_file(file)?, file, yaml::options())?;
    let mut report = Report::default();
    let value = Section::open(String::new(), &root, &mut report).and_then(|mut section| {
        expect(&mut section, "apiVersion", API_VERSION, &mut report);
        expect(&mut section, "kind", kind, &mut report);
        let value = read(&mut section, &mut report);
        section.finish(&mut report);
        value
    });
    let (errors, warnings) = report.into_parts();
    Ok(Partly {
        value,
        errors,
        warnings,
        places: Places::of(&root),
    })
}

/// Parses a document of somebody else's API, whose version and kind the reader takes itself.
pub(crate) fn parse_any<T>(
    text: &str,
    file: &Path,
    read: impl FnOnce(&mut Section<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    let root = parse_tree(text, file, yaml::options())?;
    parse_node(&root, file, |root, report| {
        let value = read(root, report);
        root.finish(report);
        value
    })
}

/// Parses a text by somebody else's rules of YAML.
pub(crate) fn parse_tree(text: &str, file: &Path, options: Options) -> Result<Node, ConfigErrors> {
    tree::parse_with(text, options).map_err(|error| ConfigErrors {
        file: file.to_owned(),
        errors: vec![ConfigError::Syntax {
            at: error.at,
            message: error.message,
        }],
    })
}

/// Reads a tree; the reader also says what of fields that it did not ask for.
pub(crate) fn parse_node<T>(
    root: &Node,
    file: &Path,
    read: impl FnOnce(&mut Section<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    let mut report = Report::default();
    let value = Section::open(String::new(), root, &mut report)
        .and_then(|mut root| read(&mut root, &mut report));
    let warnings = report.finish().map_err(|errors| ConfigErrors {
        file: file.to_owned(),
        errors,
    })?;
    match value {
        Some(value) => Ok((value, warnings)),
        None => unreachable!("a reader that returns nothing has reported why"),
    }
}

fn read_bounded(file: &Path) -> Result<String, ConfigError> {
    let open = std::fs::File::open(file).map_err(ConfigError::Read)?;
    let mut text = String::new();
    let bound = bounds::FILE_BYTES as u64 + 1;
    open.take(bound)
        .read_to_string(&mut text)
        .map_err(ConfigError::Read)?;
    if text.len() > bounds::FILE_BYTES {
        return Err(ConfigError::TooLarge {
            limit: bounds::FILE_BYTES,
        });
    }
    Ok(text)
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
