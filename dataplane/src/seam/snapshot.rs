//! What control publishes to the workers: one immutable, numbered value behind an atomic swap.

use super::{AgentDuties, ListenerName, Peer, TunnelLimits};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The configuration in force for streams that begin now.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every published change.
    pub generation: u64,
    /// TLS of each TCP listener, by name: mutual, the client CA is required.
    pub listener_tls: HashMap<ListenerName, DownstreamTls>,
    /// UNIX listeners by name: the uids that may connect; absent or empty means any.
    pub allowed_uids: HashMap<ListenerName, Arc<[u32]>>,
    /// Limits before a verdict exists.
    pub admission: AdmissionLimits,
    /// Of a gateway that takes agents.
    pub tunnel: Option<TunnelLimits>,
    /// Of an agent.
    pub agent: Option<Arc<AgentDuties>>,
}

impl Snapshot {
    /// Why a UNIX peer may not use a listener, if it may not.
    pub(crate) fn unwelcome(&self, listener: &ListenerName, peer: &Peer) -> Option<String> {
        let Peer::Unix { uid, .. } = peer else {
            return None;
        };
        let allowed = self.allowed_uids.get(listener)?;
        (!allowed.is_empty() && !allowed.contains(uid)).then(|| {
            format!("uid {uid} may not use listener {listener}; see listeners.unix.allowedUIDs")
        })
    }
}

/// A TLS server towards the downstream: of a TCP listener, or of a leaf.
#[derive(Clone, Debug)]
pub struct DownstreamTls {
    /// Serving certificate and client verifier.
    pub config: Arc<ServerConfig>,
    /// That verifier once more, which judges the clients of resumed sessions: rustls does not. Without
    /// it a session that a client resumes all the same fails.
    pub clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// A server that resumes no session.
impl From<Arc<ServerConfig>> for DownstreamTls {
    fn from(config: Arc<ServerConfig>) -> Self {
        Self {
            config,
            clients: None,
        }
    }
}

/// Limits that hold before a verdict exists. All counts are for the process; each worker
/// holds its share, save for handshakes, which the workers count together.
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Streams in all. A connection over TCP is one when its handshake proved a client.
    pub max_streams: usize,
    /// Streams of one peer (TCP address or UNIX uid).
    pub max_streams_per_peer: usize,
    /// Streams that are dialling or waiting for a verdict.
    pub max_pending: usize,
    /// Connections over TCP on which nobody has authenticated yet; no part of `max_streams`.
    pub max_unauthenticated: usize,
    /// TLS handshakes of listeners that may begin per second.
    pub max_handshakes_per_second: u32,
    /// Those of one address (IPv6: of one /64) from which nobody has authenticated lately.
    pub max_handshakes_per_second_per_address: u32,
    /// From accept to the end of the listener's own TLS handshake.
    pub handshake_timeout: Duration,
    /// From accept (or end of handshake) to the end of the CONNECT head.
    pub head_timeout: Duration,
    /// How long control may think.
    pub admit_timeout: Duration,
}

/// The atomic swap that workers read on every accept.
#[derive(Debug)]
pub struct SnapshotCell {
    current: ArcSwap<Snapshot>,
    /// Tells the workers of a new one: connections that wait for a request end.
    published: watch::Sender<u64>,
}

impl SnapshotCell {
    /// Starts with a first snapshot.
    pub fn new(first: Snapshot) -> Self {
        let (published, _) = watch::channel(first.generation);
        Self {
            current: ArcSwap::from_pointee(first),
            published,
        }
    }

    /// Puts a new snapshot in force for the streams that begin from now on, and for the next request of
    /// those that carry requests.
    pub fn publish(&self, next: Snapshot) {
        let generation = next.generation;
        self.current.store(Arc::new(next));
        self.published.send_replace(generation);
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Changes with every snapshot that is published.
    pub(crate) fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unwelcome_uid_is_told_where_the_list_is() {
        let second = Duration::from_secs(1);
        let snapshot = Snapshot {
            generation: 1,
            listener_tls: HashMap::new(),
            allowed_uids: HashMap::from([("uds".into(), [0].into()), ("any".into(), [].into())]),
            admission: AdmissionLimits {
                max_streams: 1,
                max_streams_per_peer: 1,
                max_pending: 1,
                max_unauthenticated: 1,
                max_handshakes_per_second: 1,
                max_handshakes_per_second_per_address: 1,
                handshake_timeout: second,
                head_timeout: second,
                admit_timeout: second,
            },
            tunnel: None,
            agent: None,
        };
        let peer = |uid| Peer::Unix {
            pid: 1,
            uid,
            gid: 7,
        };
        let words = snapshot.unwelcome(&"uds".into(), &peer(7)).unwrap();
        assert_eq!(
            words,
            "uid 7 may not use listener uds; see listeners.unix.allowedUIDs"
        );
        assert_eq!(snapshot.unwelcome(&"uds".into(), &peer(0)), None);
        assert_eq!(snapshot.unwelcome(&"any".into(), &peer(7)), None);
        assert_eq!(snapshot.unwelcome(&"new".into(), &peer(7)), None);
    }
}
