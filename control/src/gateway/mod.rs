//! The process of `eyesplice gateway`: puts the parts together, runs them, and takes them down.
//!
//! Order of the start: what can refuse cheaply comes first (kernel, configuration), then the
//! sandbox, while there is one thread; in it certificates, the audit log and the admin endpoint,
//! then the listeners. Nothing is accepted before all of it stands: certificates that come from an
//! authority are waited for. The engine's workers are threads of their own; all else runs on a
//! small runtime here.
//!
//! A gateway that takes over asks the one that runs for its sockets as soon as its configuration is
//! read, and relieves it last of all.

mod embedded;
mod expiry;
mod files;
mod source;
mod startup;
mod takeover;

use crate::admit::Gatekeeper;
use crate::config::Config;
use crate::enrol::first_certificates;
use crate::serve::{self, Audited, Seam, ServeError, Serving};
use embedded::Embedded;
use eyesplice_dataplane::engine::Engine;
use eyesplice_process::expiry::watch;
use eyesplice_process::metrics::{Metrics, TunnelReport};
use eyesplice_process::reload::{Source, invalid};
use eyesplice_process::sandbox::{Sandbox, confine};
use eyesplice_process::takeover::Meeting;
use eyesplice_process::{Process, ProcessError, systemd};
use files::Files;
use source::FileSource;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// Where this process meets the next one, if not below the service manager's directory.
    pub handover_dir: Option<PathBuf>,
    /// Takes over from the gateway that runs.
    pub takeover: bool,
    /// Tells on standard input that it took over.
    pub tell: bool,
    /// Whether the process confines itself.
    pub sandbox: Sandbox,
}

/// Runs until a signal stopped it, or another gateway took over, and every stream has ended.
///
/// # Errors
/// Whatever kept it from starting; nothing stays behind.
pub fn run(options: Options) -> Result<(), ServeError> {
    let passed = systemd::passed();
    let metrics = Metrics::new();
    let probe = serve::prepare(&metrics);
    let files = Files::new(options.config.clone());
    let config = files.config();
    let config = config.map_err(|errors| invalid(&errors.lines()))?.config;
    serve::usable(probe, config.engine.io)?;
    startup::may_take_over(&config, options.takeover)?;
    let meeting = meeting(options.handover_dir.clone());
    let reach = startup::reach(&config, meeting.as_ref());
    confine(options.sandbox, &reach, &metrics).map_err(ProcessError::from)?;
    let start = Start {
        options,
        passed,
        files,
        config,
        meeting,
    };
    let serving = async {
        let process = Process::begin(Arc::clone(&metrics))?;
        serve(start, process).await
    };
    eyesplice_process::run("control", serving)
}

/// What is known before there are threads.
struct Start {
    options: Options,
    passed: Vec<(String, OwnedFd)>,
    files: Files,
    /// As it was read first: what comes with it is loaded later.
    config: Config,
    meeting: Option<Meeting>,
}

/// Where gateways meet.
pub fn meeting(directory: Option<PathBuf>) -> Option<Meeting> {
    Meeting::of(directory, "gateway")
}

