//! Why a measurement failed.

use std::io;

/// What a measurement returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("cannot {attempted}")]
    Io {
        /// What was attempted, on what.
        attempted: String,
        /// What the system said.
        source: io::Error,
    },
    /// TLS failed or could not be configured.
    #[error("TLS failed")]
    Tls(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The engine did not start.
    #[error("engine did not start")]
    Engine(#[from] eyesplice_dataplane::engine::StartError),
    /// A proxy lost or invented bytes: the measurement is void.
    #[error("{side} received {received} payload bytes of {expected}")]
    Bytes {
        /// Who counted.
        side: &'static str,
        /// What arrived.
        received: u64,
        /// What was sent.
        expected: u64,
    },
    /// A proxy changed bytes: the measurement is void.
    #[error("{side} received other bytes than were sent, near offset {offset}")]
    Content {
        /// Who compared.
        side: &'static str,
        /// Where the difference is, to the size of one read.
        offset: u64,
    },
    /// The other side says that it sent another number of bytes than arrived.
    #[error("{side} received {received} payload bytes, and the other side sent {sent}")]
    Count {
        /// Who counted.
        side: &'static str,
        /// What arrived.
        received: u64,
        /// What the other side says.
        sent: u64,
    },
    /// A followed log lost or doubled lines: the measurement is void.
    #[error("line {received} of the log came where line {expected} belongs")]
    Lines {
        /// The number that belongs there.
        expected: u64,
        /// The one that came.
        received: u64,
    },
    /// A stream did not end in time: bytes are missing, or the proxy stands still.
    #[error("{streams} streams of {work} had not ended {seconds} s after the last operation began")]
    Stuck {
        /// How many.
        streams: usize,
        /// Of what.
        work: String,
        /// How long was waited.
        seconds: u64,
    },
    /// A run whose figures are void.
    #[error("{failures} failures, the first: {first}")]
    Void {
        /// How many.
        failures: usize,
        /// The first of them.
        first: String,
    },
    /// A peer said something that the measurement does not expect.
    #[error("{who} answered {answer:?}, expected {expected}")]
    Answer {
        /// Who spoke.
        who: &'static str,
        /// What it said.
        answer: String,
        /// What it should have said.
        expected: &'static str,
    },
    /// A helper process ended too early, or a thread panicked.
    #[error("{0} ended too early; its error is above")]
    Ended(&'static str),
    /// A signal came.
    #[error("interrupted by {0}; what it had started has ended, and nothing was written")]
    Interrupted(&'static str),
    /// This machine or its settings do not allow the measurement.
    #[error("{0}")]
    Unfit(String),
}

/// Says what was attempted when it failed.
pub trait Attempt<T> {
    /// Names the attempt, in the words that follow "cannot".
    ///
    /// # Errors
    /// The same failure, named.
    fn attempt(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| Error::Io {
            attempted: what.into(),
            source: source.into(),
        })
    }
}
