//! Requests to the Kubernetes API: whose they are, and which API server they go to.
//!
//! A request with a token, or with nothing, goes on as it came: only the API server can know
//! whose it is. The user of a certificate is named by us, over connections by which API servers
//! believe that (`--requestheader-client-ca-file`). What a client says of itself in the same
//! headers is taken off.

mod break_glass;
mod credentials;
mod followed;
mod judge;
mod labels;
mod names;
mod quotas;
pub(crate) mod servers;
pub(crate) mod short;
mod status;
mod users;

pub(crate) use judge::{judge, lead};

use crate::config::{Config, FrontLimits, UserHeaders};
use crate::events::{Events, Recorder};
use crate::material::{ApiServersMaterial, Material};
use break_glass::BreakGlass;
use eyesplice_dataplane::seam::{ListenerName, StreamLimits};
use eyesplice_identity::access::{ClusterSettings, Section};
use eyesplice_identity::verify::Trust;
use eyesplice_process::metrics::FrontReport;
use eyesplice_proto::target::Host;
use quotas::Quotas;
use rustls::sign::CertifiedKey;
use serde_json::Value as Json;
use servers::Servers;
use short::{Kubelets, Short};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use users::Users;

/// What is decided with, of one configuration.
#[derive(Debug)]
pub(crate) struct Front {
    generation: u64,
    /// Where requests go.
    pub(crate) servers: Arc<Servers>,
    trust: Arc<Trust>,
    /// The names of which an API server's certificate must have one; empty: what was dialled.
    names: Arc<[Host]>,
    server_name: Option<Host>,
    proxy_client: Option<Arc<CertifiedKey>>,
    headers: UserHeaders,
    users: HashMap<ListenerName, Arc<Users>>,
    limits: StreamLimits,
    /// How long a name may take to be resolved.
    lookup: Duration,
    /// Streams of pods may go past the API servers.
    short: Option<Short>,
    /// What API servers do not see of them is recorded.
    recorder: Option<Recorder>,
    quotas: Arc<Quotas>,
    /// How many streams of pods there may be.
    of_streams: FrontLimits,
    /// What may be done while no API server can be asked.
    break_glass: Option<BreakGlass>,
}

/// What outlives every configuration: where audit events go, and which streams are live.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Audit events of streams that pass the API servers.
    pub(crate) events: Events,
    quotas: Arc<Quotas>,
    break_glass: Arc<break_glass::Kept>,
}

impl Kept {
    /// What metrics show of it.
    pub(crate) fn report(&self, front: Option<&Front>) -> FrontReport {
        let break_glass = front.and_then(|front| front.break_glass.as_ref());
        FrontReport {
            events: self.events.report(),
            break_glass: break_glass.map(|_| self.break_glass.report()),
            ..self.quotas.report()
        }
    }
}

impl Front {
    /// Compiles a configuration that follows another one; nothing if it has no API servers.
    pub(crate) fn new(
        generation: u64,
        config: &Config,
        material: &Material,
        before: Option<&Self>,
        kept: &Kept,
    ) -> Option<Self> {
        let events = material.events.as_ref();
        let recorder = kept.events.configure(config.front.audit.as_ref(), events);
        let settings = config.apiservers.as_ref()?;
        let ApiServersMaterial {
            trust,
            proxy_client,
            own,
            token_file,
        } = material.apiservers.as_ref()?;
        let known = before.map(|before| &*before.servers);
        let servers = Servers::new(settings, own, token_file.as_deref(), known);
        let servers = Arc::new(servers);
        let glass = material.break_glass.as_ref();
        let break_glass = BreakGlass::new(config, glass, &servers, &kept.break_glass);
        // The rest of the verdict's time is for going through an API server.
        let patience = config.timeouts.verdict * 4 / 5;
        let short = config.front.short_way.as_ref().map(|short_way| {
            let known = Arc::clone(&servers);
            let cluster = ClusterSettings {
                section: Section::ApiServers,
                servers: servers.clients(),
                token_file: token_file.clone(),
                timeout: patience,
                first: Arc::new(move || known.first_well()),
            };
            let remembers = break_glass.as_ref().map(BreakGlass::remembers);
            Short::new(short_way, cluster, patience).remembering(remembers)
        });
        // A listener that the configuration lacks still runs until a restart.
        let mut users = before
            .map(|before| before.users.clone())
            .unwrap_or_default();
        for listener in &config.listeners {
            users.remove(&listener.name);
        }
        for (listener, verifier) in &material.users {
            let of_listener = Arc::new(Users::new(Arc::clone(verifier)));
            users.insert(Arc::clone(listener), of_listener);
        }
        Some(Self {
            generation,
            names: match &settings.server_name {
                Some(name) => Arc::from([name.clone()]),
                None => servers.hosts(),
            },
            servers,
            short,
            recorder,
            quotas: Arc::clone(&kept.quotas),
            of_streams: config.front.limits,
            break_glass,
            trust: Arc::clone(trust),
            server_name: settings.server_name.clone(),
            proxy_client: proxy_client.clone(),
            headers: config.front.headers.clone(),
            users,
            limits: config.stream_limits(),
            // As for targets: the rest of the verdict's time is for the answer.
            lookup: config.timeouts.verdict * 9 / 10,
        })
    }
}

impl Front {
    /// Looks at API servers from the second place, if there is one. Gives the pause until the next
    /// look.
    pub(crate) async fn look_from_vantage(&self) -> Option<Duration> {
        Some(self.break_glass.as_ref()?.look().await)
    }

    /// Keeps up what break-glass would need, if it is configured. Gives the pause until the next
    /// round.
    pub(crate) async fn keep_break_glass(&self, kubelets: &dyn Kubelets) -> Option<Duration> {
        let (glass, short) = self.break_glass.as_ref().zip(self.short.as_ref())?;
        Some(glass.keep(short, kubelets).await)
    }

    /// How break-glass is, or what a drill's question comes to; `None`: it is not configured.
    /// `Err`: what is wrong with the question.
    pub(crate) fn break_glass(&self, drill: Option<&str>) -> Option<Result<Json, String>> {
        Some(self.break_glass.as_ref()?.answer(drill))
    }
}

#[cfg(test)]
mod tests;
