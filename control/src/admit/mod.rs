//! Answers the engine's one question per stream with the configuration in force.
//!
//! A worker's call returns at once. What needs neither a name server nor a new leaf is decided in it: to
//! hand a question over and its answer back costs more than the decision. The rest runs on control's
//! runtime and is dropped if the worker stops waiting. Each decision sees one [`State`] from beginning to end, and the
//! [`Connect`](eyesplice_dataplane::seam::Connect) carries its number.

mod decide;
mod deferred;
mod node;
mod refusal;

use crate::audit::Gate;
use crate::config::{Config, Transport};
use crate::leaf::LeafStore;
use crate::material::Material;
use crate::policy::Policy;
use arc_swap::ArcSwap;
use eyesplice_dataplane::seam::{
    Control, RecordKind, Snapshot, SnapshotCell, StreamRequest, Verdict,
};
use eyesplice_identity::certificate;
use eyesplice_process::resolve::{Lookup, Resolver, SystemLookup};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One configuration in force.
#[derive(Debug)]
pub struct State {
    /// Its number, from 1.
    pub generation: u64,
    /// What was configured.
    pub config: Config,
    /// What the files hold.
    pub material: Material,
    policy: Policy,
}

impl State {
    fn new(generation: u64, config: Config, material: Material, listening: &[SocketAddr]) -> Self {
        let policy = Policy::new(&config, listening);
        Self {
            generation,
            config,
            material,
            policy,
        }
    }
}

/// What came into force with [`Gatekeeper::publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The number that new streams carry.
    pub generation: u64,
    /// Fields that differ from those the process was started with and wait for a restart.
    pub restart_required: Vec<String>,
}

/// Decides on streams.
pub struct Gatekeeper {
    state: ArcSwap<State>,
    snapshots: Arc<SnapshotCell>,
    resolver: Arc<Resolver>,
    leaves: Arc<LeafStore>,
    runtime: Handle,
    audit: OnceLock<Gate>,
    /// What the engine, the admin endpoint and the audit log were started with.
    started: Config,
    /// Where this process listens, whatever is configured by now: no target.
    listening: Vec<SocketAddr>,
    /// Generations are numbered one after the other.
    publishing: Mutex<()>,
}

impl fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.state.load().generation;
        f.debug_struct("Gatekeeper")
            .field("generation", &generation)
            .finish_non_exhaustive()
    }
}

impl Gatekeeper {
    /// Puts a first configuration in force, as generation 1. Decisions run on `runtime`.
    pub fn new(config: Config, material: Material, runtime: Handle) -> Self {
        Self::listening(config, material, runtime, Vec::new())
    }

    /// As [`new`](Self::new), in a process that listens on these addresses beside those of the
    /// configuration: streams to them are denied.
    pub fn listening(
        config: Config,
        material: Material,
        runtime: Handle,
        listening: Vec<SocketAddr>,
    ) -> Self {
        let lookup = Arc::new(SystemLookup);
        Self::build(config, material, runtime, lookup, listening)
    }

    /// As [`new`](Self::new), with names from elsewhere than the system.
    pub fn with_lookup(
        config: Config,
        material: Material,
        runtime: Handle,
        lookup: Arc<dyn Lookup>,
    ) -> Self {
        Self::build(config, material, runtime, lookup, Vec::new())
    }

    fn build(
        config: Config,
        material: Material,
        runtime: Handle,
        lookup: Arc<dyn Lookup>,
        listening: Vec<SocketAddr>,
    ) -> Self {
        let started = config.clone();
        let state = State::new(1, config, material, &listening);
        let snapshots = Arc::new(SnapshotCell::new(snapshot(&state, None)));
        Self {
            state: ArcSwap::from_pointee(state),
            snapshots,
            resolver: Arc::new(Resolver::new(lookup)),
            leaves: Arc::default(),
            runtime,
            audit: OnceLock::new(),
            started,
            listening,
            publishing: Mutex::new(()),
        }
    }

    /// Takes leaves from the authority from this store.
    #[must_use]
    pub fn with_leaves(self, leaves: Arc<LeafStore>) -> Self {
        Self { leaves, ..self }
    }

    /// Lets streams begin as this gate does, from now on; only the first call counts.
    pub fn audits(&self, gate: Gate) {
        self.audit.get_or_init(|| gate);
    }

    /// What the workers read.
    pub fn snapshot_cell(&self) -> Arc<SnapshotCell> {
        Arc::clone(&self.snapshots)
    }

    /// The configuration in force.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Puts a new configuration in force for streams that begin from now on.
    pub fn publish(&self, config: Config, material: Material) -> Publication {
        let guard = self
            .publishing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let restart_required = self.started.restart_required(&config);
        let generation = self.state.load().generation + 1;
        let state = State::new(generation, config, material, &self.listening);
        let next = snapshot(&state, Some(&self.snapshots.load()));
        // Decisions first: a stream accepted under the new snapshot must not meet the old policy.
        self.state.store(Arc::new(state));
        self.snapshots.publish(next);
        drop(guard);
        Publication {
            generation,
            restart_required,
        }
    }
}

impl Control for Gatekeeper {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let (mut answer, receiver) = oneshot::channel();
        let state = self.state.load_full();
        let resolver = Arc::clone(&self.resolver);
        let leaves = Arc::clone(&self.leaves);
        let mut decision =
            Box::pin(async move { decide::decide(&state, &resolver, &leaves, &request).await });
        // What it waits for is control's: its timers, its blocking threads.
        let _entered = self.runtime.enter();
        match decision
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            // A worker that is gone needs no answer; so below.
            Poll::Ready(verdict) => drop(answer.send(verdict)),
            // Whoever polls it next is who will be woken.
            Poll::Pending => drop(self.runtime.spawn(async move {
                tokio::select! {
                    verdict = decision => drop(answer.send(verdict)),
                    () = answer.closed() => {}
                }
            })),
        }
        receiver
    }

    fn unrecorded(&self, kind: RecordKind) -> Option<String> {
        self.audit.get()?.refusal(kind)
    }

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        certificate::identify(chain)
    }
}

/// Builds what the workers see of a state.
///
/// A listener that the new configuration lacks still runs until a restart: it keeps what it had, or
/// an absent list of uids would let everybody in.
fn snapshot(state: &State, previous: Option<&Snapshot>) -> Snapshot {
    let mut listener_tls = previous
        .map(|old| old.listener_tls.clone())
        .unwrap_or_default();
    let mut allowed_uids = previous
        .map(|old| old.allowed_uids.clone())
        .unwrap_or_default();
    for (name, tls) in &state.material.listeners {
        listener_tls.insert(Arc::clone(name), tls.clone());
    }
    for listener in &state.config.listeners {
        if let Transport::Unix(unix) = &listener.transport {
            allowed_uids.insert(Arc::clone(&listener.name), Arc::clone(&unix.allowed_uids));
        }
    }
    Snapshot {
        generation: state.generation,
        listener_tls,
        allowed_uids,
        admission: state.config.admission_limits(),
    }
}

#[cfg(test)]
mod tests;
