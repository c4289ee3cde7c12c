//! Keeps up with which gateways there are, and says which of them the agent holds.
//!
//! Names are resolved again and again, and each address of a name is a gateway of its own. A name
//! that cannot be resolved keeps the addresses that it had. Of all gateways each agent ranks its
//! own by a hash of both names, so that agents spread over gateways, and keep theirs when others
//! come and go.
//!
//! With a proxy on the way out names are the proxy's to resolve, so that each is one gateway, and
//! the proxy's own name is resolved here.
//!
//! Gateways that follow their Leases say with each ping which ones there are. As long as none of
//! those that are held says anything, what was said last stays.

use super::control::{AgentControl, State};
use crate::config::{Gateways, InnerTls};
use crate::policy::builtin_denial;
use eyesplice_dataplane::engine::Tunnels;
use eyesplice_dataplane::seam::{AgentDuties, GatewayPeer, GatewayWay, Snapshot, SnapshotCell};
use eyesplice_process::BUILD;
use eyesplice_process::metrics::Metrics;
use eyesplice_proto::causes::chain;
use eyesplice_proto::target::{Host, Target};
use eyesplice_proto::tunnel;
use rustls::pki_types::ServerName;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Between two looks at the names: a gateway that comes late is found within a minute, and so is
/// held.
const LOOK: Duration = Duration::from_secs(30);

/// How long the answer to a name may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of one name that are gateways.
const MAX_ADDRESSES: usize = 256;

/// Between two tries of one gateway: the first, and the longest. Each is drawn up to its bound.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// The listener of its streams in audit and metrics.
const LISTENER: &str = "tunnel";

/// Which gateways there are, and which are held.
#[derive(Debug)]
pub(super) struct Membership {
    control: Arc<AgentControl>,
    snapshots: Arc<SnapshotCell>,
    metrics: Arc<Metrics>,
    /// Tells this process from others of its identity.
    instance: [u8; 16],
    known: Mutex<Known>,
    wake: Notify,
}

/// What was found out.
#[derive(Debug, Default)]
struct Known {
    /// Of names of gateways, or of the proxy, as they were resolved last.
    addresses: HashMap<Target, Vec<SocketAddr>>,
    /// Why a name was not resolved the last time.
    errors: HashMap<Target, String>,
    /// By gateways that are held.
    told: Vec<SocketAddr>,
    held: Vec<Arc<GatewayPeer>>,
}

impl Membership {
    /// Begins with the gateways that are given by address.
    pub(super) fn new(
        control: Arc<AgentControl>,
        metrics: Arc<Metrics>,
        instance: [u8; 16],
    ) -> Arc<Self> {
        let state = control.state();
        let held = hold(&state, &candidates(&state, &Known::default()), &[]);
        let duties = duties(&state, &held, instance);
        let snapshots = Arc::new(SnapshotCell::new(snapshot(1, &state, duties)));
        metrics.generations.published(&snapshots.load());
        tell(&held);
        Arc::new(Self {
            control,
            snapshots,
            metrics,
            instance,
            known: Mutex::new(Known {
                held,
                ..Known::default()
            }),
            wake: Notify::new(),
        })
    }

    /// What the workers read.
    pub(super) fn snapshot_cell(&self) -> Arc<SnapshotCell> {
        Arc::clone(&self.snapshots)
    }

    /// Puts the configuration in force also before the engine, and has names resolved at once.
    pub(super) fn reloaded(&self) {
        self.publish(&mut self.known(), true);
        self.wake.notify_one();
    }

    /// Looks at the names, and hears what gateways say, for as long as the process runs.
    pub(super) async fn keep(self: Arc<Self>, tunnels: Tunnels) {
        loop {
            self.hear(&tunnels.told());
            self.look().await;
            let due = Instant::now() + LOOK;
            loop {
                tokio::select! {
                    () = tunnels.news() => self.hear(&tunnels.told()),
                    () = self.wake.notified() => break,
                    () = sleep_until(due) => break,
                }
            }
        }
    }

    /// Takes over what gateways say of each other; nothing if none says anything.
    fn hear(&self, told: &BTreeSet<SocketAddr>) {
        let mut known = self.known();
        if told.is_empty() || known.told.iter().eq(told) {
            return;
        }
        known.told = told.iter().copied().collect();
        let all: Vec<String> = told.iter().map(ToString::to_string).collect();
        tracing::info!(
            gateways = all.join(", "),
            "gateways that there are, as gateways say"
        );
        self.publish(&mut known, false);
    }

