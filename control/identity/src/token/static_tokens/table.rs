//! The tokens of a file, and whose they are.

use super::csv::{self, CsvError, Field, Place};
use crate::certificate::printable;
use crate::token::BearerToken;
use crate::token::digest::{Digest, Digester};
use crate::token::file::{self, FileFault};
use crate::user::UserInfo;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fmt;
use std::path::{Path, PathBuf};

/// Largest file: ten thousand tokens with long groups.
pub(super) const MAX_FILE: u64 = 4 << 20;
/// Columns without which a record is none.
const MIN_COLUMNS: usize = 3;
/// Shortest token that is not worth a warning: 22 characters of base64 hold 128 bits.
const MIN_TOKEN: usize = 22;
/// Bytes of a name that an error repeats.
const SHOWN: usize = 64;

/// A token file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileFault),
    /// It is no CSV.
    #[error("{} is not CSV: {error}", .path.display())]
    Csv {
        /// Which.
        path: PathBuf,
        /// Where and what; part of the message, so no source of it.
        error: CsvError,
    },
    /// Records of it are wrong.
    #[error("{} {}", .path.display(), Joined(.problems))]
    Records {
        /// Which.
        path: PathBuf,
        /// All of them; never empty.
        problems: Vec<TableProblem>,
    },
}

/// A record that is wrong, by line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// It has too few columns.
    #[error("line {line}, column {column}: the record has {columns} columns; write token,user,uid")]
    Columns {
        /// Where it begins.
        line: usize,
        /// Where it begins.
        column: usize,
        /// How many it has.
        columns: usize,
    },
    /// Nobody would be authenticated as nobody.
    #[error("line {line}, column {column}: the user is empty; write a name")]
    NoUser {
        /// Where the field is.
        line: usize,
        /// Where the field is.
        column: usize,
    },
}

struct Joined<'a>(&'a [TableProblem]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// What the API server takes and an operator should know of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileWarning {
    /// It is passed over.
    #[error("line {line}, column {column}: the token is empty; the record is passed over")]
    EmptyToken {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// The last one counts.
    #[error(
        "line {line}, column {column}: the token is that of line {first}, too; the last counts"
    )]
    Duplicate {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
        /// Where it was first.
        first: usize,
    },
    /// It can be guessed.
    #[error(
        "line {line}, column {column}: the token has {length} characters, less than 128 bits; make \
         one with `eyesplice token static generate`"
    )]
    Short {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
        /// Its length.
        length: usize,
    },
    /// It never authenticates.
    #[error("line {line}, column {column}: the token has characters that no header can carry")]
    Unusable {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// A space that belongs to the group's name.
    #[error(
        "line {line}, column {column}: group {group:?} begins or ends with a space, which counts"
    )]
    Space {
        /// Where the groups are.
        line: usize,
        /// Where the groups are.
        column: usize,
        /// Which.
        group: String,
    },
    /// Groups in columns of their own.
    #[error(
        "line {line}, column {column}: the record has {columns} columns; what is behind the fourth \
         is not read; quote several groups as \"a,b\""
    )]
    Columns {
        /// Where the fifth is.
        line: usize,
        /// Where the fifth is.
        column: usize,
        /// How many.
        columns: usize,
    },
}

/// The users of a token file by token.
///
/// Tokens are kept and looked up as HMAC under a key of this process: what a lookup takes says
/// nothing of a token, and memory holds none.
pub struct StaticTokens {
    digester: Digester,
    users: HashMap<Digest, UserInfo>,
    warnings: Vec<TokenFileWarning>,
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

impl StaticTokens {
    /// Loads a token file.
    ///
    /// # Errors
    /// It cannot be read, is no CSV, or has wrong records: then nothing of it counts, as upstream.
    pub fn load(path: &Path) -> Result<Self, TokenFileError> {
        Self::parse(&file::read(path, MAX_FILE)?, path)
    }

    /// Reads the text of a token file; `path` names it in errors.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path) -> Result<Self, TokenFileError> {
        let records = csv::parse(text).map_err(|error| TokenFileError::Csv {
            path: path.to_owned(),
            error,
        })?;
        let mut reader = Reader {
            tokens: Self {
                digester: Digester::new(),
                users: HashMap::with_capacity(records.len()),
                warnings: Vec::new(),
            },
            lines: HashMap::new(),
            problems: Vec::new(),
        };
        for record in &records {
            reader.record(record);
        }
        let Reader {
            tokens, problems, ..
        } = reader;
        if problems.is_empty() {
            return Ok(tokens);
        }
        Err(TokenFileError::Records {
            path: path.to_owned(),
            problems,
        })
    }

