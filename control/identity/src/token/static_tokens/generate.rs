//! Makes entries of a token file.

use super::csv;
use super::table::{MAX_FILE, StaticTokens, TokenFileError};
use crate::token::file::{self, FileFault, Mode};
use clap::Args;
use data_encoding::HEXLOWER;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::Path;
use zeroize::Zeroizing;

/// 128 random bits, as 32 hexadecimal digits: what the documents of Kubernetes recommend, and
/// nothing that CSV or a header would have to quote.
const TOKEN_BYTES: usize = 16;

/// Longest name of a user, UID or group.
const MAX_NAME: usize = 256;

/// Whose a new token shall be.
#[derive(Clone, Debug, Args)]
pub struct Entry {
    /// User that the token stands for
    #[arg(long, value_name = "NAME")]
    pub user: String,
    /// UID of the user
    #[arg(
        long,
        value_name = "UID",
        default_value = "",
        hide_default_value = true
    )]
    pub uid: String,
    /// Groups of the user (repeatable or comma-separated)
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    pub groups: Vec<String>,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// Nobody.
    #[error("the user is empty; name one with --user")]
    NoUser,
    /// Not a name.
    #[error("the {0} is empty, has more than {MAX_NAME} bytes, or control characters")]
    Name(&'static str),
    /// A group that would become two.
    #[error("a group has a comma; give groups one by one")]
    Comma,
}

/// Why no entry was made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// It would be wrong.
    #[error("cannot make an entry: {0}")]
    Entry(EntryProblem),
    /// The system gave no random bytes.
    #[error("cannot make a token: the system's random source failed")]
    Random,
    /// The file is wrong already.
    #[error("nothing was appended, because the file is wrong already")]
    Broken(#[from] TokenFileError),
    /// The file cannot be read or replaced.
    #[error(transparent)]
    File(#[from] FileFault),
}

/// Makes an entry: one line of CSV, without its end.
///
/// # Errors
/// The entry is wrong, or the system has no random bytes.
pub fn generate(entry: &Entry) -> Result<Zeroizing<String>, GenerateError> {
    check(entry).map_err(GenerateError::Entry)?;
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    SystemRandom::new()
        .fill(&mut bytes[..])
        .map_err(|_| GenerateError::Random)?;
    let mut line = Zeroizing::new(String::with_capacity(128));
    HEXLOWER.encode_append(&bytes[..], &mut line);
    line.push(',');
    csv::write(&entry.user, &mut line);
    line.push(',');
    csv::write(&entry.uid, &mut line);
    if !entry.groups.is_empty() {
        line.push(',');
        csv::write(&entry.groups.join(","), &mut line);
    }
    Ok(line)
}

/// Appends an entry to a file, which is made if it is absent. The file is checked before, and
/// replaced as a whole: whoever reads it sees all of the entry or nothing.
///
/// # Errors
/// The file is wrong already, or cannot be read or replaced.
pub fn append(path: &Path, line: &str) -> Result<(), GenerateError> {
    // Two that append at the same time would each drop the other's entry.
    let _turn = file::lock(path)?;
    let mut text = match file::read(path, MAX_FILE) {
        Ok(text) => text,
        Err(fault) if fault.is_missing() => Zeroizing::default(),
        Err(fault) => return Err(fault.into()),
    };
    StaticTokens::parse(&text, path)?;
    let mut whole = Zeroizing::new(String::with_capacity(text.len() + line.len() + 2));
    whole.push_str(&text);
    zeroize::Zeroize::zeroize(&mut *text);
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    whole.push_str(line);
    whole.push('\n');
    file::replace(path, whole.as_bytes(), Mode::Secret)?;
    Ok(())
}

fn check(entry: &Entry) -> Result<(), EntryProblem> {
    let bad = |text: &str| text.len() > MAX_NAME || text.contains(char::is_control);
    if entry.user.is_empty() {
        return Err(EntryProblem::NoUser);
    }
    if bad(&entry.user) {
        return Err(EntryProblem::Name("user"));
    }
    if bad(&entry.uid) {
        return Err(EntryProblem::Name("uid"));
    }
    if entry.groups.iter().any(|group| group.contains(',')) {
        return Err(EntryProblem::Comma);
    }
    if entry
        .groups
        .iter()
        .any(|group| group.is_empty() || bad(group))
    {
        return Err(EntryProblem::Name("group"));
    }
    Ok(())
}
