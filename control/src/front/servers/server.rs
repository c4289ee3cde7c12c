//! One API server: where it is, and how it is.

use super::sight::{Seen, Sight};
use arc_swap::ArcSwap;
use eyesplice_dataplane::seam::Tally;
use eyesplice_identity::https::Endpoint;
use eyesplice_process::resolve::{ResolveError, Resolver};
use eyesplice_proto::target::{Host, Target};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One API server.
#[derive(Debug)]
pub(super) struct Server {
    /// In logs and metrics.
    name: String,
    target: Target,
    /// Its addresses, as they were found last; none: they never were.
    known: ArcSwap<Vec<IpAddr>>,
    /// The connections that streams and requests have to it.
    tally: Arc<Tally>,
    /// Looks in a row that failed. Before the first one it is taken for well.
    failed: AtomicU32,
    /// The same with times.
    sight: Mutex<Sight>,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// All is as it was.
    None,
    /// It is left alone from now on.
    Left,
    /// It is well again.
    Back,
}

impl Server {
    /// Takes an API server by its address; nothing if that is no host's, which an endpoint never
    /// is.
    pub(super) fn new(endpoint: &Endpoint) -> Option<Self> {
        let host: Host = endpoint.host.parse().ok()?;
        let known = match host {
            Host::Ip(ip) => vec![ip],
            Host::Name(_) => Vec::new(),
        };
        Some(Self {
            name: endpoint.to_string(),
            target: Target {
                host,
                port: endpoint.port,
            },
            known: ArcSwap::from_pointee(known),
            tally: Arc::default(),
            failed: AtomicU32::new(0),
            sight: Mutex::default(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn host(&self) -> &Host {
        &self.target.host
    }

    pub(super) fn port(&self) -> u16 {
        self.target.port
    }

    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.target == other.target
    }

    /// Looks its addresses up.
    pub(super) async fn find(
        &self,
        resolver: &Resolver,
        deadline: Duration,
    ) -> Result<(), ResolveError> {
        if matches!(self.target.host, Host::Name(_)) {
            let found = resolver.resolve(&self.target, deadline).await?;
            self.known.store(found.into());
        }
        Ok(())
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.known.load().is_empty()
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let socket = |ip: &IpAddr| SocketAddr::new(*ip, self.target.port);
        self.known.load().iter().map(socket).collect()
    }

    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_it = |known: &IpAddr| known.to_canonical() == ip;
        address.port() == self.target.port && self.known.load().iter().any(is_it)
    }

    /// Looks in a row that failed.
    pub(super) fn failed(&self) -> u32 {
        self.failed.load(Ordering::Relaxed)
    }

    /// How it looked from here.
    pub(super) fn sight(&self) -> Sight {
        let sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        sight.clone()
    }

    /// Notes when it looked how.
    pub(super) fn saw(&self, seen: Seen, now: Instant) {
        let mut sight = self.sight.lock().unwrap_or_else(PoisonError::into_inner);
        sight.see(seen, now);
    }

    /// Notes what a look found; after so many `failures` it is left alone.
    pub(super) fn looked(&self, well: bool, failures: u32) -> Change {
        let before = self.failed();
        let now = if well { 0 } else { before.saturating_add(1) };
        self.failed.store(now, Ordering::Relaxed);
        match (before < failures, now < failures) {
            (true, false) => Change::Left,
            (false, true) => Change::Back,
            (true, true) | (false, false) => Change::None,
        }
    }
}