    /// Finds the user of a token.
    pub fn find(&self, token: &BearerToken) -> Option<&UserInfo> {
        self.users.get(&self.digester.digest(&[token.expose()]))
    }

    /// What deserves attention, in the order of the file.
    pub fn warnings(&self) -> &[TokenFileWarning] {
        &self.warnings
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

struct Reader {
    tokens: StaticTokens,
    lines: HashMap<Digest, usize>,
    problems: Vec<TableProblem>,
}

impl Reader {
    fn record(&mut self, fields: &[Field]) {
        let [token, user, uid, rest @ ..] = fields else {
            let place = fields
                .first()
                .map_or(Place { line: 1, column: 1 }, |field| field.place);
            return self.problems.push(TableProblem::Columns {
                line: place.line,
                column: place.column,
                columns: fields.len().min(MIN_COLUMNS - 1),
            });
        };
        let Place { line, column } = token.place;
        if token.text.is_empty() {
            return self.warn(TokenFileWarning::EmptyToken { line, column });
        }
        if user.text.is_empty() {
            let Place { line, column } = user.place;
            return self.problems.push(TableProblem::NoUser { line, column });
        }
        if BearerToken::new(&token.text).is_err() {
            self.warn(TokenFileWarning::Unusable { line, column });
        } else if token.text.len() < MIN_TOKEN {
            let length = token.text.len();
            self.warn(TokenFileWarning::Short {
                line,
                column,
                length,
            });
        }
        let groups = rest
            .first()
            .map_or_else(Vec::new, |groups| self.groups(groups));
        if let Some(fifth) = rest.get(1) {
            let Place { line, column } = fifth.place;
            let columns = fields.len();
            self.warn(TokenFileWarning::Columns {
                line,
                column,
                columns,
            });
        }
        let digest = self.tokens.digester.digest(&[&token.text]);
        match self.lines.entry(digest) {
            Slot::Vacant(slot) => {
                slot.insert(line);
            }
            Slot::Occupied(slot) => {
                let first = *slot.get();
                self.warn(TokenFileWarning::Duplicate {
                    line,
                    column,
                    first,
                });
            }
        }
        let user = UserInfo {
            username: user.text.to_string(),
            uid: uid.text.to_string(),
            groups,
            ..UserInfo::default()
        };
        self.tokens.users.insert(digest, user);
    }

    fn groups(&mut self, field: &Field) -> Vec<String> {
        if field.text.is_empty() {
            return Vec::new();
        }
        let groups: Vec<String> = field.text.split(',').map(str::to_owned).collect();
        let Place { line, column } = field.place;
        for group in groups.iter().filter(|group| group.trim() != **group) {
            let group = printable(group, SHOWN);
            self.warn(TokenFileWarning::Space {
                line,
                column,
                group,
            });
        }
        groups
    }

    fn warn(&mut self, warning: TokenFileWarning) {
        self.tokens.warnings.push(warning);
    }
}

/// Says whether a text is a token file; panics if its records are others after they were written
/// again.
#[cfg(any(test, feature = "fuzzing"))]
pub fn check_any(text: &str) -> bool {
    // A line end within quotes is read as \n, so what was \r\r\n would be \r\n, then \n.
    if let (Ok(records), false) = (csv::parse(text), text.contains('\r')) {
        let mut again = String::new();
        for record in &records {
            for (index, field) in record.iter().enumerate() {
                if index > 0 {
                    again.push(',');
                }
                csv::write(&field.text, &mut again);
            }
            again.push('\n');
        }
        let texts = |records: &[Vec<Field>]| -> Vec<Vec<String>> {
            let texts = |record: &Vec<Field>| record.iter().map(|f| f.text.to_string()).collect();
            // A single empty field is written as an empty line, which is no record.
            let records = records
                .iter()
                .filter(|record| record.len() > 1 || !record[0].text.is_empty());
            records.map(texts).collect()
        };
        let again = csv::parse(&again).map(|again| texts(&again));
        assert_eq!(
            again,
            Ok(texts(&records)),
            "others when they were written again"
        );
    }
    StaticTokens::parse(text, Path::new("tokens.csv")).is_ok()
}
