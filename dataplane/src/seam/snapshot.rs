//! What control publishes to the workers: one immutable, numbered value behind an atomic swap.

use super::ListenerName;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The configuration in force for streams that begin now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every published change.
    pub generation: u64,
    /// TLS of each TCP listener, by name.
    pub listener_tls: HashMap<ListenerName, ListenerTls>,
    /// UNIX listeners by name: the uids that may connect; absent or empty means any.
    pub allowed_uids: HashMap<ListenerName, Arc<[u32]>>,
    /// Limits before a verdict exists.
    pub admission: AdmissionLimits,
}

/// TLS of one TCP listener: mutual, the client CA is required.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Serving certificate and client verifier.
    pub config: Arc<ServerConfig>,
}

/// Limits that hold before a verdict exists. All counts are for the process; each worker
/// holds its share.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Streams in all.
    pub max_streams: usize,
    /// Streams of one peer (TCP address or UNIX uid).
    pub max_streams_per_peer: usize,
    /// Streams that are dialling or waiting for a verdict.
    pub max_pending: usize,
    /// TLS handshakes that may begin per second.
    pub max_handshakes_per_second: u32,
    /// The listener's own TLS handshake.
    pub handshake_timeout: Duration,
    /// From accept (or end of handshake) to the end of the CONNECT head.
    pub head_timeout: Duration,
    /// How long control may think.
    pub admit_timeout: Duration,
}

/// The atomic swap that workers read on every accept.
#[derive(Debug)]
pub struct SnapshotCell(ArcSwap<Snapshot>);

impl SnapshotCell {
    /// Starts with a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        Self(ArcSwap::from_pointee(first))
    }

    /// Puts a new snapshot in force for the streams that begin from now on.
    pub fn publish(&self, next: Snapshot) {
        self.0.store(Arc::new(next));
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }
}
