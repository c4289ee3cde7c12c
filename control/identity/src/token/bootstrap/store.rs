//! Keeps bootstrap tokens in a directory: one Secret per file, as kubectl would apply it.
//!
//! A file appears whole or not at all, and creating never replaces one. Every look reads the
//! directory again: what was deleted is gone for the next request, without a reload.

use super::format::TokenId;
use super::record::{Expiry, Record, RecordProblem, SECRET_TYPE, secret_name};
use crate::token::file::{self, FileFault, Mode};
use data_encoding::BASE64;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use zeroize::{Zeroize, Zeroizing};

const SUFFIX: &str = ".yaml";
/// Largest Secret that is read: what a token needs is far below 4 KiB, managedFields add some.
const MAX_FILE: u64 = 64 << 10;
/// Tokens of one store that are listed.
const MAX_TOKENS: usize = 10_000;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or the directory failed.
    #[error(transparent)]
    File(#[from] FileFault),
    /// There is such a token already.
    #[error("bootstrap token {0} exists already in {dir}; delete it, or choose another ID", dir = .1.display())]
    Exists(TokenId, PathBuf),
    /// There is no such token.
    #[error("there is no bootstrap token {0} in {dir}; see `eyesplice token bootstrap list`", dir = .1.display())]
    Unknown(TokenId, PathBuf),
    /// A file is not a Secret in YAML.
    #[error("{file} is no Secret in YAML or JSON: {1}", file = .0.display())]
    Syntax(PathBuf, String),
    /// A Secret is no bootstrap token's.
    #[error("the Secret in {file} {1}", file = .0.display())]
    Record(PathBuf, RecordProblem),
    /// What should be written is wrong.
    #[error("bootstrap token {0} {1}")]
    Invalid(TokenId, RecordProblem),
    /// There are too many files.
    #[error("{} holds more than {MAX_TOKENS} tokens; delete those that expired", .0.display())]
    TooMany(PathBuf),
}

/// A directory of tokens.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    metadata: Metadata,
    #[serde(rename = "type")]
    secret_type: String,
    #[serde(default)]
    data: BTreeMap<String, String>,
    #[serde(default)]
    string_data: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

impl Drop for Secret {
    fn drop(&mut self) {
        for value in self.data.values_mut().chain(self.string_data.values_mut()) {
            value.zeroize();
        }
    }
}

impl Store {
    /// Names the directory; nothing is read or made.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the tokens are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps a new token.
    ///
    /// # Errors
    /// It is wrong, exists already, or cannot be written.
    pub fn create(&self, record: &Record) -> Result<(), StoreError> {
        let id = &record.token.id;
        record
            .check()
            .map_err(|problem| StoreError::Invalid(id.clone(), problem))?;
        file::create_dir(&self.dir)?;
        match file::create_new(&self.path(id), render(record).as_bytes(), Mode::Secret) {
            Err(fault) if fault.is_existing() => {
                Err(StoreError::Exists(id.clone(), self.dir.clone()))
            }
            other => Ok(other?),
        }
    }