async fn serve(start: Start, mut process: Process) -> Result<(), ServeError> {
    let metrics = Arc::clone(&process.host.metrics);
    let readiness = Arc::clone(&process.readiness);
    let Start {
        options,
        passed,
        files,
        config,
        meeting,
    } = start;
    let mut succession = takeover::begin(meeting, passed, options.takeover).await?;
    let admin = takeover::admin(&config, &mut succession, &process).await?;
    let mut listening = vec![admin.address];
    let authority = match config.authority {
        Some(file) => Some(Embedded::start(file.path, &process.host).await?),
        None => None,
    };
    listening.extend(authority.as_ref().map(|authority| authority.address));
    let again = files.clone();
    let reread = move || drop(again.config().map_err(|errors| invalid(&errors.lines())));
    if !first_certificates(files.wanted(), &mut process, reread).await {
        return Ok(());
    }
    let first = files.clone();
    let (state, seen) = process.host.load(move || first.load(&[])).await?;
    let config = state.config.clone();
    startup::log_config(&config);
    let Some(audit) = serve::open_audit(&config.audit, &mut process).await? else {
        return Ok(());
    };
    serve::log_audit(&config.audit);
    let descriptors = startup::room(&config, succession.passes_on());
    readiness.lowered(descriptors.lowered(&config.limits));
    let engine_config = startup::engine_config(&config);
    // Before a first verdict, so that no stream ever leads back here; who connects has to wait a
    // moment.
    let listeners = serve::bind(engine_config.clone(), succession.inherited()).await?;
    listening.extend(listeners.tcp_addresses());
    let sockets = takeover::second(&listeners, &admin, &succession);
    let source = FileSource::start(files, state, descriptors, Arc::clone(&metrics), listening);
    let gatekeeper = Arc::clone(&source.gatekeeper);
    readiness.material_loaded();

    let (audit, records) = Audited::run(audit, &process, |gate| gatekeeper.audits(gate));
    let seam = Seam {
        control: Arc::clone(&gatekeeper) as _,
        snapshots: gatekeeper.snapshot_cell(),
        records,
    };
    let started = serve::start_engine(engine_config, (listeners, descriptors.room), seam);
    let mut engine = started.await?;
    show(&metrics, &engine, &config, &gatekeeper);
    startup::log_listeners(&config, &engine);
    serve::log_engine(&config.engine, &engine, source.generation());
    readiness.listeners_bound();
    let offer = takeover::complete(succession, sockets, &metrics).await?;
    engine.keep_sockets();
    let admin = admin.serve(&process);
    process.ready(&source.status());
    if options.tell {
        takeover::tell();
    }
    let leaves = source.leaves.clone();
    tokio::spawn(watch(move |now| leaves.look(now)));
    let kept = process.host.clone().keep(source, seen);
    let reopen = audit.reopen.clone();
    let serving = Serving {
        engine,
        audit,
        process,
        offer,
        admin: Some(admin),
    };
    serving.keep_memory_low();
    let reload = || {
        kept.reload();
        reopen.request();
        gatekeeper.reopen_events();
        if let Some(authority) = &authority {
            authority.kept.reload();
        }
    };
    let drain = || gatekeeper.state().config.timeouts.drain;
    let result = serving.until_stopped(reload, drain).await;
    drop(kept);
    gatekeeper.finish_events().await;
    if let Some(authority) = authority {
        authority.stop().await;
    }
    result
}

/// Shows an engine that runs in the metrics.
fn show(metrics: &Arc<Metrics>, engine: &Engine, config: &Config, gatekeeper: &Arc<Gatekeeper>) {
    metrics.engine.attach(engine.workers());
    let rows = serve::strategy(&config.engine, engine);
    metrics.strategy.replace(rows);
    if config.takes_agents() {
        let tunnels = engine.tunnels();
        metrics.tunnels.attach(move || TunnelReport {
            agents: Some(tunnels.agents()),
            gateways: None,
        });
    }
    tokio::spawn(Arc::clone(gatekeeper).keep_neighbours());
    let membership = metrics.membership.clone();
    tokio::spawn(Arc::clone(gatekeeper).keep_membership(membership));
    if config.apiservers.is_some() {
        let shown = Arc::clone(&metrics.api_servers);
        tokio::spawn(Arc::clone(gatekeeper).watch_api_servers(shown));
        tokio::spawn(Arc::clone(gatekeeper).send_events());
        tokio::spawn(Arc::clone(gatekeeper).watch_from_vantage());
        tokio::spawn(Arc::clone(gatekeeper).keep_break_glass());
        let asked = Arc::clone(gatekeeper);
        metrics
            .break_glass
            .attach(move |drill| asked.break_glass(drill));
        let reported = Arc::clone(gatekeeper);
        metrics.front.attach(move || reported.front_report());
    }
}
