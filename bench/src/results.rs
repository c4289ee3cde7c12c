//! Writes results to files.

use crate::{Attempt, Result};
use serde::Serialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Writes `<date>-<name>.json` and `<date>-<name>.md` into `directory`, which is made if it is not
/// there; returns their paths.
///
/// # Errors
/// If they cannot be written.
pub fn write(
    report: &(impl Serialize + Display),
    name: &str,
    directory: &Path,
) -> Result<[PathBuf; 2]> {
    let json = path(directory, name, "json");
    let markdown = path(directory, name, "md");
    let text = serde_json::to_string_pretty(report)
        .map_err(std::io::Error::from)
        .attempt("write the report as JSON")?;
    std::fs::create_dir_all(directory).attempt(format!("make {}", directory.display()))?;
    for (path, text) in [(&json, text + "\n"), (&markdown, report.to_string())] {
        std::fs::write(path, text).attempt(format!("write {}", path.display()))?;
    }
    Ok([json, markdown])
}

/// `<date>-<name>.<kind>` in `directory`.
pub(crate) fn path(directory: &Path, name: &str, kind: &str) -> PathBuf {
    let date = time::OffsetDateTime::now_utc().date();
    directory.join(format!("{date}-{name}.{kind}"))
}