    /// Finds a token; `None` if there is none.
    ///
    /// # Errors
    /// Its file cannot be read, or is no such Secret.
    pub fn find(&self, id: &TokenId) -> Result<Option<Record>, StoreError> {
        let path = self.path(id);
        match file::read(&path, MAX_FILE) {
            Ok(text) => parse(&text, &path).map(Some),
            Err(fault) if fault.is_missing() => Ok(None),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Lists all tokens by ID; a file that is broken is an entry of its own. An absent directory is
    /// empty.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Result<Record, StoreError>>, StoreError> {
        let fault = |source| FileFault::new("read the directory", &self.dir, source);
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault(error).into()),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.map_err(fault)?.file_name();
            let id = name.to_str().and_then(|name| {
                let name = name.strip_suffix(SUFFIX)?;
                name.strip_prefix("bootstrap-token-")?.parse().ok()
            });
            ids.extend(id);
            if ids.len() > MAX_TOKENS {
                return Err(StoreError::TooMany(self.dir.clone()));
            }
        }
        ids.sort();
        // One that was deleted in between is not there.
        let records = ids
            .iter()
            .filter_map(|id: &TokenId| self.find(id).transpose());
        Ok(records.collect())
    }

    /// Deletes a token, and its file even if it is broken.
    ///
    /// # Errors
    /// There is none, or its file cannot be removed.
    pub fn delete(&self, id: &TokenId) -> Result<(), StoreError> {
        match file::remove(&self.path(id)) {
            Err(fault) if fault.is_missing() => Err(self.unknown(id)),
            other => Ok(other?),
        }
    }

    /// Sets the end of a token.
    ///
    /// # Errors
    /// There is none, or its file cannot be read or replaced.
    pub fn set_expiry(&self, id: &TokenId, expiry: Expiry) -> Result<Record, StoreError> {
        let mut record = self.find(id)?.ok_or_else(|| self.unknown(id))?;
        record.expiry = expiry;
        file::replace(&self.path(id), render(&record).as_bytes(), Mode::Secret)?;
        Ok(record)
    }

    /// Deletes what has expired, as Kubernetes' token cleaner does; broken files stay.
    ///
    /// # Errors
    /// The directory cannot be read, or a file not be removed.
    pub fn delete_expired(&self, now: SystemTime) -> Result<Vec<TokenId>, StoreError> {
        let mut deleted = Vec::new();
        for record in self.list()?.into_iter().flatten() {
            if record.expiry.is_over(now) {
                self.delete(&record.token.id)?;
                deleted.push(record.token.id);
            }
        }
        Ok(deleted)
    }

    fn path(&self, id: &TokenId) -> PathBuf {
        // An ID has letters and digits only, so it cannot lead elsewhere.
        self.dir.join(format!("{}{SUFFIX}", secret_name(id)))
    }

    fn unknown(&self, id: &TokenId) -> StoreError {
        StoreError::Unknown(id.clone(), self.dir.clone())
    }
}

/// Writes the Secret. JSON strings are YAML strings.
fn render(record: &Record) -> Zeroizing<String> {
    let name = secret_name(&record.token.id);
    let mut text = Zeroizing::new(format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  namespace: kube-system\n\
         type: {SECRET_TYPE}\nstringData:\n"
    ));
    for (key, value) in record.to_data() {
        let value = serde_json::Value::from(value.as_str());
        text.push_str(&format!("  {key}: {value}\n"));
    }
    text
}

/// Reads a Secret: `data` in base64, over which `stringData` wins.
fn parse(text: &str, path: &Path) -> Result<Record, StoreError> {
    let syntax = |message: String| StoreError::Syntax(path.to_owned(), message);
    let secret: Secret = serde_saphyr::from_str_with_options(text, crate::yaml::options())
        // The parser's words may quote a value; its place does not.
        .map_err(|error| match error.location() {
            Some(place) => syntax(format!("line {}, column {}", place.line(), place.column())),
            None => syntax("the whole document".to_owned()),
        })?;
    let mut data = BTreeMap::new();
    for (key, value) in &secret.data {
        let bytes = BASE64
            .decode(value.as_bytes())
            .map_err(|_| syntax("data is not base64".to_owned()))?;
        data.insert(key.clone(), Zeroizing::new(bytes));
    }
    for (key, value) in &secret.string_data {
        data.insert(key.clone(), Zeroizing::new(value.as_bytes().to_vec()));
    }
    Record::from_secret(&secret.metadata.name, &secret.secret_type, &data)
        .map_err(|problem| StoreError::Record(path.to_owned(), problem))
}

/// What the store makes of any text, for tests.
#[cfg(test)]
pub(super) fn parse_any(text: &str) -> Result<Record, StoreError> {
    parse(text, Path::new("secret.yaml"))
}

/// Says whether a text is a token's Secret; panics if it is another one after it was written again.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    let path = Path::new("secret.yaml");
    let Ok(record) = parse(text, path) else {
        return false;
    };
    let again = parse(&render(&record), path);
    let same = again.is_ok_and(|again| {
        let token = again.token.expose() == record.token.expose();
        let ends = match (&again.expiry, &record.expiry) {
            // A fraction of a second is not written.
            (Expiry::At(one), Expiry::At(other)) => one.unix_timestamp() == other.unix_timestamp(),
            (one, other) => one == other,
        };
        token && ends && again.groups == record.groups && again.bound == record.bound
    });
    assert!(same, "another one when it was written again");
    true
}
