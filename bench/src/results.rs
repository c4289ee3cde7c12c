//! Shows results, and writes them to files.

use crate::{Attempt, Result};
use serde::Serialize;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Prints a report, and writes it into `directory` if there is one, which is made if it is not there:
/// `<date>-<name>.json` and `<date>-<name>.md`.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn show(
    report: &(impl Serialize + Display),
    name: &str,
    directory: Option<&Path>,
) -> Result<()> {
    print!("{report}");
    let Some(directory) = directory else {
        return Ok(());
    };
    let json = path(directory, name, "json");
    let markdown = path(directory, name, "md");
    let text = serde_json::to_string_pretty(report)
        .map_err(std::io::Error::from)
        .attempt("write the report as JSON")?;
    std::fs::create_dir_all(directory).attempt(format!("make {}", directory.display()))?;
    for (path, text) in [(json, text + "\n"), (markdown, report.to_string())] {
        std::fs::write(&path, text).attempt(format!("write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// `<date>-<name>.<kind>` in `directory`.
pub(crate) fn path(directory: &Path, name: &str, kind: &str) -> PathBuf {
    let date = time::OffsetDateTime::now_utc().date();
    directory.join(format!("{date}-{name}.{kind}"))
}
