//! Leaves that an authority signs: the egress CA's key lies there alone.
//!
//! The first stream to a host asks and waits, others of the same host wait with it. Later ones find
//! the leaf, which is renewed behind their backs from two thirds of its life on; a renewal that fails
//! leaves the old one until its end. What was refused is remembered for a moment, so that streams to
//! names that no node has do not become requests. Leaves outlive reloads, as far as the CA of the
//! configuration in force vouches for them.

use super::{ClientAuth, DEFAULT_CAPACITY, LeafError, Manner, tls_server};
use crate::bootstrap::{BootstrapError, Wish, certificate};
use crate::config::Identity;
use crate::enrol::{self, GROUP};
use crate::tickets::Tickets;
use eyesplice_dataplane::seam::DownstreamTls;
use eyesplice_identity::certificate::{CertificateFacts, instant};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::pem::Role;
use eyesplice_identity::pki::{Expected, unfit};
use eyesplice_identity::x509::{NODE_GROUP, NODE_PREFIX, Signer};
use eyesplice_process::metrics::EnrolmentMetrics;
use eyesplice_proto::causes::chain;
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::{Groups, provider};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::timeout;

/// Requests under way: each is a connection to the authority.
const FLIGHTS: usize = 64;
/// How long a request may take, its streams may have left long since.
const PATIENCE: Duration = Duration::from_secs(30);
/// Hosts that were refused and are remembered.
const REFUSED: usize = 4096;
/// How long a refusal is remembered: an inventory that was corrected helps soon.
const REFUSED_FOR: Duration = Duration::from_secs(10);
/// How long it is remembered that the authority did not answer.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// Between two tries to renew a leaf that is still good.
const RENEWAL_PAUSE: Duration = Duration::from_secs(30);

/// Whom a leaf is for, and the node whose subject it has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, derive_more::Display)]
#[display("{host}")]
pub(crate) struct Named {
    pub(crate) host: Host,
    pub(crate) node: Option<Arc<str>>,
}

/// How a configuration asks for leaves.
#[derive(derive_more::Debug)]
#[debug("LeafRequests({identity:?}, {})", authority.0)]
pub struct LeafRequests {
    pub(crate) identity: Identity,
    /// What the CA is called in messages, and its certificates.
    pub(crate) authority: (String, Vec<CertificateDer<'static>>),
    pub(crate) lifetime: Duration,
    pub(crate) clients: Option<Arc<dyn ClientCertVerifier>>,
    pub(crate) tickets: Tickets,
    pub(crate) groups: Groups,
}

impl LeafRequests {
    /// Builds the TLS server that shows a leaf.
    pub(crate) fn tls_server(
        &self,
        host: &Host,
        leaf: Arc<CertifiedKey>,
        client_auth: ClientAuth,
    ) -> Result<DownstreamTls, LeafError> {
        let manner = Manner {
            clients: self.clients.as_ref(),
            tickets: &self.tickets,
            groups: self.groups,
        };
        tls_server(host, leaf, client_auth, &manner)
    }

    fn wish(&self, Named { host, node }: &Named) -> Wish {
        let (common_name, organization) = match node {
            Some(node) => (format!("{NODE_PREFIX}{node}"), NODE_GROUP),
            None => (enrol::user(&self.identity), GROUP),
        };
        Wish {
            signer: Signer::EgressLeaf,
            common_name,
            organization,
            names: vec![HostAddress::from(host)],
            lifetime: Some(self.lifetime),
        }
    }

