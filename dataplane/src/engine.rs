//! The engine's outside: start the workers, watch their counters, drain, stop.

pub use crate::accept::listeners::Listeners;
pub use crate::config::{Bind, COALESCE, EngineConfig, KtlsPolicy, ListenerConfig, Role};
pub use crate::error::StartError;

use crate::accept::departure::Departure;
use crate::accept::gate::Gate;
use crate::accept::placement::Placement;
use crate::accept::run::{Command, WorkerParts};
use crate::agents::Agents;
use crate::backend::{self, IoChoice};
use crate::cipher::{self, Choice};
use crate::counters::{CounterTotals, WorkerCounters};
use crate::crew::Crew;
use crate::ktls::{Ktls, supported_ciphers};
use crate::liveness::Liveness;
use crate::seam::{AgentStatus, Control, GatewayStatus, ListenerName, SnapshotCell, StreamRecord};
use eyesplice_sys::socket::SocketFile;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// A running engine.
pub struct Engine {
    crew: Crew,
    counters: Vec<Arc<WorkerCounters>>,
    tcp_addresses: Vec<(ListenerName, SocketAddr)>,
    cipher: Choice,
    io: IoChoice,
    tunnels: Tunnels,
    /// Removed when the engine ends, unless another process has the sockets.
    socket_files: Vec<SocketFile>,
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
        let cipher = cipher::choose(config.crypto);
        let io = backend::choose(config.io);
        let (command, _) = watch::channel(Command::Run);
        let gate = Arc::new(Gate::new());
        let agents = Agents::new(Arc::clone(&gate) as _).map_err(|_| StartError::Random)?;
        let mut engine = Self {
            crew: Crew {
                threads: Vec::new(),
                command: Arc::new(command),
                died: Arc::default(),
            },
            counters: Vec::new(),
            tcp_addresses: bound.tcp_addresses,
            cipher,
            io,
            tunnels: Tunnels(Arc::new(agents)),
            socket_files: bound.socket_files,
        };
        // Whatever fails below drops these before the engine, which ends the threads that did start.
        let starts = engine.crew.start(workers, engine.io.backend)?;
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
        let workers = starts.len();
        let queues = arrivals.into_iter().zip(Departure::of(workers));
        for (index, (start, (arrivals, leaver))) in starts.into_iter().zip(queues).enumerate() {
            let counters = Arc::new(WorkerCounters::default());
            engine.counters.push(Arc::clone(&counters));
            let parts = WorkerParts {
                index: u16::try_from(index).unwrap_or(u16::MAX),
                workers,
                listeners: std::mem::take(&mut bound.per_worker[index]),
                placement: Arc::clone(&placement),
                gate: Arc::clone(&gate),
                leaver,
                agents: Arc::clone(&engine.tunnels.0),
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
                liveness: Liveness::of(&config),
                ktls: ktls.clone(),
                library: cipher.library,
            };
            start.with(parts).map_err(|source| StartError::Uring {
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

    /// What protects records in user space, and why.
    pub fn cipher(&self) -> Choice {
        self.cipher
    }

    /// What waits for descriptors.
    pub fn io(&self) -> &IoChoice {
        &self.io
    }

    /// Sums the workers' counters.
    pub fn totals(&self) -> CounterTotals {
        CounterTotals::sum(self.counters.iter().map(|counters| &**counters))
    }

    /// One worker's counters each, in order.
    pub fn workers(&self) -> &[Arc<WorkerCounters>] {
        &self.counters
    }

    /// A handle on the tunnels of this engine, which outlives it.
    pub fn tunnels(&self) -> Tunnels {
        self.tunnels.clone()
    }

    /// How the agents are that are connected to this gateway, by name.
    pub fn agents(&self) -> Vec<AgentStatus> {
        self.tunnels.agents()
    }

    /// How the gateways are that this agent holds, by name.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        self.tunnels.gateways()
    }

    /// Waits until a worker has ended that should not have: by a panic, or because its ring failed.
    /// The others go on; the process should drain and be started again.
    pub async fn worker_died(&self) {
        self.crew.died.notified().await;
    }

    /// Stops accepting, and lets live streams run until they end or `deadline` has passed; then
    /// aborts the rest (reason `drained`). Returns the number that was aborted, when all workers
    /// have ended with zero operations in flight. Blocks; call it from a blocking thread.
    pub fn drain(self, deadline: Duration) -> usize {
        self.end_within(deadline, Command::Drain)
    }

    /// As [`Engine::drain`], when another process accepts from the same sockets: their files stay,
    /// and all that was accepted is served, also what has not begun a handshake yet.
    pub fn retire(mut self, deadline: Duration) -> usize {
        self.leave_files();
        self.end_within(deadline, Command::Retire)
    }

    /// As [`Engine::retire`], when another process will accept from the same sockets: agents, which
    /// may have to come back for streams that are being opened, are accepted until all are open.
    pub fn leave(mut self, deadline: Duration) -> usize {
        self.leave_files();
        self.end_within(deadline, Command::Leave)
    }

    fn leave_files(&mut self) {
        for file in &mut self.socket_files {
            file.leave();
        }
    }

    /// The process before this one has let go of the sockets that this one has from it.
    pub fn keep_sockets(&mut self) {
        for file in &mut self.socket_files {
            file.keep();
        }
    }

    fn end_within(mut self, deadline: Duration, how: Command) -> usize {
        raise(&self.crew.command, how);
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

/// Says how the tunnels of an engine are; usable from any thread.
#[derive(Clone)]
pub struct Tunnels(Arc<Agents>);

impl Tunnels {
    /// How the agents are that are connected to this gateway, by name.
    pub fn agents(&self) -> Vec<AgentStatus> {
        self.0.registry.status()
    }

    /// How the gateways are that this agent holds, by name.
    pub fn gateways(&self) -> Vec<GatewayStatus> {
        self.0.holding.status()
    }

    /// Which gateways there are, as those that this agent is registered with say; empty if none
    /// says anything.
    pub fn told(&self) -> BTreeSet<SocketAddr> {
        self.0.holding.told()
    }

    /// Waits until that may have changed. A change between two calls may be missed.
    pub async fn news(&self) {
        self.0.holding.news().await;
    }
}

impl std::fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnels").finish_non_exhaustive()
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
