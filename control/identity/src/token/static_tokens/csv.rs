//! CSV as Go's `encoding/csv` reads it with `FieldsPerRecord = -1`.
//!
//! RFC 4180 with these rules: a field that does not begin with a quote may hold none; in a quoted
//! field a quote is doubled, and commas and line ends are text; `\r\n` is one line end, also within
//! quotes; empty lines are skipped; nothing is trimmed; there are no comments.

use zeroize::Zeroizing;

/// Where text of a file begins, both from 1. Columns are bytes, as Go counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
#[display("line {line}, column {column}")]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The byte in the line.
    pub column: usize,
}

/// One field.
#[derive(Clone)]
pub(super) struct Field {
    pub(super) text: Zeroizing<String>,
    pub(super) place: Place,
}

/// Text that is no CSV. It quotes nothing: the file is full of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct CsvError {
    /// The line, from 1.
    pub line: usize,
    /// The byte in the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: CsvFault,
}

/// What is wrong with CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum CsvFault {
    /// A quote stands in a field that does not begin with one.
    #[display("a quote in an unquoted field; quote the whole field, and double it")]
    BareQuote,
    /// Text stands behind a closing quote.
    #[display("text behind a closing quote; double a quote that is meant")]
    BehindQuote,
    /// A quoted field does not end.
    #[display("a quoted field that does not end; close it with a quote")]
    OpenQuote,
}

/// Reads all records; each has at least one field.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Field>>, CsvError> {
    let mut reader = Reader {
        // A `\r` behind the last line is dropped, as Go does.
        rest: text.strip_suffix('\r').unwrap_or(text),
        place: Place { line: 1, column: 1 },
    };
    let mut records = Vec::new();
    while !reader.rest.is_empty() {
        if reader.line_end().is_some() {
            continue;
        }
        records.push(reader.record()?);
    }
    Ok(records)
}

struct Reader<'a> {
    rest: &'a str,
    place: Place,
}

impl Reader<'_> {
    fn record(&mut self) -> Result<Vec<Field>, CsvError> {
        let mut fields = Vec::new();
        loop {
            let place = self.place;
            let text = if self.rest.starts_with('"') {
                self.quoted()?
            } else {
                self.plain()?
            };
            fields.push(Field { text, place });
            if self.rest.starts_with(',') {
                self.advance(1);
            } else {
                // The line's end, or the file's.
                self.line_end();
                return Ok(fields);
            }
        }
    }

    fn plain(&mut self) -> Result<Zeroizing<String>, CsvError> {
        let line = self.rest.split('\n').next().unwrap_or_default();
        let line = if line.len() < self.rest.len() {
            line.strip_suffix('\r').unwrap_or(line)
        } else {
            line
        };
        let text = line.split(',').next().unwrap_or_default();
        if let Some(quote) = text.find('"') {
            return Err(self.fault(CsvFault::BareQuote, quote));
        }
        let text = Zeroizing::new(text.to_owned());
        self.advance(text.len());
        Ok(text)
    }

    fn quoted(&mut self) -> Result<Zeroizing<String>, CsvError> {
        self.advance(1);
        let mut text = Zeroizing::new(String::with_capacity(64));
        loop {
            let plain = self.rest.find(['"', '\n', '\r']).unwrap_or(self.rest.len());
            text.push_str(&self.rest[..plain]);
            self.advance(plain);
            if self.line_end().is_some() {
                text.push('\n');
            } else if self.rest.starts_with('\r') {
                text.push('\r');
                self.advance(1);
            } else if self.rest.starts_with("\"\"") {
                text.push('"');
                self.advance(2);
            } else if self.rest.starts_with('"') {
                self.advance(1);
                let ends = self.rest.is_empty() || self.rest.starts_with([',', '\n']);
                if ends || self.rest.starts_with("\r\n") {
                    return Ok(text);
                }
                return Err(self.fault(CsvFault::BehindQuote, 0));
            } else {
                return Err(self.fault(CsvFault::OpenQuote, 0));
            }
        }
    }

    /// Takes a line end, if there is one.
    fn line_end(&mut self) -> Option<()> {
        let length = ["\n", "\r\n"]
            .iter()
            .find(|end| self.rest.starts_with(**end))?
            .len();
        self.rest = &self.rest[length..];
        self.place = Place {
            line: self.place.line + 1,
            column: 1,
        };
        Some(())
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.place.column += bytes;
    }

    fn fault(&self, fault: CsvFault, ahead: usize) -> CsvError {
        CsvError {
            line: self.place.line,
            column: self.place.column + ahead,
            fault,
        }
    }
}

/// Writes a field, quoted where it must be.
pub(super) fn write(field: &str, out: &mut String) {
    if !field.contains(['"', ',', '\n', '\r']) && !field.starts_with(' ') {
        out.push_str(field);
        return;
    }
    out.push('"');
    for c in field.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    out.push('"');
}
