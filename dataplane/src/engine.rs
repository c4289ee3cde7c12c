//! The engine's outside: start the workers, watch their counters, drain, stop.

pub use crate::accept::listeners::Listeners;
pub use crate::config::{Bind, COALESCE, EngineConfig, KtlsPolicy, ListenerConfig, Role};
pub use crate::error::StartError;

use crate::accept::gate::Gate;
use crate::accept::placement::Placement;
use crate::accept::worker::{Command, WorkerParts};
use crate::counters::{CounterTotals, WorkerCounters};
use crate::ktls::{Ktls, supported_ciphers};
use crate::liveness::Liveness;
use crate::rings::Crew;
use crate::seam::{Control, ListenerName, SnapshotCell, StreamRecord};
use eyesplice_sys::socket::SocketFile;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A running engine.
pub struct Engine {
    crew: Crew,
    counters: Vec<Arc<WorkerCounters>>,
    tcp_addresses: Vec<(ListenerName, SocketAddr)>,
    /// Removes the socket files when the engine ends.
    _socket_files: Vec<SocketFile>,
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
            crew: Crew {
                threads: Vec::new(),
                command: Arc::new(command),
                died: Arc::default(),
            },
            counters: Vec::new(),
            tcp_addresses: bound.tcp_addresses,
            _socket_files: bound.socket_files,
        };
        // Whatever fails below drops these before the engine, which ends the threads that did start.
        let starts = engine.crew.start(workers)?;
        // Listening sockets of workers that have no ring go to those that have.
        for (index, sockets) in bound
            .per_worker
            .split_off(starts.len())
            .into_iter()
            .enumerate()
        {
            bound.per_worker[index % starts.len()].extend(sockets);
        }
        let (placement, arrivals) = Placement::new(starts.len());
        let gate = Arc::new(Gate::new());
        let workers = starts.len();
        for (index, (start, arrivals)) in starts.into_iter().zip(arrivals).enumerate() {
            let counters = Arc::new(WorkerCounters::default());
            engine.counters.push(Arc::clone(&counters));
            let parts = WorkerParts {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                workers,
                listeners: std::mem::take(&mut bound.per_worker[index]),
                placement: Arc::clone(&placement),
                gate: Arc::clone(&gate),
                room: config.room,
                arrivals,
                control: Arc::clone(&control),
                snapshots: Arc::clone(&snapshots),
                records: records.clone(),
                counters,
                max_pipes: config
                    .max_pipes_per_worker
                    .min(config.room.pipes_per_worker),
                coalesce: config.coalesce,
                liveness: Liveness {
                    keepalive_idle: config.keepalive_idle,
                    user_timeout: config.user_timeout,
                },
                ktls: ktls.clone(),
            };
            start.with(parts).map_err(|source| StartError::Ring {
                worker: index,
                source,
            })?;
        }
        Ok(engine)
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
        self.crew.died.notified().await;
    }

    /// Stops accepting, and lets live streams run until they end or `deadline` has passed; then
    /// aborts the rest (reason `drained`). Returns the number that was aborted, when all workers
    /// have ended with zero operations in flight. Blocks; call it from a blocking thread.
    pub fn drain(mut self, deadline: Duration) -> usize {
        raise(&self.crew.command, Command::Drain);
        let until = Instant::now() + deadline;
        // `abort_handle` ends the wait through the workers, not through this thread.
        while Instant::now() < until && self.crew.threads.iter().any(|thread| !thread.is_finished())
        {
            std::thread::sleep(DRAIN_POLL.min(until.saturating_duration_since(Instant::now())));
        }
        self.end()
    }

    /// A handle that makes a running `drain` end at once; usable from any thread.
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle {
            command: Arc::clone(&self.crew.command),
        }
    }

    fn end(&mut self) -> usize {
        raise(&self.crew.command, Command::Abort);
        let mut aborted = 0;
        for thread in self.crew.threads.drain(..) {
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
            .field("workers", &self.crew.threads.len())
            .field("tcp_addresses", &self.tcp_addresses)
            .finish_non_exhaustive()
    }
}

/// How often a drain looks whether the workers have ended.
const DRAIN_POLL: Duration = Duration::from_millis(10);

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
