//! Keeps the Lease of this gateway, and up with those of the others: agents are told of them, and
//! streams are passed on to them.

use super::Gatekeeper;
use super::local::is_local;
use super::members::Roll;
use crate::config::Leases;
use arc_swap::ArcSwap;
use eyesplice_authority::apiserver::{Member, Members, MembersError, Place};
use eyesplice_process::metrics::MembershipMetrics;
use eyesplice_proto::causes::chain;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How many renewals may fail before others take this gateway for gone.
const RENEWALS: u32 = 4;

/// The gateways that there are, as far as Leases say.
#[derive(Debug)]
pub(super) struct Known {
    /// Where agents connect, this gateway first; empty without Leases.
    tunnels: ArcSwap<Vec<SocketAddr>>,
    /// Another configuration is in force.
    pub(super) published: Notify,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            tunnels: ArcSwap::from_pointee(Vec::new()),
            published: Notify::new(),
        }
    }
}

impl Known {
    /// Where agents may connect.
    pub(super) fn tunnels(&self) -> Arc<[SocketAddr]> {
        self.tunnels.load().as_slice().into()
    }
}

/// What lasts from one look to the next.
struct Session {
    settings: Leases,
    members: Option<Members>,
    roll: Roll,
    /// When the last whole list came.
    listed: Option<Instant>,
    /// Why the last look failed.
    error: Option<String>,
}

impl Gatekeeper {
    /// Keeps up with Leases for as long as it is polled, wherever a configuration wants it.
    pub async fn keep_membership(self: Arc<Self>, metrics: MembershipMetrics) {
        let mut session: Option<Session> = None;
        loop {
            let settings = self.state().config.leases().cloned();
            let pause = match settings {
                None => {
                    if session.take().is_some() {
                        self.know(&[], None);
                        metrics.members.set(0);
                    }
                    None
                }
                Some(settings) => {
                    let kept = session.take().filter(|kept| kept.settings == settings);
                    let interval = settings.interval;
                    let mut kept = kept.unwrap_or_else(|| self.begin(settings));
                    kept.look(&self, &metrics).await;
                    session = Some(kept);
                    Some(interval)
                }
            };
            let published = self.known.published.notified();
            match pause {
                // Whichever it is, the next look is due.
                Some(pause) => drop(timeout(pause, published).await),
                None => published.await,
            }
        }
    }

    /// A gateway is among those that its agents know, whatever the API server says.
    fn begin(&self, settings: Leases) -> Session {
        self.know(&[], Some(&settings));
        Session {
            settings,
            members: None,
            roll: Roll::default(),
            listed: None,
            error: None,
        }
    }

    /// Puts in force who is present.
    pub(super) fn know(&self, present: &[Member], own: Option<&Leases>) {
        let mut tunnels: Vec<SocketAddr> = own.iter().map(|own| own.address).collect();
        let others = present
            .iter()
            .filter(|each| !tunnels.contains(&each.tunnel));
        let others: Vec<SocketAddr> = others.map(|each| each.tunnel).collect();
        tunnels.extend(others);
        self.known.tunnels.store(Arc::new(tunnels));
        let peers = present
            .iter()
            .filter(|each| own.is_none_or(|own| own.name != each.name));
        let peers = peers.filter_map(|each| Some((each.peer?, each.tunnel)));
        let state = self.state();
        self.neighbours.learn(peers.collect());
        self.neighbours
            .list(&state.config, &state.policy, &is_local);
    }
}

impl Session {
    /// Renews, and reads what there is. What failed is tried again at the next look, with a client
    /// made of what the files hold then.
    async fn look(&mut self, gatekeeper: &Gatekeeper, metrics: &MembershipMetrics) {
        let renewed = self.renew().await;
        let listed = match &renewed {
            Ok(()) => self.list(gatekeeper, metrics).await,
            Err(_) => Ok(()),
        };
        match renewed.and(listed) {
            Ok(()) => {
                if self.error.take().is_some() {
                    tracing::info!("Leases of gateways are read again");
                }
                metrics.succeeded(SystemTime::now());
            }
            Err(error) => {
                metrics.failed(error.cause());
                self.members = None;
                let words = chain(&error);
                if self.error.as_ref() != Some(&words) {
                    let known = self.roll.present().len();
                    tracing::warn!(
                        error = words,
                        known,
                        "Leases of gateways are not read; the gateways that were known last stay"
                    );
                    self.error = Some(words);
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), MembersError> {
        let settings = &self.settings;
        let members: &Members = match &self.members {
            Some(members) => members,
            None => {
                let place = settings.kubeconfig_file.as_ref();
                let place = place.map_or(Place::Pod, |file| Place::Kubeconfig(file.path.clone()));
                let members = Members::connect(&place, &settings.namespace).await?;
                self.members.insert(members)
            }
        };
        let own = Member {
            name: settings.name.clone(),
            tunnel: settings.address,
            peer: settings.peer_address,
        };
        members.renew(&own, settings.interval * RENEWALS).await
    }

    async fn list(
        &mut self,
        gatekeeper: &Gatekeeper,
        metrics: &MembershipMetrics,
    ) -> Result<(), MembersError> {
        let Some(members) = &self.members else {
            return Ok(());
        };
        let listed = members.list().await?;
        let now = Instant::now();
        // An API server that was away, or a process that was stopped, makes nobody older than one
        // look.
        let passed = self.listed.map_or(Duration::ZERO, |last| now - last);
        let passed = passed.min(self.settings.interval * 2);
        self.listed = Some(now);
        if self.roll.look(listed, passed) {
            let names = self.roll.present().iter().map(|each| each.name.as_str());
            let names: Vec<&str> = names.collect();
            tracing::info!(gateways = names.join(", "), "gateways by their Leases");
        }
        // Also if nothing has changed: another configuration may be in force.
        gatekeeper.know(self.roll.present(), Some(&self.settings));
        metrics
            .members
            .set(i64::try_from(self.roll.present().len()).unwrap_or(i64::MAX));
        Ok(())
    }
}
