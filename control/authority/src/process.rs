//! The process of `eyesplice authority`: puts the parts together, runs them, and takes them down.

use super::controller::Controller;
use super::creation::Rates;
use super::limits;
use super::material::AuthorityMaterial;
use super::object::Timestamp;
use super::server::{Server, serve};
use super::store::{Store, StoreError};
use crate::config::{AuthorityConfig, Document};
use arc_swap::ArcSwap;
use eyesplice_identity::authn::{Authenticator, Sources};
use eyesplice_identity::document::ConfigErrors;
use eyesplice_process::listen;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::reload::{self, Host, Kept, Loaded, Named, Seen, Source};
use eyesplice_process::sandbox::{Reach, Sandbox};
use eyesplice_process::{Process, ProcessError, blocking};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// The kubeconfig of the cluster to work on, in place of the configuration's.
    pub kubeconfig: Option<PathBuf>,
    /// Whatever this group asks for is approved.
    pub insecure_auto_approve_group: Option<String>,
    /// Whether the process confines itself; within a gateway that is the gateway's business.
    pub sandbox: Sandbox,
}

/// Why the authority did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// As any process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The command line wants a cluster, the configuration does not.
    #[error(
        "{} has no `cluster` section, so --kubeconfig has no use; add `cluster: {{}}` and remove what \
         only a server needs", .0.display()
    )]
    NoCluster(PathBuf),
    /// The listener could not be bound.
    #[error("authority cannot listen on {address}; set listen.address to a free one")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The store could not be opened.
    #[error("cannot open the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What an authority of this configuration reaches. Blocks.
pub(super) fn reach(config: &Path) -> Result<Reach, ConfigErrors> {
    Ok(AuthorityConfig::load(config)?.config.reach())
}

pub(super) async fn supervise(
    options: Options,
    metrics: Arc<Metrics>,
) -> Result<(), AuthorityError> {
    let mut process = Process::begin(metrics)?;
    let prepared = Prepared::load(options, process.host.clone()).await?;
    process.serve_admin(prepared.config().admin.address).await?;
    process.readiness.material_loaded();
    let (mut running, kept) = prepared.start().await?;
    process.readiness.listeners_bound();
    process.ready(SERVING);
    let fault = process.until_stopped(&kept, running.ended()).await;
    process.stopping(limits::STOP);
    drop(kept);
    running.stop().await;
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}

/// An authority whose files are loaded and that runs not yet.
pub struct Prepared {
    files: Files,
    seen: Seen,
    group: Option<String>,
    host: Host,
}

impl Prepared {
    /// Loads configuration and files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub async fn load(options: Options, host: Host) -> Result<Self, ProcessError> {
        let file = options.config.clone();
        let ((material, sources), seen) = host.load(move || load_files(&file)).await?;
        Ok(Self {
            files: Files {
                config: options.config,
                started: material.config.clone(),
                material: Arc::new(ArcSwap::from_pointee(material)),
                authenticator: Arc::new(Authenticator::new(sources)),
            },
            seen,
            group: options.insecure_auto_approve_group,
            host,
        })
    }

    fn config(&self) -> &AuthorityConfig {
        &self.files.started
    }

    /// Opens the store, binds the listener, serves, and reloads.
    ///
    /// # Errors
    /// The store or the listener cannot be opened.
    pub async fn start(self) -> Result<(Running, Kept), AuthorityError> {
        let store = open_store(self.config()).await?;
        let (listener, address) = bind(self.config().address).await?;
        warn_of_group(self.group.as_deref());
        let (stop, stopping) = watch::channel(false);
        let material = Arc::clone(&self.files.material);
        let metrics = Arc::clone(&self.host.metrics);
        let server = Arc::new(Server {
            store: Arc::clone(&store),
            material: Arc::clone(&material),
            authenticator: Arc::clone(&self.files.authenticator),
            rates: Rates::default(),
            metrics: Arc::clone(&metrics),
            stopping,
        });
        let controller = Controller::new(store, material, self.group, metrics);
        let running = Running {
            address,
            stop,
            controller: tokio::spawn(controller.run()),
            serving: tokio::spawn(serve(server, listener)),
        };
        Ok((running, self.host.keep(self.files, self.seen)))
    }
}

