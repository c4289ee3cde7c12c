//! The gateways that an agent holds, and the opens that it has seen.

use super::{Carried, Tally};
use crate::seam::{GatewayPeer, GatewayStatus};
use eyesplice_proto::tunnel::{NotNew, OpenId, SeenIds};
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// All gateways of an agent, whichever worker holds each.
#[derive(Default)]
pub(crate) struct Holding {
    state: Mutex<State>,
    /// One of them is registered.
    news: Notify,
}

#[derive(Default)]
struct State {
    gateways: HashMap<Arc<str>, Gateway>,
    seen: SeenIds,
    number: u64,
}

struct Gateway {
    /// Holds it; stays the same while the gateway is wanted.
    worker: usize,
    /// The youngest of those that hold it, which its status is of.
    holder: u64,
    /// The last of them that was registered.
    registered: u64,
    wanted: bool,
    address: Option<SocketAddr>,
    since: Option<SystemTime>,
    draining: bool,
    parked: usize,
    tally: Arc<Tally>,
    backoff: Option<Duration>,
    last_error: Option<Arc<str>>,
    /// Which gateways there are, as it said last; empty as long as it has said nothing.
    told: Arc<[SocketAddr]>,
}

impl Holding {
    /// Which of the gateways each worker holds, in their order: those that are held stay where they
    /// are, and a new one goes to the worker with the fewest. What is not wanted any more is
    /// forgotten when its last holder ends.
    pub(crate) fn share_out(&self, wanted: &[Arc<GatewayPeer>], workers: usize) -> Vec<usize> {
        let mut state = self.lock();
        for gateway in state.gateways.values_mut() {
            gateway.wanted = false;
        }
        let mut held = vec![0_usize; workers.max(1)];
        for peer in wanted {
            if let Some(gateway) = state.gateways.get_mut(&peer.name) {
                gateway.wanted = true;
                if let Some(count) = held.get_mut(gateway.worker) {
                    *count += 1;
                }
            }
        }
        let of = |peer: &Arc<GatewayPeer>| {
            let gateway = state
                .gateways
                .entry(Arc::clone(&peer.name))
                .or_insert_with(|| {
                    let fewest = held.iter().enumerate().min_by_key(|(_, count)| **count);
                    let worker = fewest.map_or(0, |(worker, _)| worker);
                    if let Some(count) = held.get_mut(worker) {
                        *count += 1;
                    }
                    Gateway {
                        worker,
                        holder: 0,
                        registered: 0,
                        wanted: true,
                        address: None,
                        since: None,
                        draining: false,
                        parked: 0,
                        tally: Arc::default(),
                        backoff: None,
                        last_error: None,
                        told: Arc::from([]),
                    }
                });
            gateway.worker
        };
        let shares = wanted.iter().map(of).collect();
        state
            .gateways
            .retain(|_, gateway| gateway.wanted || gateway.holder > 0);
        shares
    }

    /// Begins to hold a gateway.
    pub(crate) fn hold(self: &Arc<Self>, name: &Arc<str>) -> Hold {
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        if let Some(gateway) = state.gateways.get_mut(name) {
            gateway.holder = number;
        }
        drop(state);
        Hold {
            holding: Arc::clone(self),
            name: Arc::clone(name),
            number,
        }
    }

    /// Notes an open, whichever worker gets it: none is served twice.
    pub(crate) fn note(&self, id: OpenId, within: Duration) -> Result<(), NotNew> {
        self.lock().seen.note(id, within, Instant::now())
    }

    /// Waits until all gateways that are wanted are registered with.
    pub(crate) async fn complete(&self) {
        loop {
            let mut news = pin!(self.news.notified());
            news.as_mut().enable();
            if self.is_complete() {
                return;
            }
            news.await;
        }
    }

    fn is_complete(&self) -> bool {
        let state = self.lock();
        let mut wanted = state.gateways.values().filter(|gateway| gateway.wanted);
        wanted.all(|gateway| gateway.registered == gateway.holder)
    }

    /// What the gateways that are registered with say of which gateways there are, each once; empty
    /// if none has said anything.
    pub(crate) fn told(&self) -> BTreeSet<SocketAddr> {
        let state = self.lock();
        let registered = state.gateways.values().filter(|each| each.since.is_some());
        registered
            .flat_map(|each| each.told.iter().copied())
            .collect()
    }

