//! Reads one document of our API from a file: YAML, version, kind, then what its reader wants.

use super::report::{ConfigError, ConfigErrors, Finding, Problem, Report};
use super::section::Section;
use super::{API_VERSION, bounds, tree, value};
use std::io::Read;
use std::path::Path;

/// Reads the text of a document, within bounds.
pub(crate) fn read_file(file: &Path) -> Result<String, ConfigErrors> {
    read_bounded(file).map_err(|error| ConfigErrors {
        file: file.to_owned(),
        errors: vec![error],
    })
}

/// Parses a document of `kind`; `file` names it in errors. The reader takes the fields below
/// `apiVersion` and `kind`; it returns nothing only if it has reported why.
pub(crate) fn parse<T>(
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

/// Parses a document of somebody else's API, whose version and kind the reader takes itself.
pub(crate) fn parse_any<T>(
    text: &str,
    file: &Path,
    read: impl FnOnce(&mut Section<'_>, &mut Report) -> Option<T>,
) -> Result<(T, Vec<Finding>), ConfigErrors> {
    let fail = |errors| ConfigErrors {
        file: file.to_owned(),
        errors,
    };
    let root = tree::parse(text).map_err(|error| {
        fail(vec![ConfigError::Syntax {
            at: error.at,
            message: error.message,
        }])
    })?;
    let mut report = Report::default();
    let value = Section::open(String::new(), &root, &mut report).and_then(|mut root| {
        let value = read(&mut root, &mut report);
        root.finish(&mut report);
        value
    });
    let warnings = report.finish().map_err(fail)?;
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