/// Says what `--insecure-auto-approve-group` does.
pub(super) fn warn_of_group(group: Option<&str>) {
    if let Some(group) = group {
        tracing::warn!(
            group,
            "INSECURE: every CSR of this group that its signer takes is approved unseen; anyone in \
             it can become any user and any node. Remove --insecure-auto-approve-group"
        );
    }
}

/// An authority that serves, approves and signs.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    controller: JoinHandle<()>,
    serving: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resolves when a part ended that must not.
    pub async fn ended(&mut self) -> ProcessError {
        tokio::select! {
            _ = &mut self.controller => ProcessError::Ended("the controller"),
            _ = &mut self.serving => ProcessError::Ended("the listener"),
        }
    }

    /// Ends it; requests that run have a moment.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if !self.serving.is_finished() {
            // Its own deadline bounds it.
            let _ = self.serving.await;
        }
        self.controller.abort();
    }
}

async fn open_store(config: &AuthorityConfig) -> Result<Arc<Store>, AuthorityError> {
    let path = config.store.path.clone();
    let opened = blocking("the opening of the store", move || {
        Store::open(&path, Timestamp::from(SystemTime::now()))
    });
    let store = opened
        .await?
        .map_err(|error: StoreError| AuthorityError::Store(error.into()))?;
    let listing = store.list();
    tracing::info!(
        path = %config.store.path.display(),
        csrs = listing.objects.len(),
        revision = listing.revision,
        "store is open"
    );
    Ok(Arc::new(store))
}

async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), AuthorityError> {
    let bound = listen::tcp(address).await;
    let (listener, bound) = bound.map_err(|source| AuthorityError::Bind { address, source })?;
    tracing::info!(address = %bound, "authority listens");
    Ok((listener, bound))
}

/// What was loaded together.
type State = (AuthorityMaterial, Sources);

/// Reads the configuration and every file that it names. Blocks.
fn load_files(config: &Path) -> Loaded<State> {
    reload::load(
        config,
        AuthorityConfig::load(config),
        |config| Named {
            files: config.files(),
            secrets: config.secrets(),
            reach: config.reach(),
        },
        |config| AuthorityMaterial::load(config, SystemTime::now()),
    )
}

/// The files in force: the configuration, and all others that are named in it.
#[derive(Debug)]
struct Files {
    config: PathBuf,
    started: AuthorityConfig,
    material: Arc<ArcSwap<AuthorityMaterial>>,
    authenticator: Arc<Authenticator>,
}

/// What the service manager hears.
const SERVING: &str = "serving";

impl Source for Files {
    type State = State;

    fn load(&mut self) -> Loaded<State> {
        load_files(&self.config)
    }

    fn publish(&mut self, (material, sources): State) -> Vec<String> {
        let restart_required = self.started.restart_required(&material.config);
        self.authenticator.publish(sources);
        self.material.store(Arc::new(material));
        restart_required
    }

    fn status(&self) -> String {
        SERVING.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Site;
    use super::*;

    #[tokio::test]
    async fn field_that_waits_for_a_restart_waits_through_every_reload() {
        let site = Site::new();
        let options = Options {
            config: site.path("authority.yaml"),
            kubeconfig: None,
            insecure_auto_approve_group: None,
            sandbox: Sandbox::Off,
        };
        let host = Host::of(Metrics::of_authority());
        let mut files = Prepared::load(options, host).await.unwrap().files;
        assert_eq!(publish(&mut files), Vec::<String>::new());
        let text = std::fs::read_to_string(&files.config).unwrap();
        site.write("authority.yaml", &text.replace("authority.redb", "b.redb"));
        for _ in 0..2 {
            assert_eq!(publish(&mut files), ["store.path"]);
        }
    }

    fn publish(files: &mut Files) -> Vec<String> {
        let state = files.load().result.unwrap().state;
        files.publish(state)
    }
}
