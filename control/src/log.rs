//! Sets up logging: text on a terminal, JSON lines otherwise, always on standard error.
//!
//! Standard output belongs to what a command prints and to an audit log of `-`. No event carries a
//! key, a token, a query or a body: callers log names, addresses, labels and error messages only.

use clap::ValueEnum;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;
use tracing_subscriber::util::TryInitError;

/// The environment variable that sets the level where `--log-level` does not.
pub const LEVEL_VARIABLE: &str = "EYESPLICE_LOG";

/// The level where neither flag nor variable says one.
pub const DEFAULT_LEVEL: &str = "info";

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
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice(#[source] TryInitError),
}

/// Installs the process's logger.
///
/// # Errors
/// A level that does not parse, or a second call.
pub fn init(format: Option<Format>, level: &str) -> Result<(), LogError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = filter(level)?;
    let format = format.unwrap_or_else(default_format);
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
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
    .map_err(LogError::Twice)
}

/// Logs panics as errors, in the format of the log.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let cause = panic.payload_as_str();
        let thread = std::thread::current();
        tracing::error!(place, cause, thread = thread.name(), "panic; this is a bug");
    }));
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
    if std::io::stderr().is_terminal() {
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
