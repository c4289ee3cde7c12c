//! Answers the engine's one question per stream with the configuration in force.
//!
//! A worker's call returns at once. What needs neither a name server nor a new leaf is decided in it: to
//! hand a question over and its answer back costs more than the decision. The rest runs on control's
//! runtime and is dropped if the worker stops waiting. Each decision sees one [`State`] from beginning to end, and the
//! [`Connect`](eyesplice_dataplane::seam::Connect) carries its number.

mod answer;
mod behind;
mod decide;
mod deferred;
mod kubelet;
mod leases;
mod local;
mod members;
mod neighbours;
mod node;
mod refusal;
mod rehearse;
mod state;

pub(crate) use answer::answer;
pub(crate) use rehearse::{Reached, Rehearsal};
pub use state::State;

use crate::audit::Gate;
use crate::config::{ApiServerTransport, Config, Transport};
use crate::front;
use crate::leaf::LeafStore;
use crate::material::Material;
use arc_swap::ArcSwap;
use eyesplice_dataplane::seam::{
    AgentVerdict, ApiRequest, ApiVerdict, Control, ListenerName, RecordKind, Snapshot,
    SnapshotCell, StreamRequest, Verdict,
};
use eyesplice_identity::certificate;
use eyesplice_process::metrics::{BreakGlassAnswer, FrontReport, Table};
use eyesplice_process::resolve::{Lookup, Resolver, SystemLookup};
use kubelet::ByRules;
use local::is_local;
use neighbours::{LOOK, Neighbours};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

/// Between two looks for a configuration that has break-glass.
const NOTHING_TO_KEEP: Duration = Duration::from_secs(5);

/// What came into force with [`Gatekeeper::publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The number that new streams carry.
    pub generation: u64,
    /// Fields that differ from those the process was started with and wait for a restart.
    pub restart_required: Vec<String>,
}

/// Decides on streams.
#[derive(derive_more::Debug)]
#[debug("Gatekeeper({})", self.state.load().generation)]
pub struct Gatekeeper {
    state: ArcSwap<State>,
    snapshots: Arc<SnapshotCell>,
    resolver: Arc<Resolver>,
    leaves: Arc<LeafStore>,
    neighbours: Arc<Neighbours>,
    /// The gateways that there are by their Leases.
    known: leases::Known,
    /// Another configuration is in force, which may name other gateways.
    published: Notify,
    runtime: Handle,
    audit: OnceLock<Gate>,
    /// What the engine, the admin endpoint and the audit log were started with.
    started: Config,
    /// Where this process listens, whatever is configured by now: no target.
    listening: Vec<SocketAddr>,
    /// What fronts keep from one configuration to the next.
    fronts: front::Kept,
    /// Generations are numbered one after the other.
    publishing: Mutex<()>,
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
        let fronts = front::Kept::default();
        let neighbours = Arc::<Neighbours>::default();
        let around = (&*listening, &neighbours);
        let state = State::new(1, (config, material), around, None, &fronts);
        let snapshots = Arc::new(SnapshotCell::new(snapshot(&state, None)));
        Self {
            state: ArcSwap::from_pointee(state),
            snapshots,
            resolver: Arc::new(Resolver::new(lookup)),
            leaves: Arc::default(),
            neighbours,
            known: leases::Known::default(),
            published: Notify::new(),
            runtime,
            audit: OnceLock::new(),
            started,
            listening,
            fronts,
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

    /// Keeps up with the addresses of other gateways, for as long as it is polled.
    pub async fn keep_neighbours(self: Arc<Self>) {
        loop {
            self.look_for_neighbours().await;
            // Whichever it is, the next look is due.
            let _ = timeout(LOOK, self.published.notified()).await;
        }
    }

    async fn look_for_neighbours(&self) {
        let state = self.state.load_full();
        self.neighbours.look(&state.config, &self.resolver).await;
        // Another one may be in force by now.
        let state = self.state.load_full();
        self.neighbours
            .list(&state.config, &state.policy, &is_local);
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
        let guard = self.publishing.lock();
        let restart_required = self.started.restart_required(&config);
        let before = self.state.load_full();
        let generation = before.generation + 1;
        let (loaded, around) = ((config, material), (&*self.listening, &self.neighbours));
        let state = State::new(generation, loaded, around, Some(&before), &self.fronts);
        let next = snapshot(&state, Some(&self.snapshots.load()));
        // Decisions first: a stream accepted under the new snapshot must not meet the old policy.
        self.state.store(Arc::new(state));
        self.snapshots.publish(next);
        drop(guard);
        self.published.notify_one();
        self.known.published.notify_one();
        Publication {
            generation,
            restart_required,
        }
    }
}

impl Gatekeeper {
    /// Looks at the API servers of whatever configuration is in force, for ever, and shows how
    /// they are. Needs a runtime.
    pub async fn watch_api_servers(self: Arc<Self>, shown: Arc<Table>) {
        let resolver = Arc::clone(&self.resolver);
        let current = || Some(Arc::clone(&self.state.load().front.as_ref()?.servers));
        front::servers::watch(current, resolver, shown).await;
    }

