//! The static token file of `--token-auth-file`: `token,user,uid,"group1,group2"` per line.
//!
//! Read exactly as the API server reads it (CSV as Go has it), so that one file serves both; but
//! checked on the way, looked up without telling by its time, and reloaded without a restart.
//! Source: apiserver `pkg/authentication/token/tokenfile/tokenfile.go`.

mod csv;
mod generate;
mod table;

pub use csv::{CsvError, CsvFault, Place};
pub use generate::{Entry, EntryProblem, GenerateError, append, generate};
#[cfg(any(test, feature = "fuzzing"))]
pub use table::check_any;
pub use table::{StaticTokens, TableProblem, TokenFileError, TokenFileWarning};

#[cfg(test)]
mod tests;
