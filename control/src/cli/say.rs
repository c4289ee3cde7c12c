//! What a command says: its result on standard output, an error on standard error, the log of a process
//! that stays.

use eyesplice_process::Exit;
use eyesplice_process::log::{self, Format, Log, LogError};
use eyesplice_proto::causes::chain;
use eyesplice_sys::signal::{Harmless, ignore};
use std::fmt::Display;
use std::io::{self, Write};

/// Begins to log, as the command line or the environment says; for a process that stays, which no stray
/// signal and no panic's own report must end.
pub(super) fn start_log(format: Option<Format>, level: Option<String>) -> Result<Log, Exit> {
    for signal in [Harmless::User1, Harmless::User2] {
        // Without it, such a signal ends the process, as it does any other.
        let _ = ignore(signal);
    }
    let level = level.or_else(|| std::env::var(log::LEVEL_VARIABLE).ok());
    let level = level.as_deref().unwrap_or(log::DEFAULT_LEVEL);
    let log = log::init(format, level).map_err(|error| {
        complain(&chain(&error));
        match error {
            LogError::Start(_) => Exit::Failure,
            LogError::Level { .. } | LogError::Twice(_) => Exit::Usage,
        }
    })?;
    log::log_panics();
    Ok(log)
}

/// Prints to standard output. A command whose result did not get there has failed, whoever closed it.
pub(super) fn print(text: &str) -> Exit {
    let mut stdout = io::stdout().lock();
    // What is left in the buffer at the end of the process would fail unseen.
    printed(
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush()),
    )
}

pub(super) fn printed(result: io::Result<()>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(error) => fail(&format!("cannot write to standard output: {error}")),
    }
}

/// Writes aligned columns, a line for each row.
pub(super) fn columns<const N: usize>(rows: &[[String; N]], gap: &str) -> Vec<String> {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        format!("{}\n", cells.join(gap).trim_end())
    };
    rows.iter().map(line).collect()
}

/// Prints what is allowed and probably not meant.
pub(super) fn warn(warnings: impl IntoIterator<Item = impl Display>) {
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
}

/// Prints why a command has failed.
pub(super) fn fail(message: &str) -> Exit {
    complain(message);
    Exit::Failure
}

/// Prints an error for the person at the terminal.
pub(super) fn complain(message: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr().lock(), "eyesplice: {message}");
}
