//! What is wrong with a configuration: every mistake with its field, its place and its remedy.

use super::tree::At;
use crate::joined::Lines;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// All mistakes of one configuration file.
#[derive(Debug, thiserror::Error)]
#[error("configuration {} has {}{}", .file.display(), counted(.errors), Lines(.errors))]
pub struct ConfigErrors {
    /// The file.
    pub file: PathBuf,
    /// Never empty; in the order of the file as far as places are known.
    pub errors: Vec<ConfigError>,
}

/// One mistake.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file itself cannot be read.
    #[error("cannot read the file: {0}; check its path and permissions")]
    Read(std::io::Error),
    /// It is larger than any configuration.
    #[error("the file is larger than {limit} bytes; it is no configuration")]
    TooLarge {
        /// Most bytes that are read.
        limit: usize,
    },
    /// It is not YAML.
    #[error("{at}: not valid YAML: {message}")]
    Syntax {
        /// Where the parser gave up.
        at: At,
        /// What it says.
        message: String,
    },
    /// A field is wrong.
    #[error("{0}")]
    Field(Finding),
    /// A file that a field names cannot be used.
    #[error("{}{message}", at.known(|at| format!("{at}: ")))]
    File {
        /// Where the field stands; line 0 if nothing in the file names it.
        at: At,
        /// What is wrong with the file, which field names it, and what to do.
        message: String,
    },
}

impl ConfigError {
    fn place(&self) -> At {
        match self {
            Self::Read(_) | Self::TooLarge { .. } => At::default(),
            Self::Syntax { at, .. } | Self::File { at, .. } => *at,
            Self::Field(field) => field.at,
        }
    }
}

fn counted(errors: &[ConfigError]) -> String {
    match errors.len() {
        1 => "1 error".to_owned(),
        several => format!("{several} errors"),
    }
}

impl ConfigErrors {
    /// All errors of a file, in its order.
    pub fn new(file: &Path, mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_key(ConfigError::place);
        Self {
            file: file.to_owned(),
            errors,
        }
    }

    /// Every mistake in a line of its own, with the file.
    pub fn lines(&self) -> Vec<String> {
        let file = self.file.display();
        self.errors
            .iter()
            .map(|error| format!("{file}: {error}"))
            .collect()
    }
}

/// One field that is wrong, or that deserves a warning.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
#[display("{}{}: {what}; {fix}", self.name(), at.known(|at| format!(" ({at})")))]
pub struct Finding {
    /// The field, as in `egress.rules[2].cidrs[0]`; empty for the document itself.
    pub path: String,
    /// Where it stands; line 0 if it is missing from the file.
    pub at: At,
    /// What is wrong with it.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Finding {
    fn new(path: &str, at: At, Problem { what, fix }: Problem) -> Self {
        let path = path.to_owned();
        Self {
            path,
            at,
            what,
            fix,
        }
    }

    fn name(&self) -> &str {
        match self.path.as_str() {
            "" => "document",
            path => path,
        }
    }
}

/// What is wrong with a value, before it is known which field it belongs to.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Problem {
    /// What is wrong, and what to do.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            fix: fix.into(),
        }
    }
}

/// Collects mistakes and warnings while a file is read.
#[derive(Debug, Default)]
pub struct Report {
    errors: RefCell<Vec<ConfigError>>,
    warnings: RefCell<Vec<Finding>>,
}

impl Report {
    /// Reports a mistake of the field at `path`.
    pub fn error(&self, path: &str, at: At, problem: Problem) {
        let finding = Finding::new(path, at, problem);
        self.errors.borrow_mut().push(ConfigError::Field(finding));
    }

    /// Reports what deserves a look at the field at `path`.
    pub fn warn(&self, path: &str, at: At, problem: Problem) {
        let finding = Finding::new(path, at, problem);
        self.warnings.borrow_mut().push(finding);
    }

    /// Counts the errors so far: a reader compares it to learn whether its part was good.
    pub fn error_count(&self) -> usize {
        self.errors.borrow().len()
    }

    /// Ends the reading, with both errors and warnings, these in the order of the file.
    pub fn into_parts(self) -> (Vec<ConfigError>, Vec<Finding>) {
        let mut warnings = self.warnings.into_inner();
        warnings.sort_by_key(|warning| warning.at);
        (self.errors.into_inner(), warnings)
    }
}

/// Why a process would not start: all that is wrong, file by file; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct CheckErrors(pub Vec<ConfigErrors>);

impl From<ConfigErrors> for CheckErrors {
    fn from(errors: ConfigErrors) -> Self {
        Self(vec![errors])
    }
}