    /// Holds a leaf against its role: the API server must accept it for this host.
    fn check(
        &self,
        named: &Named,
        chain: &[CertificateDer<'static>],
        facts: &CertificateFacts,
        now: SystemTime,
    ) -> Result<(), BootstrapError> {
        let wish = self.wish(named);
        let (place, certificates) = &self.authority;
        let expected = Expected {
            role: Role::Server,
            subject: Some((&wish.common_name, wish.organization)),
            names: Some(&wish.names),
            authorities: Some((place, certificates)),
        };
        match unfit(&expected, chain, facts, now).into_iter().next() {
            None => Ok(()),
            Some(flaw) => Err(BootstrapError::Role(flaw)),
        }
    }

    async fn ask(&self, named: &Named) -> Result<Leaf, BootstrapError> {
        // Three small files, at one connection each.
        let client = enrol::connect(&self.identity)?;
        let issued = certificate(&client, &self.wish(named), PATIENCE).await?;
        let (chain, facts, key) = enrol::read(&issued)?;
        let now = SystemTime::now();
        self.check(named, &chain, &facts, now)?;
        let provider = provider::shared();
        let key = provider
            .key_provider
            .load_private_key(key.der().clone_key());
        let key = key.map_err(BootstrapError::Setup)?;
        let end = SystemTime::from(facts.not_after);
        let left = end.duration_since(now).unwrap_or_default();
        Ok(Leaf {
            renew_at: now + left * 2 / 3,
            end,
            certified: Arc::new(CertifiedKey::new(chain, key)),
            facts,
            authority: self.authority.1.clone(),
            used: 0,
        })
    }
}

/// A leaf that came.
struct Leaf {
    certified: Arc<CertifiedKey>,
    facts: CertificateFacts,
    renew_at: SystemTime,
    end: SystemTime,
    /// Against which CA it was judged.
    authority: Vec<CertificateDer<'static>>,
    /// The number of its last use; 0: none.
    used: u64,
}

type Outcome = Result<Arc<CertifiedKey>, Arc<str>>;
type Flight = watch::Receiver<Option<Outcome>>;

#[derive(Default)]
struct Inner {
    leaves: HashMap<Named, Leaf>,
    refused: HashMap<Named, (SystemTime, Arc<str>)>,
    flights: HashMap<Named, Flight>,
    uses: u64,
}

/// All leaves that came from the authority.
#[derive(Default, derive_more::Debug)]
#[debug("LeafStore({} leaves)", self.inner.lock().leaves.len())]
pub struct LeafStore {
    inner: Mutex<Inner>,
    metrics: EnrolmentMetrics,
}

/// What is known of a host.
enum Known {
    Leaf(Arc<CertifiedKey>),
    Refused(Arc<str>),
    Flight(Flight),
    Busy,
}

impl LeafStore {
    /// Counts in `metrics`.
    pub fn new(metrics: EnrolmentMetrics) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            metrics,
        })
    }

    /// Finds the leaf of a host, or asks for it and waits at most `patience`. Needs a runtime.
    pub(crate) async fn find(
        self: &Arc<Self>,
        requests: &Arc<LeafRequests>,
        host: &Named,
        now: SystemTime,
        patience: Duration,
    ) -> Result<Arc<CertifiedKey>, LeafError> {
        let refused = |why| LeafError::Refused(host.host.clone(), why);
        let mut flight = match self.look(requests, host, now) {
            Known::Leaf(leaf) => return Ok(leaf),
            Known::Refused(why) => return Err(refused(why)),
            Known::Flight(flight) => flight,
            Known::Busy => {
                return Err(LeafError::Busy(host.host.clone(), FLIGHTS));
            }
        };
        let outcome = timeout(patience, flight.wait_for(Option::is_some)).await;
        match outcome {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Ok(leaf)) => Ok(Arc::clone(leaf)),
                Some(Err(why)) => Err(refused(Arc::clone(why))),
                None => Err(refused("its request ended without an answer".into())),
            },
            Ok(Err(_)) => Err(refused("its request ended without an answer".into())),
            Err(_) => Err(LeafError::Slow(host.host.clone(), patience)),
        }
    }

    /// Renews leaves that are in use and due, forgets those that ended, and gives when the next one
    /// in use ends: others lapse. Needs a runtime.
    pub(crate) fn sweep(
        self: &Arc<Self>,
        requests: &Arc<LeafRequests>,
        now: SystemTime,
    ) -> Option<SystemTime> {
        let mut inner = self.inner.lock();
        inner.leaves.retain(|_, leaf| now < leaf.end);
        inner.refused.retain(|_, (until, _)| now < *until);
        let due = inner.leaves.iter();
        let due = due.filter(|(_, leaf)| leaf.used > 0 && leaf.renew_at <= now);
        let due: Vec<Named> = due.map(|(host, _)| host.clone()).collect();
        for host in due {
            self.start(&mut inner, requests, &host);
        }
        self.count(&inner);
        let used = inner.leaves.values().filter(|leaf| leaf.used > 0);
        used.map(|leaf| leaf.end).min()
    }

    fn look(
        self: &Arc<Self>,
        requests: &Arc<LeafRequests>,
        host: &Named,
        now: SystemTime,
    ) -> Known {
        let mut inner = self.inner.lock();
        inner.uses += 1;
        let uses = inner.uses;
        if let Some(leaf) = inner.leaves.get_mut(host) {
            if leaf.authority != requests.authority.1 {
                let judged = requests.check(host, &leaf.certified.cert, &leaf.facts, now);
                if judged.is_ok() {
                    leaf.authority.clone_from(&requests.authority.1);
                }
            }
            let start = SystemTime::from(leaf.facts.not_before);
            if leaf.authority == requests.authority.1 && start <= now && now < leaf.end {
                leaf.used = uses;
                let (found, due) = (Arc::clone(&leaf.certified), leaf.renew_at <= now);
                if due {
                    self.start(&mut inner, requests, host);
                }
                return Known::Leaf(found);
            }
        }
        if let Some((until, why)) = inner.refused.get(host)
            && now < *until
        {
            return Known::Refused(Arc::clone(why));
        }
        self.start(&mut inner, requests, host)
            .map_or(Known::Busy, Known::Flight)
    }

    /// Asks for a leaf, unless that is done already.
    fn start(
        self: &Arc<Self>,
        inner: &mut Inner,
        requests: &Arc<LeafRequests>,
        host: &Named,
    ) -> Option<Flight> {
        if let Some(flight) = inner.flights.get(host) {
            return Some(flight.clone());
        }
        if inner.flights.len() >= FLIGHTS {
            return None;
        }
        let (sender, flight) = watch::channel(None);
        inner.flights.insert(host.clone(), flight.clone());
        let (store, requests, host) = (Arc::clone(self), Arc::clone(requests), host.clone());
        tokio::spawn(async move {
            let landing = Landing {
                store: &store,
                host: &host,
            };
            let outcome = requests.ask(&host).await;
            let outcome = store.land(&host, outcome, SystemTime::now());
            drop(landing);
            sender.send_replace(Some(outcome));
        });
        Some(flight)
    }

    fn land(
        &self,
        host: &Named,
        outcome: Result<Leaf, BootstrapError>,
        now: SystemTime,
    ) -> Outcome {
        let mut inner = self.inner.lock();
        match outcome {
            Ok(leaf) => {
                self.metrics.answered(Signer::EgressLeaf, "issued");
                tracing::debug!(%host, end = instant(leaf.facts.not_after), "leaf was issued");
                let certified = Arc::clone(&leaf.certified);
                inner.refused.remove(host);
                inner.keep(host, leaf);
                self.count(&inner);
                Ok(certified)
            }
            Err(error) => {
                let result = error.result();
                self.metrics.answered(Signer::EgressLeaf, result);
                let why: Arc<str> = format!("{}: {}", error.cause(), chain(&error)).into();
                if let Some(old) = inner.leaves.get_mut(host)
                    && now < old.end
                {
                    old.renew_at = now + RENEWAL_PAUSE;
                    let until = instant(old.facts.not_after);
                    tracing::warn!(%host, why = &*why, until, "leaf is not renewed; the old one stays");
                } else {
                    tracing::warn!(%host, why = &*why, "no leaf from the authority");
                }
                let pause = if result == "refused" {
                    REFUSED_FOR
                } else {
                    FAILED_FOR
                };
                inner.refuse(host, now + pause, Arc::clone(&why));
                Err(why)
            }
        }
    }

    fn count(&self, inner: &Inner) {
        let leaves = i64::try_from(inner.leaves.len()).unwrap_or(i64::MAX);
        self.metrics.leaves.set(leaves);
    }
}