    /// Waits for something that was told or that anybody registers.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// How all gateways are, by name.
    pub(crate) fn status(&self) -> Vec<GatewayStatus> {
        let state = self.lock();
        let mut all: Vec<_> = state
            .gateways
            .iter()
            .filter(|(_, gateway)| gateway.wanted)
            .map(|(name, gateway)| GatewayStatus {
                name: Arc::clone(name),
                address: gateway.address,
                since: gateway.since,
                draining: gateway.draining,
                parked: gateway.parked,
                streams: gateway.tally.streams(),
                backoff: gateway.backoff,
                last_error: gateway.last_error.clone(),
            })
            .collect();
        drop(state);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that holds a gateway, and says how that is; forgotten when dropped.
pub(crate) struct Hold {
    holding: Arc<Holding>,
    name: Arc<str>,
    number: u64,
}

impl Hold {
    /// The control connection is registered.
    pub(crate) fn registered(&self, address: SocketAddr) {
        self.with(|gateway| {
            gateway.registered = gateway.holder;
            gateway.address = Some(address);
            gateway.since = Some(SystemTime::now());
            gateway.draining = false;
        });
        self.holding.news.notify_waiters();
    }

    /// Whether another one holds the gateway as well, by a younger configuration.
    pub(crate) fn has_successor(&self) -> bool {
        let state = self.holding.lock();
        let gateway = state.gateways.get(&self.name);
        gateway.is_some_and(|gateway| gateway.holder > self.number)
    }

    /// The gateway says which gateways there are.
    pub(crate) fn told(&self, addresses: Vec<SocketAddr>) {
        let mut differs = false;
        self.with(|gateway| {
            differs = *gateway.told != *addresses;
            gateway.told = addresses.into();
        });
        if differs {
            self.holding.news.notify_waiters();
        }
    }

    /// The gateway takes no new streams.
    pub(crate) fn drains(&self) {
        self.with(|gateway| gateway.draining = true);
    }

    /// The control connection is gone, or was not made; it is dialled again after a pause.
    pub(crate) fn failed(&self, words: &str, pause: Duration) {
        self.with(|gateway| {
            gateway.since = None;
            gateway.backoff = Some(pause);
            gateway.last_error = Some(words.into());
        });
    }

    /// The gateway is dialled.
    pub(crate) fn dials(&self) {
        self.with(|gateway| gateway.backoff = None);
    }

    /// So many connections are parked.
    pub(crate) fn parked(&self, count: usize) {
        self.with(|gateway| gateway.parked = count);
    }

    /// Counts a stream.
    pub(crate) fn carry(&self) -> Option<Carried> {
        let state = self.holding.lock();
        let gateway = state.gateways.get(&self.name)?;
        Some(Carried::begin(&gateway.tally))
    }

    fn with(&self, change: impl FnOnce(&mut Gateway)) {
        let mut state = self.holding.lock();
        if let Some(gateway) = state.gateways.get_mut(&self.name)
            && gateway.holder == self.number
        {
            change(gateway);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.holding.lock();
        if let Some(gateway) = state.gateways.get_mut(&self.name)
            && gateway.holder == self.number
        {
            gateway.holder = 0;
            gateway.since = None;
            gateway.backoff = None;
            gateway.parked = 0;
            if !gateway.wanted {
                state.gateways.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::GatewayWay;
    use eyesplice_proto::tls::provider;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};

    fn peers(names: &[&str]) -> Vec<Arc<GatewayPeer>> {
        let tls = ClientConfig::builder_with_provider(provider::shared())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let tls = Arc::new(tls);
        let peer = |name: &&str| {
            Arc::new(GatewayPeer {
                name: (*name).into(),
                way: GatewayWay::Dial(Vec::new()),
                server_name: ServerName::try_from("gateway.example").unwrap(),
                tls: Arc::clone(&tls),
            })
        };
        names.iter().map(peer).collect()
    }

    #[test]
    fn gateways_are_shared_out_evenly_and_stay_where_they_are() {
        let holding = Arc::<Holding>::default();
        assert_eq!(holding.share_out(&peers(&["a", "b", "c"]), 2), [0, 1, 0]);
        assert_eq!(holding.share_out(&peers(&["c", "b"]), 2), [0, 1]);
        assert_eq!(holding.share_out(&peers(&["d", "b", "c"]), 2), [0, 1, 0]);
        assert_eq!(holding.status().len(), 3);
    }

    #[test]
    fn gateways_that_are_told_are_those_of_whoever_is_registered() {
        let holding = Arc::<Holding>::default();
        holding.share_out(&peers(&["a", "b"]), 1);
        let (a, b) = (holding.hold(&"a".into()), holding.hold(&"b".into()));
        let address = |host: u8| SocketAddr::from(([10, 0, 0, host], 8133));
        a.told(vec![address(1), address(2)]);
        assert!(holding.told().is_empty(), "it is not registered");
        a.registered(address(1));
        b.registered(address(2));
        b.told(vec![address(2), address(3)]);
        let all = [address(1), address(2), address(3)];
        assert_eq!(holding.told(), all.into());
        a.told(vec![address(1)]);
        b.told(vec![address(1)]);
        assert_eq!(holding.told(), [address(1)].into());
        b.told(vec![address(3)]);
        b.failed("gone", Duration::ZERO);
        assert_eq!(
            holding.told(),
            [address(1)].into(),
            "it may say what is old"
        );
    }

    #[test]
    fn gateway_that_is_not_wanted_is_forgotten_with_its_last_holder() {
        let holding = Arc::<Holding>::default();
        holding.share_out(&peers(&["a"]), 1);
        let old = holding.hold(&"a".into());
        let new = holding.hold(&"a".into());
        let address = ([127, 0, 0, 1], 1).into();
        old.registered(address);
        assert!(!holding.is_complete(), "the new one is not there");
        assert!(old.has_successor() && !new.has_successor());
        new.registered(address);
        assert!(holding.is_complete());
        drop(old);
        assert!(holding.status()[0].since.is_some(), "it was not the last");
        holding.share_out(&[], 1);
        assert!(holding.status().is_empty());
        assert_eq!(holding.lock().gateways.len(), 1);
        drop(new);
        assert!(holding.lock().gateways.is_empty());
    }
}
