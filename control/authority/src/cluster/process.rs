//! The process of `eyesplice authority` in a cluster: files, signals, and one session after the other.

use super::super::process::{AuthorityError, Options};
use super::material::ClusterMaterial;
use super::session::Session;
use crate::apiserver::ConnectError;
use crate::config::{ClusterConfig, LoadedCluster};
use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use eyesplice_process::admin::{Admin, Readiness};
use eyesplice_process::expiry::Reminders;
use eyesplice_process::metrics::{Metrics, certificate_rows};
use eyesplice_process::reload::{Loaded, Published, Reloader, Source, Timing, load_settled};
use eyesplice_process::resolve::SystemLookup;
use eyesplice_process::signals::{Request, Signals};
use eyesplice_process::{expiry, exposure, systemd};
use eyesplice_proto::causes::chain;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// A clean stop: what is written ends or is dropped at once, then one request gives the Lease up.
const STOP: Duration = Duration::from_secs(12);

/// Between two tries to make a client of files that were good when they were checked.
const CONNECT_RETRY: Duration = Duration::from_secs(5);

/// Random bytes of an identity: two processes of one host name never share one.
const IDENTITY_BYTES: usize = 8;

/// Runs until a signal stopped it.
pub(crate) async fn supervise(options: Options) -> Result<(), AuthorityError> {
    let mut signals = Signals::catch().map_err(AuthorityError::Signals)?;
    let metrics = Metrics::of_authority();
    let files = Files {
        config: options.config,
        kubeconfig: options.kubeconfig,
    };
    let first = files.clone();
    let settled = spawn_blocking(move || load_settled(|| first.load())).await;
    let settled = settled.map_err(|_| AuthorityError::TaskEnded("the first load"))?;
    let (state, seen) = settled.into_state().map_err(AuthorityError::Config)?;
    let source = FileSource::start(files, state, Arc::clone(&metrics));
    let material = Arc::clone(&source.material);
    let mut credential = source.credential.subscribe();
    tokio::spawn(source.watch_expiry());
    let config = material.load().config.clone();

    let admin = Admin::bind(config.admin.address).await?;
    tracing::info!(address = %admin.address(), "admin endpoint listens");
    let readiness = Arc::new(Readiness::default());
    readiness.watches(false);
    tokio::spawn(admin.serve(Arc::clone(&metrics), Arc::clone(&readiness)));
    readiness.material_loaded();
    if let Some(group) = &options.insecure_auto_approve_group {
        tracing::warn!(
            group,
            "INSECURE: every CSR of this group that its signer takes is approved unseen; whoever is \
             in it can become any user and any node. Remove --insecure-auto-approve-group"
        );
    }
    let hangup = Arc::new(Notify::new());
    let timing = Timing::default();
    let reloader = Reloader::new(
        source,
        seen,
        Arc::clone(&hangup),
        timing,
        metrics.config.clone(),
    );
    let reloader = tokio::spawn(reloader.run());
    tokio::spawn(systemd::feed_watchdog());
    systemd::ready("watching");

    let (stop, stopping) = watch::channel(false);
    let group = options.insecure_auto_approve_group;
    let shown = Arc::clone(&readiness);
    let identity = identity();
    let mut sessions = tokio::spawn(async move {
        while !*stopping.borrow() {
            credential.mark_unchanged();
            let place = material.load().place.clone();
            let client = match place.connect().await {
                Ok(client) => client,
                Err(error) => {
                    cannot_connect(&error);
                    sleep(CONNECT_RETRY).await;
                    continue;
                }
            };
            tracing::info!(%place, identity, "works on the CSRs of the cluster");
            let session = Session {
                client,
                material: Arc::clone(&material),
                insecure_group: group.clone(),
                identity: identity.clone(),
                metrics: Arc::clone(&metrics),
                readiness: Arc::clone(&shown),
                lookup: Arc::new(SystemLookup),
            };
            let mut stopping = stopping.clone();
            session
                .run(async {
                    tokio::select! {
                        // Whichever ends, there is nothing left to wait for.
                        _ = stopping.wait_for(|stop| *stop) => {}
                        _ = credential.changed() => {}
                    }
                })
                .await;
        }
    });
    let failure = loop {
        tokio::select! {
            request = signals.next() => match request {
                Request::Reload => hangup.notify_one(),
                Request::Stop(signal) => {
                    tracing::info!(signal, "stopping");
                    break None;
                }
            },
            _ = &mut sessions => break Some(AuthorityError::TaskEnded("the controller")),
        }
    };
    readiness.draining();
    systemd::stopping(STOP);
    reloader.abort();
    stop.send_replace(true);
    if !sessions.is_finished() && timeout(STOP, &mut sessions).await.is_err() {
        tracing::warn!("the API server did not take the Lease back in time; it ends by itself");
    }
    failure.map_or(Ok(()), Err)
}

