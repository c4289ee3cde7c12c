//! The process of `eyesplice authority` in a cluster: files, signals, and one session after the other.

use super::super::process::{AuthorityError, Options, warn_of_group};
use super::material::ClusterMaterial;
use super::session::Session;
use crate::apiserver::ConnectError;
use crate::config::{ClusterConfig, Document};
use arc_swap::ArcSwap;
use data_encoding::HEXLOWER;
use eyesplice_identity::document::{self, ConfigErrors, FileRef};
use eyesplice_process::metrics::Metrics;
use eyesplice_process::reload::{self, Loaded, Named, Source};
use eyesplice_process::resolve::SystemLookup;
use eyesplice_process::sandbox::Reach;
use eyesplice_process::{Process, ProcessError};
use eyesplice_proto::causes::chain;
use ring::rand::{SecureRandom, SystemRandom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// A clean stop: what is written ends or is dropped at once, then one request gives the Lease up.
const STOP: Duration = Duration::from_secs(12);

/// Between two tries to make a client of files that were good when they were checked.
const CONNECT_RETRY: Duration = Duration::from_secs(5);

/// Random bytes of an identity: two processes of one host name never share one.
const IDENTITY_BYTES: usize = 8;

/// Runs until a signal stopped it.
pub(crate) async fn supervise(
    options: Options,
    metrics: Arc<Metrics>,
) -> Result<(), AuthorityError> {
    let mut process = Process::begin(metrics)?;
    let Options {
        config,
        kubeconfig,
        insecure_auto_approve_group: group,
        sandbox: _,
    } = options;
    let (first, own) = (config.clone(), kubeconfig.clone());
    let host = process.host.clone();
    let loading = host.load(move || load_files(&first, own.as_ref()));
    let (state, seen) = loading.await?;
    let files = Files {
        config,
        kubeconfig,
        started: state.config.clone(),
        credential: watch::Sender::new(key(&state)),
        material: Arc::new(ArcSwap::from_pointee(state)),
    };
    let (material, mut credential) = (Arc::clone(&files.material), files.credential.subscribe());
    process.readiness.watches(false);
    process.serve_admin(files.started.admin.address).await?;
    process.readiness.material_loaded();
    warn_of_group(group.as_deref());
    let kept = host.keep(files, seen);
    process.ready(WATCHING);

    let (stop, stopping) = watch::channel(false);
    let metrics = Arc::clone(&process.host.metrics);
    let readiness = Arc::clone(&process.readiness);
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
                readiness: Arc::clone(&readiness),
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
    let fault = process.until_stopped(&kept, &mut sessions).await;
    process.stopping(STOP);
    drop(kept);
    stop.send_replace(true);
    if !sessions.is_finished() && timeout(STOP, &mut sessions).await.is_err() {
        tracing::warn!("the API server did not take the Lease back in time; it ends by itself");
    }
    fault.map_or(
        Ok(()),
        |_| Err(ProcessError::Ended("the controller").into()),
    )
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

/// What an authority of these options reaches. Blocks.
pub(crate) fn reach(options: &Options) -> Result<Reach, ConfigErrors> {
    let read = read(&options.config, options.kubeconfig.as_ref())?;
    Ok(read.config.reach())
}

/// Reads the configuration; `kubeconfig` is the command line's. Blocks.
fn read(
    config: &Path,
    kubeconfig: Option<&PathBuf>,
) -> Result<document::Loaded<ClusterConfig>, ConfigErrors> {
    let mut loaded = ClusterConfig::load(config)?;
    let own = &mut loaded.config.kubeconfig_file;
    let given = kubeconfig.map(|file| FileRef::new("--kubeconfig", file));
    *own = given.or(own.take());
    Ok(loaded)
}

/// Reads the configuration and every file that it names; `kubeconfig` is the command line's. Blocks.
fn load_files(config: &Path, kubeconfig: Option<&PathBuf>) -> Loaded<ClusterMaterial> {
    reload::load(
        config,
        read(config, kubeconfig),
        |config| Named {
            files: config.files(),
            secrets: config.secrets(),
            reach: config.reach(),
        },
        |config| ClusterMaterial::load(config, SystemTime::now()),
    )
}

/// What a session is made for: another one of it needs another session.
type SessionKey = (Vec<u8>, bool);

/// The files in force: the configuration, and all others that are named in it.
#[derive(Debug)]
struct Files {
    config: PathBuf,
    kubeconfig: Option<PathBuf>,
    started: ClusterConfig,
    material: Arc<ArcSwap<ClusterMaterial>>,
    credential: watch::Sender<SessionKey>,
}

/// What the service manager hears.
const WATCHING: &str = "watching";

impl Source for Files {
    type State = ClusterMaterial;

    fn load(&mut self) -> Loaded<ClusterMaterial> {
        load_files(&self.config, self.kubeconfig.as_ref())
    }

    fn publish(&mut self, material: ClusterMaterial) -> Vec<String> {
        let restart_required = self.started.restart_required(&material.config);
        let key = key(&material);
        self.material.store(Arc::new(material));
        self.credential.send_if_modified(|known| {
            let changed = *known != key;
            *known = key;
            changed
        });
        restart_required
    }

    fn status(&self) -> String {
        WATCHING.to_owned()
    }
}

fn key(material: &ClusterMaterial) -> SessionKey {
    (material.credential.clone(), material.asks_nodes())
}
