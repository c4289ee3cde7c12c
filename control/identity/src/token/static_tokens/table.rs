//! The tokens of a file, and whose they are.

use super::csv::{self, CsvError, Field, Place};
use crate::certificate::printable;
use crate::joined::Joined;
use crate::token::BearerToken;
use crate::token::digest::{Digest, Digester};
use crate::token::file::{self, FileFault};
use crate::user::UserInfo;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
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
    #[error("{file} is not CSV: {1}", file = .0.display())]
    Csv(PathBuf, CsvError),
    /// Records of it are wrong.
    #[error("{} {}", .0.display(), Joined(.1))]
    Records(PathBuf, Vec<TableProblem>),
}

/// A record that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// It has so many columns, which are too few.
    #[error("{0}: the record has {1} columns; write token,user,uid")]
    Columns(Place, usize),
    /// Nobody would be authenticated as nobody.
    #[error("{0}: the user is empty; write a name")]
    NoUser(Place),
}

/// What the API server takes and an operator should know of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFileWarning {
    /// It is passed over.
    #[error("{0}: the token is empty; the record is passed over")]
    EmptyToken(Place),
    /// It is there in a line before as well; the last one counts.
    #[error("{0}: the token is that of line {1}, too; the last counts")]
    Duplicate(Place, usize),
    /// It is so short that it can be guessed.
    #[error(
        "{0}: the token has {1} characters, less than 128 bits; make one with `eyesplice token static \
         generate`"
    )]
    Short(Place, usize),
    /// It never authenticates.
    #[error("{0}: the token has characters that no header can carry")]
    Unusable(Place),
    /// A space that belongs to the group's name.
    #[error("{0}: group {1:?} begins or ends with a space, which counts")]
    Space(Place, String),
    /// Groups in columns of their own; this is the fifth, of so many.
    #[error(
        "{0}: the record has {1} columns; what is behind the fourth is not read; quote several \
         groups as \"a,b\""
    )]
    Columns(Place, usize),
}

/// The users of a token file by token.
///
/// Tokens are kept and looked up as HMAC under a key of this process: what a lookup takes says
/// nothing of a token, and memory holds none.
#[derive(derive_more::Debug)]
#[debug("StaticTokens({} users)", users.len())]
pub struct StaticTokens {
    digester: Digester,
    users: HashMap<Digest, UserInfo>,
    warnings: Vec<TokenFileWarning>,
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
        let records =
            csv::parse(text).map_err(|error| TokenFileError::Csv(path.to_owned(), error))?;
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
        Err(TokenFileError::Records(path.to_owned(), problems))
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
            let columns = fields.len().min(MIN_COLUMNS - 1);
            return self.problems.push(TableProblem::Columns(place, columns));
        };
        let place = token.place;
        if token.text.is_empty() {
            return self.warn(TokenFileWarning::EmptyToken(place));
        }
        if user.text.is_empty() {
            return self.problems.push(TableProblem::NoUser(user.place));
        }
        if BearerToken::new(&token.text).is_err() {
            self.warn(TokenFileWarning::Unusable(place));
        } else if token.text.len() < MIN_TOKEN {
            self.warn(TokenFileWarning::Short(place, token.text.len()));
        }
        let groups = rest
            .first()
            .map_or_else(Vec::new, |groups| self.groups(groups));
        if let Some(fifth) = rest.get(1) {
            self.warn(TokenFileWarning::Columns(fifth.place, fields.len()));
        }
        let digest = self.tokens.digester.digest(&[&token.text]);
        match self.lines.entry(digest) {
            Slot::Vacant(slot) => {
                slot.insert(place.line);
            }
            Slot::Occupied(slot) => {
                let first = *slot.get();
                self.warn(TokenFileWarning::Duplicate(place, first));
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
        for group in groups.iter().filter(|group| group.trim() != **group) {
            let group = printable(group, SHOWN);
            self.warn(TokenFileWarning::Space(field.place, group));
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
