//! The engine's outside: start the workers, watch their counters, drain, stop.

pub use crate::listeners::Listeners;

use crate::counters::{CounterTotals, WorkerCounters};
use crate::ktls::{Ktls, supported_ciphers};
use crate::liveness::Liveness;
use crate::placement::Placement;
use crate::seam::{Control, ListenerName, SnapshotCell, StreamRecord};
use crate::worker::{Command, Worker, WorkerParts};
use eyesplice_sys::ring::{self, RingConfig};
use eyesplice_sys::socket::SocketFile;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};

/// Where the engine listens.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Label in logs and metrics; key into the snapshot's TLS.
    pub name: ListenerName,
    /// The address.
    pub bind: Bind,
}

/// A listening address.
#[derive(Clone, Debug)]
pub enum Bind {
    /// TCP with mutual TLS, one SO_REUSEPORT socket per worker.
    Tcp(SocketAddr),
    /// A UNIX socket shared by all workers.
    Unix {
        /// File system path; a stale socket there is replaced.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Owner, if it is not to be the process's own.
        uid: Option<u32>,
        /// Group, if it is not to be the process's own.
        gid: Option<u32>,
    },
}

/// The usual [`EngineConfig::coalesce`]: nobody who reads a log notices it.
pub const COALESCE: Duration = Duration::from_millis(20);

/// When TLS of a leg moves into the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KtlsPolicy {
    /// Never.
    #[default]
    Off,
    /// Where the probe found the negotiated cipher; user space otherwise, counted.
    Auto,
    /// Always; a leg that cannot is an error.
    Require,
}

/// How the engine is built; fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Where to listen.
    pub listeners: Vec<ListenerConfig>,
    /// Kernel TLS.
    pub ktls: KtlsPolicy,
    /// Pipes of 1 MiB that one worker may hold.
    pub max_pipes_per_worker: usize,
    /// How long small reads of a steady one-way flow, a followed log, may be put off so that one
    /// read takes several; zero: never. No read is put off for more than a quarter of the time that
    /// its flow has lasted.
    pub coalesce: Duration,
    /// TCP keepalive on both legs: idle time before the first probe.
    pub keepalive_idle: Duration,
    /// A TCP peer of either leg that owes an answer, be it with its window shut, and says nothing for so
    /// long is dead. One that answers is not, however long it takes no byte.
    pub user_timeout: Duration,
}

