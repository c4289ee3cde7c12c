//! The process of `eyesplice gateway`: puts the parts together, runs them, and takes them down.
//!
//! Order of the start: what can refuse cheaply comes first (kernel, configuration, certificates),
//! then the audit log and the admin endpoint, then the listeners. Nothing is accepted before all of
//! it stands: certificates that come from an authority are waited for. The engine's workers are threads of their own; all else runs on a small runtime here.

mod embedded;
mod error;
mod expiry;
mod files;
mod first;
mod kernel;
mod memory;
mod source;
mod startup;

pub use error::GatewayError;

use crate::admit::Gatekeeper;
use crate::audit::{self, Audit};
use crate::config::Config;
use embedded::Embedded;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{Engine, Listeners};
use eyesplice_dataplane::seam::{Control, StreamRecord};
use eyesplice_process::admin::{Admin, Readiness};
use eyesplice_process::expiry::watch;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::reload::{Reloader, Seen, Timing, load_settled};
use eyesplice_process::signals::{Request, Signals};
use eyesplice_process::systemd;
use files::{Files, State};
use source::FileSource;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};

/// Threads of control's runtime: verdicts, admin, audit and reload; bytes never pass here.
const CONTROL_THREADS: usize = 2;

/// How long control's own tasks may take to end after the engine.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// Runs until a signal stopped it and every stream has ended.
///
/// # Errors
/// Whatever kept it from starting; nothing stays behind.
pub fn run(config_file: PathBuf) -> Result<(), GatewayError> {
    // Sockets and logs get their modes explicitly; anything else is nobody's business.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let metrics = Metrics::new();
    kernel::prepare(&metrics)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(GatewayError::Runtime)?;
    let result = runtime.block_on(serve(Files::new(config_file), metrics));
    runtime.shutdown_timeout(LAST_TASKS);
    result
}

async fn serve(files: Files, metrics: Arc<Metrics>) -> Result<(), GatewayError> {
    let mut signals = Signals::catch().map_err(GatewayError::Signals)?;
    let first = files.clone();
    let config = spawn_blocking(move || first.config()).await;
    let config =
        config.map_err(|_| GatewayError::TaskEnded("the first look at the configuration"))?;
    let config = config.map_err(GatewayError::Config)?;
    let admin = Admin::bind(config.admin.address).await?;
    let mut listening = vec![admin.address()];
    tracing::info!(address = %admin.address(), "admin endpoint listens");
    let readiness = Arc::new(Readiness::default());
    tokio::spawn(admin.serve(Arc::clone(&metrics), Arc::clone(&readiness)));
    let authority = match &config.authority {
        Some(file) => Some(Embedded::start(file.clone(), &metrics).await?),
        None => None,
    };
    listening.extend(authority.as_ref().map(Embedded::address));
    let enrolled = first::certificates(&files, &mut signals, &readiness, &metrics).await;
    if !enrolled {
        return Ok(());
    }
    let (state, seen) = load(files.clone()).await?;
    let config = state.config.clone();
    startup::log_config(&config, &state.warnings);
    let Some(audit) = open_audit(&config, &metrics, &mut signals).await? else {
        return Ok(());
    };
    startup::log_audit(&config.audit);
    let descriptors = startup::room(&config);
    readiness.lowered(descriptors.lowered(&config));
    // Before a first verdict, so that no stream ever leads back here; who connects has to wait a moment.
    let listeners = bind(&config).await?;
    listening.extend(listeners.tcp_addresses());
    let source = FileSource::start(files, state, descriptors, Arc::clone(&metrics), listening);
    let gatekeeper = source.gatekeeper();
    let expiry = source.expiry();
    readiness.material_loaded();

    let reopen = audit.reopen();
    let (records, received) = mpsc::channel(audit::QUEUE);
    gatekeeper.audits(audit.gate(&records));
    readiness.audits(audit.gate(&records));
    let audit = tokio::spawn(audit.run(received));
    let engine = start_engine(&config, (listeners, descriptors.room), &gatekeeper, records).await?;
    metrics.engine.attach(engine.workers());
    metrics
        .strategy
        .replace(startup::strategy(&config, &engine));
    startup::log_engine(&config, &engine, source.generation());
    readiness.listeners_bound();

    let hangup = Arc::new(Notify::new());
    systemd::ready(&source.status());
    let reloader = Reloader::new(
        source,
        seen,
        Arc::clone(&hangup),
        Timing::default(),
        metrics.config.clone(),
    );
    let reloader = tokio::spawn(reloader.run());
    tokio::spawn(systemd::feed_watchdog());
    tokio::spawn(watch(move |now| expiry.look(now)));
    tokio::spawn(memory::keep_low(engine.workers().to_vec()));
    let running = Running {
        engine,
        audit,
        signals,
        readiness,
        gatekeeper,
    };
    let result = running
        .until_stopped(|| {
            hangup.notify_one();
            reopen.request();
            if let Some(authority) = &authority {
                authority.reload();
            }
        })
        .await;
    reloader.abort();
    if let Some(authority) = authority {
        authority.stop().await;
    }
    result
}

