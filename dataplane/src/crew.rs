//! Starts the workers' threads, each with its ring, as many as there is locked memory for.

use crate::accept::run::{self, Command, WorkerParts};
use crate::error::StartError;
use eyesplice_sys::probe::UringShortage;
use eyesplice_sys::uring::{self, Backend, UringConfig};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot, watch};

/// How long the start tries again for memory that the kernel has not given back yet.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two tries.
const RETRY: Duration = Duration::from_millis(20);

/// The threads of workers, and how they are commanded and report.
pub(crate) struct Crew {
    pub(crate) threads: Vec<JoinHandle<io::Result<usize>>>,
    pub(crate) command: Arc<watch::Sender<Command>>,
    pub(crate) died: Arc<Notify>,
}

/// A thread with a ring that waits for what its worker is built from; dropped, it ends.
pub(crate) struct Start(oneshot::Sender<(WorkerParts, std::sync::mpsc::Sender<()>)>);

impl Start {
    /// Starts the worker, and returns when it accepts.
    pub(crate) fn with(self, parts: WorkerParts) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::Other);
        let (ready, is_ready) = std::sync::mpsc::channel();
        self.0.send((parts, ready)).map_err(|_| gone())?;
        is_ready.recv().map_err(|_| gone())
    }
}

impl Crew {
    /// Starts so many threads, each with its ring; fewer where the limit of locked memory has no
    /// room for all of them.
    pub(crate) fn start(
        &mut self,
        wanted: usize,
        backend: Backend,
    ) -> Result<Vec<Start>, StartError> {
        let mut starts = Vec::new();
        // What rings of a moment ago held, those of the probe for one, comes back late.
        let patience = Instant::now() + PATIENCE;
        while starts.len() < wanted {
            let worker = starts.len();
            match self.start_one(worker, backend) {
                Ok(start) => starts.push(start),
                Err(source) if source.kind() != io::ErrorKind::OutOfMemory => {
                    return Err(StartError::Uring { worker, source });
                }
                Err(_) if Instant::now() < patience => std::thread::sleep(RETRY),
                Err(source) if starts.is_empty() => {
                    let shortage = UringShortage::now();
                    return Err(StartError::Memory { shortage, source });
                }
                Err(_) => {
                    let shortage = UringShortage::now();
                    tracing::warn!(
                        wanted,
                        workers = worker,
                        "fewer workers than wanted: {shortage}"
                    );
                    break;
                }
            }
        }
        Ok(starts)
    }

    fn start_one(&mut self, index: usize, backend: Backend) -> io::Result<Start> {
        let (made, is_made) = std::sync::mpsc::channel();
        let (parts, received) = oneshot::channel();
        let command = self.command.subscribe();
        let (until, died) = (self.command.subscribe(), Arc::clone(&self.died));
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let config = UringConfig {
                    backend,
                    ..UringConfig::default()
                };
                let finished = uring::run(&config, async move {
                    // Only from here on: without a ring there never was a worker.
                    let _alive = Alive {
                        command: until,
                        died,
                    };
                    // The thread that made this one waits for it.
                    let _ = made.send(());
                    match received.await {
                        Ok((parts, ready)) => run::run(parts, ready, command).await,
                        Err(_) => 0,
                    }
                })?;
                if finished.stray_ops > 0 {
                    tracing::error!(
                        worker = index,
                        operations = finished.stray_ops,
                        "worker ended with operations in flight; this is a bug"
                    );
                }
                Ok(finished.output)
            })?;
        if is_made.recv().is_ok() {
            self.threads.push(thread);
            return Ok(Start(parts));
        }
        match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(io::ErrorKind::Other.into()),
        }
    }
}

/// Reports when a worker ends before it was asked to, however that happens.
struct Alive {
    command: watch::Receiver<Command>,
    died: Arc<Notify>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        if *self.command.borrow() == Command::Run {
            self.died.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worker_that_ends_unasked_is_told_and_one_that_was_asked_is_not() {
        for (command, told) in [(Command::Run, true), (Command::Drain, false)] {
            let (_sender, receiver) = watch::channel(command);
            let died = Arc::<Notify>::default();
            drop(Alive {
                command: receiver,
                died: Arc::clone(&died),
            });
            let notified = std::pin::pin!(died.notified());
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            assert_eq!(notified.poll(&mut task).is_ready(), told);
        }
    }
}
