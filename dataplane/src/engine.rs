//! The engine's outside: start the workers, watch their counters, drain, stop.

use crate::counters::{CounterTotals, WorkerCounters};
use crate::seam::{Control, ListenerName, SnapshotCell, StreamRecord};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

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
    /// TCP keepalive on both legs: idle time before the first probe.
    pub keepalive_idle: Duration,
    /// TCP_USER_TIMEOUT on both legs: unacknowledged data for so long ends the connection.
    pub user_timeout: Duration,
}

/// A running engine.
pub struct Engine {
    // filled in by the implementation
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
        source: std::io::Error,
    },
    /// A worker could not make its ring.
    #[error("worker {worker} cannot create its io_uring; run `eyesplice probe` for the remedy")]
    Ring {
        /// Index of the worker.
        worker: usize,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl Engine {
    /// Binds all listeners and starts the workers; returns once every worker accepts.
    ///
    /// `records` receives each stream's records; when it is full, finished streams wait in their
    /// slots, so nothing is lost and live streams are not disturbed.
    ///
    /// # Errors
    /// The first listener that cannot be bound or worker that cannot start; nothing stays behind.
    pub fn start(
        config: EngineConfig,
        control: Arc<dyn Control>,
        snapshots: Arc<SnapshotCell>,
        records: mpsc::Sender<StreamRecord>,
    ) -> Result<Self, StartError> {
        todo!()
    }

    /// The bound addresses of TCP listeners, in configuration order (port 0 is resolved).
    pub fn tcp_addresses(&self) -> Vec<(ListenerName, SocketAddr)> {
        todo!()
    }

    /// Sums the workers' counters.
    pub fn totals(&self) -> CounterTotals {
        todo!()
    }

    /// One worker's counters each, in order.
    pub fn workers(&self) -> &[Arc<WorkerCounters>] {
        todo!()
    }

    /// Stops accepting, and lets live streams run until they end or `deadline` has passed; then
    /// aborts the rest (reason `drained`). Returns the number that was aborted, when all workers
    /// have ended with zero operations in flight. Blocks; call it from a blocking thread.
    pub fn drain(self, deadline: Duration) -> usize {
        todo!()
    }

    /// A handle that makes a running `drain` end at once; usable from any thread.
    pub fn abort_handle(&self) -> AbortHandle {
        todo!()
    }
}

/// Ends a drain at once: live streams are aborted as if the deadline had passed.
#[derive(Clone, Debug)]
pub struct AbortHandle {
    // filled in by the implementation
}

impl AbortHandle {
    /// Aborts all streams of all workers.
    pub fn abort(&self) {
        todo!()
    }
}
