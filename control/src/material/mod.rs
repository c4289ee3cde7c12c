//! Everything that a configuration's files hold, loaded and checked: what decisions are made with.
//!
//! A [`Material`] is immutable. A reload makes a new one from all files, or reports all that is
//! wrong with them and leaves the old one in force.

mod agent;
mod break_glass;
mod error;
mod front;
mod listener;
mod loader;
mod proxy;
mod way_out;

pub use agent::{AgentMaterial, before_enrolment};
pub use break_glass::BreakGlassMaterial;
pub use error::{MaterialError, MaterialErrors};
pub use front::ApiServersMaterial;

use crate::config::Config;
use crate::events::EventsMaterial;
use crate::grants::Grants;
use crate::leaf::{LeafIssuer, LeafRequests};
use eyesplice_dataplane::seam::{ActionPolicy, DownstreamTls, ListenerName, ProxyTls};
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_identity::verify::Trust;
use loader::Loader;
use rustls::ClientConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

/// The loaded files of one configuration.
#[derive(Debug)]
pub struct Material {
    /// TLS of the TCP listeners.
    pub listeners: HashMap<ListenerName, DownstreamTls>,
    /// How certificates of users of the Kubernetes API are validated, by listener; those that take
    /// none are absent.
    pub users: HashMap<ListenerName, Arc<dyn ClientCertVerifier>>,
    /// Issuer of leaves, if a rule terminates TLS.
    pub issuer: Option<Arc<LeafIssuer>>,
    /// How leaves are asked of an authority instead.
    pub leaf_requests: Option<Arc<LeafRequests>>,
    /// Both identities of kubelet streams.
    pub kubelet: Option<KubeletMaterial>,
    /// Who API servers must be, and who we are to them.
    pub apiservers: Option<ApiServersMaterial>,
    /// How streams that pass API servers are recorded, if they are.
    pub events: Option<EventsMaterial>,
    /// Who may do something while no API server can be asked, and how that is found out.
    pub break_glass: Option<BreakGlassMaterial>,
    /// Who may be an agent, if there are tunnel listeners or grants.
    pub grants: Option<Arc<Grants>>,
    /// Trust of each rule that has its own, by the rule's index.
    pub targets: Vec<Option<Arc<Trust>>>,
    /// TLS with the proxy of each rule that has one, by the rule's index.
    pub proxies: Vec<Option<ProxyTls>>,
    /// TLS towards other gateways, if streams are passed on to any.
    pub peers: Option<Arc<ClientConfig>>,
    /// Every certificate that was loaded; of a bundle the one that expires first.
    pub certificates: Vec<CertificateInfo>,
    /// What is allowed and probably not meant, in words.
    pub warnings: Vec<String>,
}

/// Both identities of kubelet streams.
#[derive(Debug)]
pub struct KubeletMaterial {
    /// Whom to trust as kubelet.
    pub trust: Arc<Trust>,
    /// What we present to kubelets.
    pub client: Arc<CertifiedKey>,
    /// When that certificate ends.
    pub client_until: SystemTime,
    /// Nodes by address.
    pub inventory: Option<Arc<Inventory>>,
    /// What may be asked of a kubelet.
    pub actions: Arc<ActionPolicy>,
}

impl Material {
    /// Loads every file of a configuration. Blocks; `now` is for judging validity.
    ///
    /// # Errors
    /// All that is wrong with any file.
    pub fn load(config: &Config, now: SystemTime) -> Result<Self, MaterialErrors> {
        Self::load_after(config, now, &[])
    }

    /// As [`load`](Self::load), after other files were in force. A certificate whose time is over,
    /// or has not come, is an error unless it is in force already: it must replace no better one, and
    /// keep no other change from coming into force.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_after(
        config: &Config,
        now: SystemTime,
        in_force: &[CertificateInfo],
    ) -> Result<Self, MaterialErrors> {
        Self::load_by(config, Loader::new(now, in_force))
    }

    /// As [`load`](Self::load), where certificates of the identity may be missing, which is told as a
    /// warning: what a gateway finds that never ran.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn load_unenrolled(
        config: &Config,
        now: SystemTime,
    ) -> Result<Self, MaterialErrors> {
        let dir = config.identity.as_ref().map(|who| who.dir.clone());
        Self::load_by(config, Loader::new(now, &[]).unenrolled(dir))
    }

    fn load_by(config: &Config, mut loader: Loader<'_>) -> Result<Self, MaterialErrors> {
        loader.identity(config);
        loader.tickets(config);
        loader.groups(config);
        let break_glass = loader.break_glass(config);
        let (listeners, users) = loader.listeners(config);
        let clients = loader.apiserver_clients(config);
        let issuer = loader.issuer(config, clients.as_ref());
        let leaf_requests = loader.leaf_requests(config, clients);
        let kubelet = loader.kubelet(config);
        let apiservers = loader.apiservers(config);
        let events = loader.events(config);
        let inventory = kubelet
            .as_ref()
            .and_then(|kubelet| kubelet.inventory.as_deref());
        let grants = loader.grants(config, inventory);
        let targets = loader.targets(config);
        let proxies = loader.proxies(config);
        let peers = loader.peers(config);
        let (certificates, warnings) = loader.finish()?;
        Ok(Self {
            listeners,
            users,
            issuer,
            leaf_requests,
            kubelet,
            apiservers,
            events,
            break_glass,
            grants,
            targets,
            proxies,
            peers,
            certificates,
            warnings,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