fn cannot_connect(error: &ConnectError) {
    tracing::error!(
        error = chain(error),
        "there is no client of the API server; trying again"
    );
}

/// The name of this process in the Lease: the host's for people, random bytes for certainty.
fn identity() -> String {
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|name| name.into_string().ok());
    let host = host.unwrap_or_else(|| "unknown".to_owned());
    let mut bytes = [0; IDENTITY_BYTES];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Unique on this host at least.
        bytes = u64::from(std::process::id()).to_be_bytes();
    }
    format!("{host}_{}", HEXLOWER.encode(&bytes))
}

/// Where the configuration is; all other files are named in it.
#[derive(Clone, Debug)]
struct Files {
    config: PathBuf,
    kubeconfig: Option<PathBuf>,
}

impl Files {
    /// Reads the configuration and every file that it names. Blocks.
    fn load(&self) -> Loaded<ClusterMaterial> {
        let mut files = BTreeSet::from([self.config.clone()]);
        let LoadedCluster { config, warnings } = match ClusterConfig::load(&self.config) {
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
        files.extend(self.kubeconfig.clone());
        files.extend(config.kubeconfig_file.clone());
        let mut secrets = config.secrets();
        secrets.extend(self.kubeconfig.clone());
        let exposed = exposure::find(&files, &secrets);
        let loaded = ClusterMaterial::load(config, self.kubeconfig.as_ref(), SystemTime::now());
        let result = match loaded {
            Ok(mut material) => {
                files.extend(material.place.files());
                let warnings = warnings.iter().map(ToString::to_string);
                material.warnings.extend(warnings);
                let exposed = exposed.iter().map(ToString::to_string);
                material.warnings.extend(exposed);
                Ok(material)
            }
            Err(errors) => Err(errors.0.iter().map(|error| chain(error)).collect()),
        };
        Loaded { files, result }
    }
}

/// What a session is made for: another one of it needs another session.
type SessionKey = (Vec<u8>, bool);

/// Publishes what was loaded, at the start and at every reload.
#[derive(Debug)]
struct FileSource {
    files: Files,
    material: Arc<ArcSwap<ClusterMaterial>>,
    credential: watch::Sender<SessionKey>,
    reminders: Arc<Reminders>,
    generation: u64,
    metrics: Arc<Metrics>,
}

impl FileSource {
    fn start(files: Files, material: ClusterMaterial, metrics: Arc<Metrics>) -> Self {
        let reminders = Arc::default();
        show(&material, &metrics, &reminders);
        metrics.config.loaded(1, SystemTime::now());
        Self {
            files,
            credential: watch::Sender::new(key(&material)),
            material: Arc::new(ArcSwap::from_pointee(material)),
            reminders,
            generation: 1,
            metrics,
        }
    }

    /// Says what ends soon of whatever is in force, for as long as it is polled.
    fn watch_expiry(&self) -> impl Future<Output = ()> + use<> {
        let (material, reminders) = (Arc::clone(&self.material), Arc::clone(&self.reminders));
        expiry::watch(move |now| reminders.look(&material.load().certificates, now))
    }
}

impl Source for FileSource {
    type State = ClusterMaterial;

    fn load(&mut self) -> Loaded<ClusterMaterial> {
        self.files.load()
    }

    fn publish(&mut self, material: ClusterMaterial) -> Published {
        show(&material, &self.metrics, &self.reminders);
        self.generation += 1;
        let running = self.material.load();
        let restart_required = running.config.restart_required(&material.config);
        let key = key(&material);
        self.material.store(Arc::new(material));
        self.credential.send_if_modified(|known| {
            let changed = *known != key;
            *known = key;
            changed
        });
        Published {
            generation: self.generation,
            restart_required,
        }
    }

    fn reloading(&mut self) {
        systemd::reloading();
    }

    fn settled(&mut self) {
        systemd::ready("watching");
    }
}

fn key(material: &ClusterMaterial) -> SessionKey {
    (material.credential.clone(), material.asks_nodes())
}

fn show(material: &ClusterMaterial, metrics: &Metrics, reminders: &Reminders) {
    for warning in &material.warnings {
        tracing::warn!(warning, "configuration is allowed and probably not meant");
    }
    metrics
        .certificates
        .replace(certificate_rows(&material.certificates));
    reminders.look(&material.certificates, SystemTime::now());
}
