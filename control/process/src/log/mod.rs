//! Sets up logging: text on a terminal, JSON lines otherwise, always on standard error.
//!
//! Standard output belongs to what a command prints and to an audit log of `-`. No event carries a
//! key, a token, a query or a body: callers log names, addresses, labels and error messages only.
//!
//! Who logs never waits and never fails: a line goes to an `Output`, which a thread of its own writes. One that
//! does not fit there is lost and counted, and the log says how many as soon as it can.

mod line;

use crate::output::limits::{LAST_LOG, LOG_ROOM};
use crate::output::{Output, Pending, Rank, Settings, Target};
use clap::ValueEnum;
use parking_lot::Mutex;
use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::time::SystemTime;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;
use tracing_subscriber::util::TryInitError;

/// The environment variable that sets the level where `--log-level` does not.
pub const LEVEL_VARIABLE: &str = "EYESPLICE_LOG";

/// The level where neither flag nor variable says one.
pub const DEFAULT_LEVEL: &str = "info";

/// The log of the process, once it is set up.
static LOG: OnceLock<(Format, Output)> = OnceLock::new();

/// Its thread, before it begins.
static PENDING: Mutex<Option<Pending>> = Mutex::new(None);

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One human-readable line per event.
    Text,
    /// One JSON object per event and line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level does not parse.
    #[error(
        "log level {level:?} is not valid; use error, warn, info, debug or trace, or a list such as \
         info,eyesplice=debug"
    )]
    Level {
        /// What was given.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The thread that writes could not be started.
    #[error("cannot start to log to standard error; check the limits of threads and open files")]
    Start(#[source] io::Error),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice(#[source] TryInitError),
}

/// The log while it is in use. What waits when it is dropped is written, as far as that takes no longer than a
/// moment.
#[derive(Debug)]
#[must_use = "the last lines are written when this is dropped"]
pub struct Log(());

impl Drop for Log {
    fn drop(&mut self) {
        // A process that ended early has not begun to write.
        let begun = begin();
        if let (Some(output), Ok(())) = (output(), begun) {
            output.finish(LAST_LOG);
        }
    }
}

/// Installs the process's logger. Lines wait until [`begin`]: a process that confines itself has no
/// thread before.
///
/// # Errors
/// A level that does not parse, a closed standard error, or a second call.
pub fn init(format: Option<Format>, level: &str) -> Result<Log, LogError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = filter(level)?;
    let format = format.unwrap_or_else(default_format);
    let target = Target::stderr().map_err(LogError::Start)?;
    let (output, pending) = Output::waiting(target, SETTINGS);
    if LOG.set((format, output)).is_ok() {
        *PENDING.lock() = Some(pending);
    }
    // What the subscriber says of its own errors it prints, and a print that fails panics; ours do not fail.
    let builder = fmt()
        .with_env_filter(filter)
        .log_internal_errors(false)
        .with_writer(|| Lines);
    match format {
        Format::Text => builder
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .finish()
            .try_init(),
        Format::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .finish()
            .try_init(),
    }
    .map_err(LogError::Twice)?;
    Ok(Log(()))
}

/// Starts the thread that writes the log, once; nothing without a log.
///
/// # Errors
/// The limit of threads.
pub fn begin() -> Result<(), LogError> {
    let pending = PENDING.lock().take();
    pending
        .map_or(Ok(()), Pending::begin)
        .map_err(LogError::Start)
}

/// Logs panics as errors, in the format of the log. The hook goes past the subscriber: a panic in a hook aborts the
/// process with all its streams, and what panicked may be an event's own text.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let Some((format, output)) = LOG.get() else {
            return;
        };
        let place = panic.location().map(ToString::to_string);
        let cause = panic.payload_as_str();
        let thread = std::thread::current();
        let fields = [
            ("place", place.into()),
            ("cause", cause.into()),
            ("thread", thread.name().into()),
        ];
        let now = SystemTime::now();
        let line = line::line(*format, now, "ERROR", "panic; this is a bug", &fields);
        output.push(line.as_bytes(), Rank::Ordinary);
    }));
}

/// The log's output, once there is one.
pub(crate) fn output() -> Option<Output> {
    LOG.get().map(|(_, output)| output.clone())
}

const SETTINGS: Settings = Settings {
    name: "log",
    room: LOG_ROOM,
    reserve: 0,
    gap,
    // Where the log fails, nobody can be told by the log: see metrics and livez.
    tell: |_| {},
};

/// The line that says how many are missing.
fn gap(lost: u64, why: &str) -> Vec<u8> {
    let format = LOG.get().map_or(Format::Text, |(format, _)| *format);
    let fields = [("lines", lost.into()), ("reason", why.into())];
    let now = SystemTime::now();
    let message = format!("{lost} log lines lost ({why})");
    line::line(format, now, "WARN", &message, &fields).into_bytes()
}

/// What the subscriber writes to: a whole event at a time.
struct Lines;

impl io::Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some((_, output)) = LOG.get() {
            output.push(event, Rank::Ordinary);
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parses a level or a list of `target=level`.
///
/// # Errors
/// What does not parse, in words.
pub fn filter(level: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(level)
        .map_err(|source| LogError::Level {
            level: level.to_owned(),
            source,
        })
}

fn default_format() -> Format {
    if io::stderr().is_terminal() {
        Format::Text
    } else {
        Format::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_level_or_list_is_accepted() {
        for level in ["error", "info", "trace", "info,eyesplice=debug", "off"] {
            assert!(filter(level).is_ok(), "{level}");
        }
    }

    #[test]
    fn filter_nonsense_names_the_remedy() {
        let error = filter("eyesplice=loud").unwrap_err().to_string();
        assert!(error.contains("eyesplice=loud"), "{error}");
        assert!(
            error.contains("use error, warn, info, debug or trace"),
            "{error}"
        );
    }
}