/// A running engine.
pub struct Engine {
    threads: Vec<JoinHandle<io::Result<usize>>>,
    counters: Vec<Arc<WorkerCounters>>,
    command: Arc<watch::Sender<Command>>,
    died: Arc<Notify>,
    tcp_addresses: Vec<(ListenerName, SocketAddr)>,
    /// Removes the socket files when the engine ends.
    _socket_files: Vec<SocketFile>,
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error("listener {name} cannot listen on {address}")]
    Bind {
        /// The listener.
        name: ListenerName,
        /// Its address.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process listens there.
    #[error(
        "listener {name} cannot listen on {address}: another process does; stop it, or configure \
         another address (`ss -ltnp` names it)"
    )]
    InUse {
        /// The listener.
        name: ListenerName,
        /// Its address.
        address: SocketAddr,
    },
    /// A worker could not make its ring.
    #[error("worker {worker} cannot create its io_uring; run `eyesplice probe` for the remedy")]
    Ring {
        /// Index of the worker.
        worker: usize,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Engine {
    /// Binds all listeners and starts the workers; returns once every worker accepts.
    ///
    /// `records` receives each stream's records; when it is full, workers keep some more, and beyond
    /// they are counted as lost: no stream waits for control.
    ///
    /// # Errors
    /// The first listener that cannot be bound or worker that cannot start; nothing stays behind.
    pub fn start(
        config: EngineConfig,
        control: Arc<dyn Control>,
        snapshots: Arc<SnapshotCell>,
        records: mpsc::Sender<StreamRecord>,
    ) -> Result<Self, StartError> {
        let listeners = Listeners::bind(&config)?;
        Self::start_on(listeners, config, control, snapshots, records)
    }

    /// As [`Engine::start`], on listeners that are bound already, of the same configuration.
    ///
    /// # Errors
    /// The first worker that cannot start; nothing stays behind.
    pub fn start_on(
        listeners: Listeners,
        config: EngineConfig,
        control: Arc<dyn Control>,
        snapshots: Arc<SnapshotCell>,
        records: mpsc::Sender<StreamRecord>,
    ) -> Result<Self, StartError> {
        let workers = config.workers.max(1);
        let mut bound = listeners;
        bound.per_worker.resize_with(workers, Vec::new);
        let ktls = Ktls::new(config.ktls, supported_ciphers(config.ktls));
        let (command, _) = watch::channel(Command::Run);
        let mut engine = Self {
            threads: Vec::new(),
            counters: Vec::new(),
            command: Arc::new(command),
            died: Arc::default(),
            tcp_addresses: bound.tcp_addresses,
            _socket_files: bound.socket_files,
        };
        let (placement, arrivals) = Placement::new(workers);
        for (index, arrivals) in arrivals.into_iter().enumerate() {
            let counters = Arc::new(WorkerCounters::default());
            engine.counters.push(Arc::clone(&counters));
            let parts = WorkerParts {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                workers,
                listeners: std::mem::take(&mut bound.per_worker[index]),
                placement: Arc::clone(&placement),
                arrivals,
                control: Arc::clone(&control),
                snapshots: Arc::clone(&snapshots),
                records: records.clone(),
                counters,
                max_pipes: config.max_pipes_per_worker,
                coalesce: config.coalesce,
                liveness: Liveness {
                    keepalive_idle: config.keepalive_idle,
                    user_timeout: config.user_timeout,
                },
                ktls: ktls.clone(),
            };
            if let Err(source) = engine.start_worker(index, parts) {
                // Dropping the engine ends the workers that did start.
                return Err(StartError::Ring {
                    worker: index,
                    source,
                });
            }
        }
        Ok(engine)
    }

    fn start_worker(&mut self, index: usize, parts: WorkerParts) -> io::Result<()> {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let command = self.command.subscribe();
        let alive = Alive {
            command: self.command.subscribe(),
            died: Arc::clone(&self.died),
        };
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let _alive = alive;
                let finished =
                    ring::run(&RingConfig::default(), Worker::run(parts, ready, command))?;
                if finished.stray_ops > 0 {
                    tracing::error!(
                        worker = index,
                        operations = finished.stray_ops,
                        "worker ended with operations in flight; this is a bug"
                    );
                }
                Ok(finished.output)
            })?;
        if is_ready.recv().is_ok() {
            self.threads.push(thread);
            return Ok(());
        }
        match thread.join() {
            Ok(Err(error)) => Err(error),
            _ => Err(io::ErrorKind::Other.into()),
        }
    }

    /// The bound addresses of TCP listeners, in configuration order (port 0 is resolved).
    pub fn tcp_addresses(&self) -> Vec<(ListenerName, SocketAddr)> {
        self.tcp_addresses.clone()
    }

    /// Sums the workers' counters.
    pub fn totals(&self) -> CounterTotals {
        CounterTotals::sum(self.counters.iter().map(|counters| &**counters))
    }

    /// One worker's counters each, in order.
    pub fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.counters
    }

    /// Waits until a worker has ended that should not have: by a panic, or because its ring failed.
    /// The others go on; the process should drain and be started again.
    pub async fn worker_died(&self) {
        self.died.notified().await;
    }

    /// Stops accepting, and lets live streams run until they end or `deadline` has passed; then
    /// aborts the rest (reason `drained`). Returns the number that was aborted, when all workers
    /// have ended with zero operations in flight. Blocks; call it from a blocking thread.
    pub fn drain(mut self, deadline: Duration) -> usize {
        raise(&self.command, Command::Drain);
        let until = Instant::now() + deadline;
        // `abort_handle` ends the wait through the workers, not through this thread.
        while Instant::now() < until && self.threads.iter().any(|thread| !thread.is_finished()) {
            std::thread::sleep(DRAIN_POLL.min(until.saturating_duration_since(Instant::now())));
        }
        self.end()
    }

    /// A handle that makes a running `drain` end at once; usable from any thread.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            command: Arc::clone(&self.command),
        }
    }

    fn end(&mut self) -> usize {
        raise(&self.command, Command::Abort);
        let mut aborted = 0;
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(count)) => aborted += count,
                Ok(Err(error)) => tracing::error!(%error, "worker failed"),
                Err(_) => tracing::error!("worker panicked"),
            }
        }
        aborted
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("workers", &self.threads.len())
            .field("tcp_addresses", &self.tcp_addresses)
            .finish_non_exhaustive()
    }
}

/// How often a drain looks whether the workers have ended.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Tells when a worker ends before it was told to, however that happens.
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

fn raise(command: &watch::Sender<Command>, to: Command) {
    command.send_if_modified(|now| {
        let raised = *now < to;
        *now = (*now).max(to);
        raised
    });
}

/// Ends a drain at once: live streams are aborted as if the deadline had passed.
#[derive(Clone, Debug)]
pub struct AbortHandle {
    command: Arc<watch::Sender<Command>>,
}

impl AbortHandle {
    /// Aborts all streams of all workers.
    pub fn abort(&self) {
        raise(&self.command, Command::Abort);
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
