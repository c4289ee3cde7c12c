//! The threads that a process runs on, and why it does not.

use crate::admin::BindError;
use crate::log::{self, LogError};
use crate::sandbox::SandboxError;
use crate::takeover::TakeoverError;
use nix::sys::stat::{Mode, umask};
use std::io;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

/// Threads of the runtime: no bytes of a stream pass here, and the disk has threads of its own.
const THREADS: usize = 2;

/// How long the last tasks may take to end.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// Why a process did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Configuration or files are not valid; the errors are logged.
    #[error("configuration has {0} errors; nothing was started")]
    Config(usize),
    /// The runtime could not be started.
    #[error("cannot start the threads of the process; check the limit of processes")]
    Threads(#[source] io::Error),
    /// The log's thread could not be started.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The process could not confine itself.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Signals could not be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// The admin endpoint could not be bound.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// Nothing was taken over.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// No random numbers.
    #[error("the system's random source failed; try again")]
    Random,
    /// A task that must run for ever ended: a bug.
    #[error("{0} ended by itself; this is a bug")]
    Ended(&'static str),
}

/// Runs a process on threads of this name.
///
/// # Errors
/// What kept it from starting, or stopped it; nothing stays behind.
pub fn run<E: From<ProcessError>>(
    name: &str,
    process: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    // Sockets and logs get their modes explicitly; anything else is nobody's business.
    umask(Mode::from_bits_truncate(0o077));
    log::begin().map_err(ProcessError::from)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(ProcessError::Threads)?;
    let result = runtime.block_on(process);
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

/// Runs what blocks; `what` names it where it panics.
///
/// # Errors
/// It panicked.
pub async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ProcessError> {
    let done = spawn_blocking(work).await;
    done.map_err(|_| ProcessError::Ended(what))
}
