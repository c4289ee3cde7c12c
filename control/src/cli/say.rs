//! What a command says: its result on standard output, an error on standard error, the log of a process
//! that stays.

use eyesplice_process::Exit;
use eyesplice_process::log::{self, Format, Log, LogError};
use eyesplice_proto::causes::chain;
use eyesplice_sys::signal::{Harmless, ignore};
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
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::Failure
        }
    }
}

/// Prints an error for the person at the terminal.
pub(super) fn complain(message: &str) {
    // A closed standard error leaves nobody to tell.
    let _ = writeln!(io::stderr().lock(), "eyesplice: {message}");
}