/// Opens the audit log; nothing, if a signal ended the wait for its file system.
async fn open_audit(
    config: &Config,
    metrics: &Arc<Metrics>,
    signals: &mut Signals,
) -> Result<Option<Audit>, GatewayError> {
    let (log, metrics) = (config.audit.clone(), Arc::clone(metrics));
    let mut opening = spawn_blocking(move || Audit::open(&log, metrics));
    loop {
        tokio::select! {
            opened = &mut opening => {
                let ended = |_| GatewayError::TaskEnded("the opening of the audit log");
                return Ok(Some(opened.map_err(ended)??));
            }
            request = signals.next() => if let Request::Stop(signal) = request {
                tracing::info!(signal, "stopping; the audit log is not open yet");
                return Ok(None);
            },
        }
    }
}

async fn load(files: Files) -> Result<(State, Seen), GatewayError> {
    let settled = spawn_blocking(move || load_settled(|| files.load(&[]))).await;
    settled
        .map_err(|_| GatewayError::TaskEnded("the first load of the configuration"))?
        .into_state()
        .map_err(GatewayError::Config)
}

async fn bind(config: &Config) -> Result<Listeners, GatewayError> {
    let config = startup::engine_config(config);
    let bound = spawn_blocking(move || Listeners::bind(&config)).await;
    Ok(bound.map_err(|_| GatewayError::TaskEnded("the binding of the listeners"))??)
}

async fn start_engine(
    config: &Config,
    (listeners, room): (Listeners, Room),
    gatekeeper: &Arc<Gatekeeper>,
    records: mpsc::Sender<StreamRecord>,
) -> Result<Engine, GatewayError> {
    let mut config = startup::engine_config(config);
    config.room = room;
    let snapshots = gatekeeper.snapshot_cell();
    let control: Arc<dyn Control> = Arc::clone(gatekeeper) as _;
    let started =
        spawn_blocking(move || Engine::start_on(listeners, config, control, snapshots, records));
    let started = started.await;
    Ok(started.map_err(|_| GatewayError::TaskEnded("the start of the engine"))??)
}

/// Everything that has to be taken down.
struct Running {
    engine: Engine,
    audit: JoinHandle<()>,
    signals: Signals,
    readiness: Arc<Readiness>,
    gatekeeper: Arc<Gatekeeper>,
}

impl Running {
    /// Serves until a signal asks to stop, then drains. `reload` answers SIGHUP.
    async fn until_stopped(mut self, reload: impl Fn()) -> Result<(), GatewayError> {
        let mut failure = None;
        let signal = loop {
            tokio::select! {
                request = self.signals.next() => match request {
                    Request::Reload => reload(),
                    Request::Stop(signal) => break signal,
                },
                _ = &mut self.audit => {
                    // Nobody would take records any more: streams could not end.
                    failure = Some(GatewayError::TaskEnded("the audit task"));
                    break "a fault";
                }
                () = self.engine.worker_died() => {
                    failure = Some(GatewayError::WorkerDied);
                    break "a dead worker";
                }
            }
        };
        // The deadline in force now; a reload may have changed it.
        let deadline = match failure {
            // The streams of the other workers are well.
            None | Some(GatewayError::WorkerDied) => self.gatekeeper.state().config.timeouts.drain,
            Some(_) => Duration::ZERO,
        };
        self.drain(signal, deadline).await;
        failure.map_or(Ok(()), Err)
    }

    async fn drain(self, signal: &str, deadline: Duration) {
        let Self {
            engine,
            audit,
            mut signals,
            readiness,
            ..
        } = self;
        readiness.draining();
        systemd::stopping(deadline);
        let live = engine.totals().streams_live;
        tracing::info!(
            signal,
            live,
            ?deadline,
            "draining; a second signal ends all streams at once"
        );
        let abort = engine.abort_handle();
        let mut drained = spawn_blocking(move || engine.drain(deadline));
        let aborted = loop {
            tokio::select! {
                aborted = &mut drained => break aborted,
                request = signals.next() => if let Request::Stop(signal) = request {
                    tracing::warn!(signal, "ending all streams at once");
                    abort.abort();
                },
            }
        };
        match aborted {
            Ok(0) => tracing::info!("drained: every stream ended by itself"),
            Ok(aborted) => tracing::warn!(aborted, "drained: streams were aborted"),
            Err(error) => tracing::error!(%error, "drain failed; this is a bug"),
        }
        // The engine held the only senders: audit writes what is left, bounded, and ends.
        let mut audit = audit;
        while !audit.is_finished() {
            tokio::select! {
                ended = &mut audit => if ended.is_err() {
                    tracing::error!("audit task failed; its last lines may be lost");
                },
                request = signals.next() => if let Request::Stop(signal) = request {
                    tracing::warn!(signal, "ending without the last audit lines");
                    return;
                },
            }
        }
    }
}
