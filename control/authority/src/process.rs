//! The process of `eyesplice authority`: puts the parts together, runs them, and takes them down.

use super::controller::Controller;
use super::creation::Rates;
use super::limits;
use super::material::AuthorityMaterial;
use super::object::Timestamp;
use super::server::{Server, serve};
use super::store::{Store, StoreError};
use crate::config::{AuthorityConfig, LoadedAuthority};
use arc_swap::ArcSwap;
use eyesplice_identity::authn::{Authenticator, Sources};
use eyesplice_process::admin::{Admin, BindError, Readiness};
use eyesplice_process::expiry::Reminders;
use eyesplice_process::metrics::{ConfigMetrics, Metrics, certificate_rows};
use eyesplice_process::reload::{Loaded, Published, Reloader, Seen, Source, Timing, load_settled};
use eyesplice_process::signals::{Request, Signals};
use eyesplice_process::{expiry, exposure, listen, systemd};
use eyesplice_proto::causes::chain;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_blocking};

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// The kubeconfig of the cluster to work on, in place of the configuration's.
    pub kubeconfig: Option<PathBuf>,
    /// Whatever this group asks for is approved.
    pub insecure_auto_approve_group: Option<String>,
}

/// Why the authority did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Configuration or files are not valid.
    #[error("configuration has {} errors; nothing was started", .0.len())]
    Config(Vec<String>),
    /// The command line wants a cluster, the configuration does not.
    #[error(
        "{} has no `cluster` section, so --kubeconfig has no use; add `cluster: {{}}` and remove what \
         only a server needs", .0.display()
    )]
    NoCluster(PathBuf),
    /// The runtime could not be started.
    #[error("cannot start the authority's threads; check the limit of processes")]
    Runtime(#[source] io::Error),
    /// Signals could not be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// The admin endpoint could not be bound.
    #[error(transparent)]
    Admin(#[from] BindError),
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
    /// A task that must run for ever ended: a bug.
    #[error("{0} ended by itself; this is a bug")]
    TaskEnded(&'static str),
}

pub(super) async fn supervise(options: Options) -> Result<(), AuthorityError> {
    let mut signals = Signals::catch().map_err(AuthorityError::Signals)?;
    let metrics = Metrics::of_authority();
    let host = Host {
        reloads: metrics.config.clone(),
        metrics: Arc::clone(&metrics),
        alone: true,
    };
    let prepared = Prepared::load(options, host).await?;
    let admin = Admin::bind(prepared.config().admin.address).await?;
    tracing::info!(address = %admin.address(), "admin endpoint listens");
    let readiness = Arc::new(Readiness::default());
    tokio::spawn(admin.serve(metrics, Arc::clone(&readiness)));
    readiness.material_loaded();
    let mut running = prepared.start().await?;
    readiness.listeners_bound();
    systemd::ready("serving");
    tokio::spawn(systemd::feed_watchdog());
    let failure = loop {
        tokio::select! {
            request = signals.next() => match request {
                Request::Reload => running.reload(),
                Request::Stop(signal) => {
                    tracing::info!(signal, "stopping");
                    break None;
                }
            },
            fault = running.ended() => break Some(fault),
        }
    };
    readiness.draining();
    systemd::stopping(limits::STOP);
    running.stop().await;
    failure.map_or(Ok(()), Err)
}

/// The process that an authority runs in.
#[derive(Clone, Debug)]
pub struct Host {
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What its reloads are counted in.
    pub reloads: ConfigMetrics,
    /// The process is the authority's own, and so is what the service manager hears.
    pub alone: bool,
}

/// An authority whose files are loaded and that runs not yet.
pub struct Prepared {
    source: FileSource,
    seen: Seen,
    group: Option<String>,
    host: Host,
}

impl Prepared {
    /// Loads configuration and files.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub async fn load(options: Options, host: Host) -> Result<Self, AuthorityError> {
        let files = Files {
            config: options.config,
        };
        let first = files.clone();
        let settled = spawn_blocking(move || load_settled(|| first.load())).await;
        let settled = settled.map_err(|_| AuthorityError::TaskEnded("the first load"))?;
        let (state, seen) = settled.into_state().map_err(AuthorityError::Config)?;
        Ok(Self {
            source: FileSource::start(files, state, host.clone()),
            seen,
            group: options.insecure_auto_approve_group,
            host,
        })
    }

    fn config(&self) -> AuthorityConfig {
        self.source.material.load().config.clone()
    }

    /// Opens the store, binds the listener, and serves.
    ///
    /// # Errors
    /// The store or the listener cannot be opened.
    pub async fn start(self) -> Result<Running, AuthorityError> {
        let config = self.config();
        let Self {
            source,
            seen,
            group,
            host: Host {
                metrics, reloads, ..
            },
        } = self;
        let store = open_store(&config).await?;
        let (listener, address) = bind(config.address).await?;
        if let Some(group) = &group {
            tracing::warn!(
                group,
                "INSECURE: every CSR of this group that its signer takes is approved unseen; whoever \
                 is in it can become any user and any node. Remove --insecure-auto-approve-group"
            );
        }
        let (stop, stopping) = watch::channel(false);
        let material = Arc::clone(&source.material);
        let expiry = tokio::spawn(source.watch_expiry());
        let server = Arc::new(Server {
            store: Arc::clone(&store),
            material: Arc::clone(&material),
            authenticator: Arc::clone(&source.authenticator),
            rates: Rates::default(),
            metrics: Arc::clone(&metrics),
            stopping,
        });
        let controller = Controller::new(store, material, group, metrics);
        let hangup = Arc::new(Notify::new());
        let timing = Timing::default();
        let reloader = Reloader::new(source, seen, Arc::clone(&hangup), timing, reloads);
        Ok(Running {
            address,
            stop,
            hangup,
            controller: tokio::spawn(controller.run()),
            serving: tokio::spawn(serve(server, listener)),
            reloader: tokio::spawn(reloader.run()),
            expiry,
        })
    }
}

/// An authority that serves, approves, signs and reloads.
pub struct Running {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    hangup: Arc<Notify>,
    controller: JoinHandle<()>,
    serving: JoinHandle<()>,
    reloader: JoinHandle<()>,
    expiry: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads all files anew.
    pub fn reload(&self) {
        self.hangup.notify_one();
    }

    /// Resolves when a part ended that must not.
    pub async fn ended(&mut self) -> AuthorityError {
        tokio::select! {
            _ = &mut self.controller => AuthorityError::TaskEnded("the controller"),
            _ = &mut self.serving => AuthorityError::TaskEnded("the listener"),
        }
    }

    /// Ends it; requests that run have a moment.
    pub async fn stop(self) {
        self.reloader.abort();
        self.expiry.abort();
        self.stop.send_replace(true);
        if !self.serving.is_finished() {
            // Its own deadline bounds it.
            let _ = self.serving.await;
        }
        self.controller.abort();
    }
}

async fn open_store(config: &AuthorityConfig) -> Result<Arc<Store>, AuthorityError> {
    let path = config.store.clone();
    let opened = spawn_blocking(move || Store::open(&path, Timestamp::from(SystemTime::now())));
    let opened = opened
        .await
        .map_err(|_| AuthorityError::TaskEnded("the opening of the store"))?;
    let store = opened.map_err(|error: StoreError| AuthorityError::Store(error.into()))?;
    let listing = store.list();
    tracing::info!(
        path = %config.store.display(),
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
#[derive(Debug)]
struct State {
    material: AuthorityMaterial,
    sources: Sources,
}

/// Where the configuration is; all other files are named in it.
#[derive(Clone, Debug)]
struct Files {
    config: PathBuf,
}

impl Files {
    /// Reads the configuration and every file that it names. Blocks.
    fn load(&self) -> Loaded<State> {
        let mut files = BTreeSet::from([self.config.clone()]);
        let LoadedAuthority { config, warnings } = match AuthorityConfig::load(&self.config) {
            Ok(loaded) => loaded,
            Err(errors) => {
                let file = errors.file.display();
                let lines = errors.errors.iter().map(|error| format!("{file}: {error}"));
                return Loaded {
                    files,
                    result: Err(lines.collect()),
                };
            }
        };
        files.extend(config.files());
        let exposed = exposure::find(&files, &config.secrets());
        let result = match AuthorityMaterial::load(config, SystemTime::now()) {
            Ok((mut material, sources)) => {
                let warnings = warnings.iter().map(ToString::to_string);
                material.warnings.extend(warnings);
                let exposed = exposed.iter().map(ToString::to_string);
                material.warnings.extend(exposed);
                Ok(State { material, sources })
            }
            Err(errors) => Err(errors.0.iter().map(|error| chain(error)).collect()),
        };
        Loaded { files, result }
    }
}

/// Publishes what was loaded, at the start and at every reload.
#[derive(Debug)]
struct FileSource {
    files: Files,
    material: Arc<ArcSwap<AuthorityMaterial>>,
    authenticator: Arc<Authenticator>,
    reminders: Arc<Reminders>,
    generation: u64,
    host: Host,
}

impl FileSource {
    fn start(files: Files, state: State, host: Host) -> Self {
        let State { material, sources } = state;
        let reminders = Arc::default();
        show(&material, &host.metrics, &reminders);
        host.reloads.loaded(1, SystemTime::now());
        Self {
            files,
            authenticator: Arc::new(Authenticator::new(sources)),
            material: Arc::new(ArcSwap::from_pointee(material)),
            reminders,
            generation: 1,
            host,
        }
    }

    /// Says what ends soon of whatever is in force, for as long as it is polled.
    fn watch_expiry(&self) -> impl Future<Output = ()> + use<> {
        let (material, reminders) = (Arc::clone(&self.material), Arc::clone(&self.reminders));
        expiry::watch(move |now| reminders.look(&material.load().certificates, now))
    }
}

impl Source for FileSource {
    type State = State;

    fn load(&mut self) -> Loaded<State> {
        self.files.load()
    }

    fn publish(&mut self, state: State) -> Published {
        let State { material, sources } = state;
        show(&material, &self.host.metrics, &self.reminders);
        self.generation += 1;
        let restart_required = self
            .material
            .load()
            .config
            .restart_required(&material.config);
        self.authenticator.publish(sources);
        self.material.store(Arc::new(material));
        Published {
            generation: self.generation,
            restart_required,
        }
    }

    fn reloading(&mut self) {
        if self.host.alone {
            systemd::reloading();
        }
    }

    fn settled(&mut self) {
        if self.host.alone {
            systemd::ready("serving");
        }
    }
}

fn show(material: &AuthorityMaterial, metrics: &Metrics, reminders: &Reminders) {
    for warning in &material.warnings {
        tracing::warn!(warning, "configuration is allowed and probably not meant");
    }
    metrics
        .certificates
        .replace_part("authority", certificate_rows(&material.certificates));
    reminders.look(&material.certificates, SystemTime::now());
}
