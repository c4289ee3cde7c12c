//! The signals that the process answers.

use std::io;
use std::pin::pin;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, SIGINT and SIGHUP, caught from the moment this exists.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// Drain, or if that runs already: end now.
    Stop(&'static str),
    /// Reload, and reopen the audit log.
    Reload,
}

impl Signals {
    /// Needs a runtime.
    ///
    /// # Errors
    /// The process may not catch signals.
    pub fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the end of `work`, unless a signal to stop comes first. SIGHUP asks `reload`.
    ///
    /// # Errors
    /// The name of the signal.
    pub async fn unless_stopped<T>(
        &mut self,
        reload: impl Fn(),
        work: impl Future<Output = T>,
    ) -> Result<T, &'static str> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                request = self.next() => match request {
                    Request::Stop(signal) => return Err(signal),
                    Request::Reload => reload(),
                },
            }
        }
    }

    async fn next(&mut self) -> Request {
        tokio::select! {
            _ = self.terminate.recv() => Request::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Request::Stop("SIGINT"),
            _ = self.hangup.recv() => Request::Reload,
        }
    }
}