    /// Resolves every name, and publishes what that changes.
    async fn look(&self) {
        let state = self.control.state();
        let resolver = self.control.resolver();
        let mut lookups = JoinSet::new();
        for target in resolved_here(&state.config.gateways) {
            let Host::Name(name) = &target.host else {
                continue;
            };
            let (resolver, name, target) = (Arc::clone(&resolver), name.clone(), target.clone());
            lookups.spawn(async move {
                let found = resolver.all(name.as_str(), PATIENCE).await;
                (target, found.map_err(|error| chain(&error)))
            });
        }
        while let Some(answer) = lookups.join_next().await {
            // A lookup that panicked was logged, and the next look asks again.
            let Ok((target, found)) = answer else {
                continue;
            };
            let mut known = self.known();
            match found {
                Ok(found) => {
                    known.errors.remove(&target);
                    let found = found.into_iter().take(MAX_ADDRESSES);
                    let sockets = found.map(|ip| SocketAddr::new(ip, target.port)).collect();
                    known.addresses.insert(target, sockets);
                }
                Err(error) => {
                    if known.errors.get(&target) != Some(&error) {
                        let kept = known.addresses.get(&target).map_or(0, Vec::len);
                        let whose = match state.config.gateways.proxy {
                            Some(_) => "proxy's",
                            None => "gateway's",
                        };
                        tracing::warn!(
                            at = %target,
                            error,
                            kept,
                            "{whose} name is not resolved; its last known addresses are kept"
                        );
                        known.errors.insert(target, error);
                    }
                }
            }
        }
        self.publish(&mut self.known(), false);
    }

