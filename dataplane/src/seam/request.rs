//! What a listener knows of a stream before anybody has decided on it.

use eyesplice_proto::target::Target;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// The configured name of a listener, as it stands in logs and metrics.
pub type ListenerName = Arc<str>;

/// What a stream is called: no other has it, of an earlier process neither. Ordered in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{process:08x}{number:016x}")]
pub struct StreamId {
    process: u32,
    number: u64,
}

impl StreamId {
    /// Builds the id from a number that is drawn for the process, the worker's index (16 bits) and
    /// the worker's own counter (48 bits).
    pub fn new(process: u32, worker: u16, sequence: u64) -> Self {
        Self {
            process,
            number: (u64::from(worker) << 48) | (sequence & 0xffff_ffff_ffff),
        }
    }
}

/// Who opened the downstream leg.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A process on this host, by SO_PEERCRED.
    Unix {
        /// Process id at the time of connect(2); 0 if it lives in another pid namespace.
        pid: i32,
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
    },
    /// A TCP peer.
    Tcp {
        /// Its address.
        address: SocketAddr,
        /// The name in its verified client certificate, if the listener asks for one.
        identity: Option<Arc<str>>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { pid, uid, .. } => write!(f, "uid {uid} pid {pid}"),
            Self::Tcp {
                address,
                identity: None,
            } => write!(f, "{address}"),
            Self::Tcp {
                address,
                identity: Some(name),
            } => write!(f, "{name} at {address}"),
        }
    }
}

/// The one question that a listener asks about a stream.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// The stream's number.
    pub id: StreamId,
    /// The listener that accepted it.
    pub listener: ListenerName,
    /// Who asks.
    pub peer: Peer,
    /// What the CONNECT names, unresolved.
    pub target: Target,
    /// When it was accepted.
    pub received: SystemTime,
    /// Another gateway has passed it on, as it says: the chain of its certificate, which is empty
    /// where it presented none.
    pub hop: Option<Arc<[CertificateDer<'static>]>>,
}
