//! How the engine is built: where it listens, for what, and with what it works.

use crate::backend::IoPolicy;
use crate::cipher::CryptoPolicy;
use crate::descriptors::Room;
use crate::seam::ListenerName;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the engine listens.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Label in logs and metrics; key into the snapshot's TLS.
    pub name: ListenerName,
    /// The address.
    pub bind: Bind,
    /// What it is for.
    pub role: Role,
}

/// What a listener is for, whatever its address is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// API servers ask for targets by CONNECT.
    #[default]
    Egress,
    /// Agents of tunnels connect here, over TCP.
    Tunnel,
    /// Clients of the Kubernetes API connect here, over TCP; a certificate is theirs to present.
    Front,
    /// Kubelets and pods connect here, over TCP, to be led to an API server; their TLS is not ours.
    ApiServer,
    /// No listener's: of the connections of an agent, on which a gateway asks for targets.
    Agent,
}

/// A listener as the connections know it that it accepted.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) name: ListenerName,
    pub(crate) role: Role,
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
    /// What waits for descriptors.
    pub io: IoPolicy,
    /// Kernel TLS.
    pub ktls: KtlsPolicy,
    /// What protects records in user space.
    pub crypto: CryptoPolicy,
    /// Pipes of 1 MiB that one worker may hold.
    pub max_pipes_per_worker: usize,
    /// What the limit of open files has room for, whatever the limits say.
    pub room: Room,
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