impl Inner {
    fn keep(&mut self, host: &Named, leaf: Leaf) {
        if self.leaves.len() >= DEFAULT_CAPACITY && !self.leaves.contains_key(host) {
            let oldest = self.leaves.iter().min_by_key(|(_, leaf)| leaf.used);
            if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                self.leaves.remove(&oldest);
            }
        }
        let asked_for = self.flights.contains_key(host);
        // The stream that asked for it uses it; a renewal waits for its first.
        let used = if asked_for && !self.leaves.contains_key(host) {
            self.uses
        } else {
            0
        };
        self.leaves.insert(host.clone(), Leaf { used, ..leaf });
    }

    fn refuse(&mut self, host: &Named, until: SystemTime, why: Arc<str>) {
        if self.refused.len() >= REFUSED && !self.refused.contains_key(host) {
            let first = self.refused.iter().min_by_key(|(_, (until, _))| *until);
            if let Some(first) = first.map(|(host, _)| host.clone()) {
                self.refused.remove(&first);
            }
        }
        self.refused.insert(host.clone(), (until, why));
    }
}

/// Takes a request off the list, even if it panics.
struct Landing<'a> {
    store: &'a LeafStore,
    host: &'a Named,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.store.inner.lock().flights.remove(self.host);
    }
}

#[cfg(test)]
mod tests;