    /// Sends audit events to the webhook of whatever configuration is in force, for ever.
    pub async fn send_events(self: Arc<Self>) {
        self.fronts.events.send().await;
    }

    /// Opens the file of audit events again, after a rotation. Returns at once.
    pub fn reopen_events(&self) {
        self.fronts.events.reopen();
    }

    /// Gives audit events that wait a last chance, at the end of the process.
    pub async fn finish_events(&self) {
        self.fronts.events.finish().await;
    }

    /// Looks at the API servers from the second place of whatever configuration is in force, for
    /// ever.
    pub async fn watch_from_vantage(self: Arc<Self>) {
        loop {
            let state = self.state.load_full();
            let pause = match &state.front {
                Some(front) => front.look_from_vantage().await,
                None => None,
            };
            drop(state);
            sleep(pause.unwrap_or(NOTHING_TO_KEEP)).await;
        }
    }

    /// Keeps up what break-glass of whatever configuration is in force would need, for ever.
    pub async fn keep_break_glass(self: Arc<Self>) {
        loop {
            let state = self.state.load_full();
            let kubelets = ByRules {
                state: &state,
                resolver: &self.resolver,
            };
            let pause = match &state.front {
                Some(front) => front.keep_break_glass(&kubelets).await,
                None => None,
            };
            drop(state);
            sleep(pause.unwrap_or(NOTHING_TO_KEEP)).await;
        }
    }

    /// Answers the admin endpoint about break-glass: how it is, or what a drill comes to.
    pub fn break_glass(&self, drill: Option<&str>) -> BreakGlassAnswer {
        let state = self.state.load();
        let front = state.front.as_ref();
        match front.and_then(|front| front.break_glass(drill)) {
            None => BreakGlassAnswer::Absent,
            Some(Ok(json)) => BreakGlassAnswer::Known(format!("{json}\n")),
            Some(Err(why)) => BreakGlassAnswer::Unclear(why),
        }
    }

    /// What metrics show of fronts.
    pub fn front_report(&self) -> FrontReport {
        self.fronts.report(self.state.load().front.as_ref())
    }

    /// How a listener leads to API servers, if it does: a listener is for what it was started for.
    fn leads(&self, state: &State, name: &ListenerName) -> Option<ApiServerTransport> {
        let of = |config: &Config| {
            let mut listeners = config.listeners.iter();
            listeners.find_map(|listener| match listener.transport {
                Transport::ApiServer(apiserver) if listener.name == *name => Some(apiserver),
                _ => None,
            })
        };
        let started = of(&self.started)?;
        Some(of(&state.config).unwrap_or(started))
    }
}

impl Control for Gatekeeper {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let state = self.state.load_full();
        let resolver = Arc::clone(&self.resolver);
        if let Some(listener) = self.leads(&state, &request.listener) {
            return answer(&self.runtime, async move {
                front::lead(state.front.as_ref(), &resolver, listener).await
            });
        }
        let leaves = Arc::clone(&self.leaves);
        answer(&self.runtime, async move {
            decide::decide(&state, &resolver, &leaves, &request).await
        })
    }

    fn judge(&self, request: ApiRequest) -> Option<oneshot::Receiver<ApiVerdict>> {
        let state = self.state.load_full();
        let resolver = Arc::clone(&self.resolver);
        Some(answer(&self.runtime, async move {
            let kubelets = ByRules {
                state: &state,
                resolver: &resolver,
            };
            front::judge(state.front.as_ref(), &resolver, &kubelets, request).await
        }))
    }

    fn unrecorded(&self, kind: RecordKind) -> Option<String> {
        self.audit.get()?.refusal(kind)
    }

    fn agent(&self, chain: &[CertificateDer<'_>]) -> AgentVerdict {
        match &self.state.load().material.grants {
            Some(grants) => grants.judge(chain),
            None => Err(refusal::no_agents()),
        }
    }

    fn gateways(&self) -> Arc<[SocketAddr]> {
        self.known.tunnels()
    }

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        certificate::identify(chain)
    }

    fn valid_until(&self, chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
        certificate::valid_until(chain)
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
        admission: state.config.parts().admission_limits(),
        tunnel: state.config.tunnel_limits(),
        agent: None,
    }
}

#[cfg(test)]
mod tests;
