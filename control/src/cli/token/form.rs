//! What the commands on tokens share: how a token is read, and how a result is laid out.

use serde_json::Value;
use std::error::Error;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest token that is read, with room for line ends: others are no tokens.
const MAX_INPUT: u64 = 64 << 10;

/// How a command that failed has failed; printed by the command.
pub(super) type Failure = Box<dyn Error>;

/// A token that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read a token from {}", .path.display())]
pub(super) struct InputError {
    path: PathBuf,
    source: io::Error,
}

/// Reads a token from a file, or from standard input.
pub(super) fn read_token(path: &Path) -> Result<Zeroizing<String>, InputError> {
    let fail = |source| InputError {
        path: path.to_owned(),
        source,
    };
    let mut text = Zeroizing::new(String::with_capacity(8 << 10));
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_INPUT).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text))
    }
    .map_err(fail)?;
    Ok(text)
}

/// Writes fields one below the other; empty ones are left out.
pub(super) fn fields(rows: &[(&str, String)]) -> String {
    let rows: Vec<_> = rows.iter().filter(|(_, value)| !value.is_empty()).collect();
    let width = rows
        .iter()
        .map(|(name, _)| name.len() + 1)
        .max()
        .unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{:width$}  {value}\n", format!("{name}:")))
        .collect()
}

/// Writes JSON for people.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