    /// Publishes who is held, if that or (`always`) anything else has changed.
    fn publish(&self, known: &mut Known, always: bool) {
        let state = self.control.state();
        known
            .addresses
            .retain(|target, _| resolved_here(&state.config.gateways).contains(target));
        if let (Some(proxy), Some(way)) = (&state.config.gateways.proxy, state.material.proxy())
            && let Some(addresses) = known.addresses.get(&proxy.target)
        {
            // Whoever holds a gateway finds them with its next connection.
            way.at.store(Arc::new(addresses.clone()));
        }
        let held = hold(&state, &candidates(&state, known), &known.held);
        let names = |held: &[Arc<GatewayPeer>]| -> Vec<Arc<str>> {
            held.iter().map(|peer| Arc::clone(&peer.name)).collect()
        };
        let changed = names(&held) != names(&known.held);
        if changed {
            tell(&held);
        }
        if changed || always {
            let generation = self.snapshots.load().generation + 1;
            let duties = duties(&state, &held, self.instance);
            known.held = held;
            self.snapshots.publish(snapshot(generation, &state, duties));
            self.metrics.generations.published(&self.snapshots.load());
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(held: &[Arc<GatewayPeer>]) {
    let names: Vec<&str> = held.iter().map(|peer| &*peer.name).collect();
    tracing::info!(gateways = names.join(", "), "gateways to hold");
}

/// The names that are resolved here: those of the gateways, or of what stands before them.
fn resolved_here(gateways: &Gateways) -> &[Target] {
    match &gateways.proxy {
        Some(proxy) => slice::from_ref(&proxy.target),
        None => &gateways.addresses,
    }
}

/// A gateway that there is.
struct Candidate {
    /// What is dialled, or what a proxy is asked for.
    target: Target,
    /// By whose name it is validated.
    host: Host,
}

/// Every gateway once, in the order of the configuration. Those that were told of are validated by
/// their addresses.
fn candidates(state: &State, known: &Known) -> Vec<Candidate> {
    let gateways = &state.config.gateways;
    let mut found: Vec<Candidate> = Vec::new();
    // The first look at the proxy's name is under way.
    if let Some(proxy) = &gateways.proxy
        && matches!(proxy.target.host, Host::Name(_))
        && !known.addresses.contains_key(&proxy.target)
        && !known.errors.contains_key(&proxy.target)
        && known.held.is_empty()
    {
        return found;
    }
    let mut add = |target: Target, host: &Host| {
        if found.iter().all(|other| other.target != target) {
            let host = host.clone();
            found.push(Candidate { target, host });
        }
    };
    for target in &gateways.addresses {
        match &target.host {
            Host::Name(_) if gateways.proxy.is_none() => {
                let sockets = known.addresses.get(target).into_iter().flatten();
                sockets.for_each(|socket| add(at(*socket), &target.host));
            }
            Host::Ip(_) | Host::Name(_) => add(target.clone(), &target.host),
        }
    }
    // A name that a proxy resolves and an address that is told may be one gateway, which two
    // control connections of one process would take from each other.
    let named = |candidate: &Candidate| matches!(candidate.target.host, Host::Name(_));
    if found.iter().any(named) {
        return found;
    }
    // Who is on the gateway's own host may reach it there, and so the others.
    let loopback = |candidate: &Candidate| match candidate.target.host {
        Host::Ip(ip) => ip.is_loopback(),
        Host::Name(_) => false,
    };
    let here = found.iter().any(loopback);
    for socket in &known.told {
        let target = at(*socket);
        let fresh = found.iter().all(|other| other.target != target);
        if fresh && is_elsewhere(socket.ip(), here) {
            let host = target.host.clone();
            found.push(Candidate { target, host });
        }
    }
    found
}

fn at(socket: SocketAddr) -> Target {
    Target {
        host: Host::Ip(socket.ip().to_canonical()),
        port: socket.port(),
    }
}

/// Whether an address that a gateway tells of may be another gateway's: it is no special one.
fn is_elsewhere(ip: IpAddr, here: bool) -> bool {
    let ip = ip.to_canonical();
    (here && ip.is_loopback()) || builtin_denial(ip, &[]).is_none()
}

/// Chooses whom to hold, in the order of their names; a peer that stays the same is the same.
fn hold(
    state: &State,
    candidates: &[Candidate],
    before: &[Arc<GatewayPeer>],
) -> Vec<Arc<GatewayPeer>> {
    let gateways = &state.config.gateways;
    let name = |candidate: &Candidate| candidate.target.to_string();
    let names: Vec<String> = candidates.iter().map(name).collect();
    let mut ranked = tunnel::rank(state.material.user.as_bytes(), &names);
    ranked.truncate(tunnel::hold(gateways.hold, candidates.len()));
    let chosen = ranked.into_iter().filter_map(|index| candidates.get(index));
    let chosen: BTreeMap<String, &Candidate> = chosen.map(|each| (name(each), each)).collect();
    let peer = |(name, candidate): (String, &Candidate)| {
        let host = gateways.server_name.as_ref().unwrap_or(&candidate.host);
        let server_name = ServerName::try_from(host.to_string()).ok()?;
        let way = way(state, &candidate.target)?;
        let same = before.iter().find(|peer| {
            peer.way.is_same(&way)
                && peer.server_name == server_name
                && Arc::ptr_eq(&peer.tls, &state.material.tls)
        });
        Some(same.cloned().unwrap_or_else(|| {
            Arc::new(GatewayPeer {
                name: name.into(),
                way,
                server_name,
                tls: Arc::clone(&state.material.tls),
            })
        }))
    };
    chosen.into_iter().filter_map(peer).collect()
}

/// How a gateway is reached; a name is always a proxy's.
fn way(state: &State, target: &Target) -> Option<GatewayWay> {
    match (state.material.proxy(), &target.host) {
        (Some(proxy), _) => Some(GatewayWay::Proxy(Arc::clone(proxy), target.clone())),
        (None, Host::Ip(ip)) => Some(GatewayWay::Dial(vec![SocketAddr::new(*ip, target.port)])),
        (None, Host::Name(_)) => None,
    }
}

fn duties(state: &State, held: &[Arc<GatewayPeer>], instance: [u8; 16]) -> AgentDuties {
    let allow = &state.config.allow;
    AgentDuties {
        instance,
        version: BUILD.version.into(),
        listener: LISTENER.into(),
        gateways: held.into(),
        inner_only: allow.kubelet.filter(|_| allow.inner == InnerTls::Only),
        backoff: BACKOFF,
    }
}

fn snapshot(generation: u64, state: &State, duties: AgentDuties) -> Snapshot {
    Snapshot {
        generation,
        listener_tls: HashMap::new(),
        allowed_uids: HashMap::new(),
        admission: state.config.parts().admission_limits(),
        tunnel: None,
        agent: Some(Arc::new(duties)),
    }
}

#[cfg(test)]
mod tests;
