//! Knows the other gateways: where they are now, in which order they are asked for a target, and
//! who may pass a stream on as one of them.
//!
//! Names are resolved again and again, and each address of a name is a gateway of its own. A name
//! that cannot be resolved keeps the addresses that it had. Agents choose their gateways by a hash
//! of both names, so the same hash says which gateways may have an agent.

use super::refusal;
use crate::config::Config;
use crate::material::Material;
use crate::policy::Policy;
use arc_swap::ArcSwap;
use eyesplice_dataplane::seam::{Proxy, ProxyAddress, ProxyTls, Refusal, Route};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_process::resolve::Resolver;
use eyesplice_proto::causes::chain;
use eyesplice_proto::target::{Host, Target};
use eyesplice_proto::tunnel::rank;
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, ServerName};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Between two looks at the names, as agents look.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// How long the answer to a name may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of one name that are gateways.
const MAX_ADDRESSES: usize = 256;

/// Agents of one target whose gateways are looked for: mostly there is one.
const AGENTS: usize = 4;

/// Gateways that are asked for one target. An agent holds two or three, and one of these may be
/// about to.
const ASKED: usize = 4;

/// The other gateways that there are.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    list: ArcSwap<Vec<Neighbour>>,
    names: Mutex<Names>,
    /// By Leases: the listener for API servers, and the one for agents.
    learned: ArcSwap<Vec<(SocketAddr, SocketAddr)>>,
}

/// Another gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Neighbour {
    /// Its listener for API servers.
    address: SocketAddr,
    /// What it was configured as.
    host: Host,
    /// How agents call it.
    name: String,
}

/// What was found out about names.
#[derive(Debug, Default)]
struct Names {
    addresses: HashMap<Target, Vec<IpAddr>>,
    /// Why a name was not resolved the last time.
    errors: HashMap<Target, String>,
}

impl Neighbours {
    /// Lists all but this gateway itself, by what is known of their names.
    pub(super) fn list(&self, config: &Config, policy: &Policy, is_local: &dyn Fn(IpAddr) -> bool) {
        let mut names = self.names.lock();
        let wanted = config.peers().map_or(&[][..], |peers| &peers.addresses);
        names.addresses.retain(|target, _| wanted.contains(target));
        names.errors.retain(|target, _| wanted.contains(target));
        let port = config.peers_tunnel_port();
        let mut seen = HashSet::new();
        let mut list = Vec::new();
        for target in wanted {
            let addresses = match &target.host {
                Host::Ip(ip) => std::slice::from_ref(ip),
                Host::Name(_) => names.addresses.get(target).map_or(&[][..], Vec::as_slice),
            };
            for ip in addresses {
                let address = SocketAddr::new(*ip, target.port);
                if policy.is_own(ip.to_canonical(), target.port, is_local) || !seen.insert(address)
                {
                    continue;
                }
                list.push(Neighbour {
                    address,
                    host: target.host.clone(),
                    name: SocketAddr::new(*ip, port).to_string(),
                });
            }
        }
        let dials = config.peers().is_some_and(|peers| peers.tls.is_some());
        for (address, tunnel) in self.learned.load().iter().filter(|_| dials) {
            let ip = address.ip().to_canonical();
            if policy.is_own(ip, address.port(), is_local) || !seen.insert(*address) {
                continue;
            }
            list.push(Neighbour {
                address: *address,
                host: Host::Ip(ip),
                name: tunnel.to_string(),
            });
        }
        if *self.list.load_full() != list {
            let names: Vec<&str> = list.iter().map(|each| each.name.as_str()).collect();
            tracing::info!(gateways = names.join(", "), "other gateways");
            self.list.store(Arc::new(list));
        }
    }

    /// Takes over what Leases say of others.
    pub(super) fn learn(&self, others: Vec<(SocketAddr, SocketAddr)>) {
        self.learned.store(Arc::new(others));
    }

    /// Resolves every name.
    pub(super) async fn look(&self, config: &Config, resolver: &Arc<Resolver>) {
        let mut lookups = JoinSet::new();
        for target in config.peers().map_or(&[][..], |peers| &peers.addresses) {
            let Host::Name(name) = &target.host else {
                continue;
            };
            let (resolver, name, target) = (Arc::clone(resolver), name.clone(), target.clone());
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
            let mut names = self.names.lock();
            match found {
                Ok(found) => {
                    names.errors.remove(&target);
                    let found = found.into_iter().take(MAX_ADDRESSES).collect();
                    names.addresses.insert(target, found);
                }
                Err(error) => {
                    if names.errors.get(&target) != Some(&error) {
                        tracing::warn!(
                            gateway = %target,
                            error,
                            "another gateway's name is not resolved; its last known addresses are \
                             kept"
                        );
                        names.errors.insert(target, error);
                    }
                }
            }
        }
    }

    /// The gateways that may have an agent for these routes, those first that agents choose first.
    pub(super) fn in_order(
        &self,
        (config, material): (&Config, &Material),
        routes: &[Route],
        target: &Target,
    ) -> Vec<Proxy> {
        let (Some(tls), Some(grants)) = (&material.peers, &material.grants) else {
            return Vec::new();
        };
        let gateways = self.list.load_full();
        if gateways.is_empty() {
            return Vec::new();
        }
        let names: Vec<&str> = gateways.iter().map(|each| each.name.as_str()).collect();
        let users = routes.iter().flat_map(|route| grants.users(route));
        let ranked: Vec<Vec<usize>> = users
            .take(AGENTS)
            .map(|user| rank(user.as_bytes(), &names))
            .collect();
        let mut order: Vec<usize> = Vec::new();
        for place in 0..names.len() {
            for index in ranked.iter().filter_map(|ranked| ranked.get(place)) {
                if !order.contains(index) {
                    order.push(*index);
                }
            }
        }
        let configured = config.peers().and_then(|peers| peers.tls.as_ref());
        let configured = configured.and_then(|tls| tls.server_name.as_ref());
        let proxy = |gateway: &Neighbour| {
            let host = configured.unwrap_or(&gateway.host).to_string();
            Some(Proxy {
                name: gateway.address.to_string().into(),
                at: ProxyAddress::Tcp(vec![gateway.address]),
                tls: Some(ProxyTls {
                    config: Arc::clone(tls),
                    server_name: ServerName::try_from(host).ok()?,
                }),
                target: target.clone(),
            })
        };
        let asked = order.into_iter().take(ASKED);
        asked
            .filter_map(|index| proxy(gateways.get(index)?))
            .collect()
    }
}

/// Whether the owner of a chain, which the listener validated, may pass a stream on to this
/// gateway.
pub(super) fn may_pass_on(config: &Config, chain: &[CertificateDer<'_>]) -> Result<(), Refusal> {
    let names = config.peers().map(|peers| &peers.names);
    let subject = chain
        .first()
        .and_then(|leaf| CertificateFacts::read(leaf).ok())
        .map(|facts| facts.subject);
    let name = subject.as_ref().and_then(|who| who.common_name.as_ref());
    match (names, name) {
        (Some(names), Some(name)) if names.contains(name) => Ok(()),
        _ => Err(refusal::no_gateway(subject.as_ref())),
    }
}
