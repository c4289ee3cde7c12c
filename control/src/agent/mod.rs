//! The process of `eyesplice agent`: an engine without listeners, which dials out to gateways and
//! dials targets for them.

mod allow;
mod check;
mod control;
mod files;
mod membership;
#[cfg(test)]
mod testing;

pub use check::{AgentReport, check, is_agent};

use crate::config::{AgentConfig, Here};
use crate::enrol::first_certificates;
use crate::serve::{self, Audited, Descriptors, Seam, ServeError, Serving};
use control::{AgentControl, State};
use eyesplice_dataplane::seam::GatewayStatus;
use eyesplice_process::admin::Condition;
use eyesplice_process::metrics::{Metrics, TunnelReport};
use eyesplice_process::reload::{Seen, Source, invalid};
use eyesplice_process::resolve::SystemLookup;
use eyesplice_process::sandbox::{Sandbox, confine};
use eyesplice_process::takeover::Offer;
use eyesplice_process::{Process, ProcessError};
use eyesplice_sys::socket::Inherited;
use files::{FileSource, Files, Held};
use membership::Membership;
use ring::rand::{SecureRandom, SystemRandom};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// The place that it is for.
    pub here: Here,
    /// Whether the process confines itself.
    pub sandbox: Sandbox,
}

/// Runs until a signal stopped it and every stream has ended.
///
/// # Errors
/// Whatever kept it from starting; nothing stays behind.
pub fn run(options: Options) -> Result<(), ServeError> {
    let metrics = Metrics::new();
    let probe = serve::prepare(&metrics);
    let files = Files::new(options.config, options.here);
    let config = files.config();
    let config = config.map_err(|errors| invalid(&errors.lines()))?.config;
    serve::usable(probe, config.engine.io)?;
    confine(options.sandbox, &config.reach(), &metrics).map_err(ProcessError::from)?;
    eyesplice_process::run("control", serve_agent(files, config, metrics))
}

/// What an agent has before it opens anything but its admin endpoint.
struct Begun {
    files: Files,
    held: Held,
    seen: Seen,
    admin: SocketAddr,
}

/// Waits for a certificate that is to come from an authority, and reads the files; nothing if a
/// signal ended the wait.
async fn begin(
    files: Files,
    config: &AgentConfig,
    process: &mut Process,
) -> Result<Option<Begun>, ServeError> {
    let admin = process.serve_admin(config.admin.address).await?;
    let again = files.clone();
    let reread = move || drop(again.config().map_err(|errors| invalid(&errors.lines())));
    if !first_certificates(files.wanted(), process, reread).await {
        return Ok(None);
    }
    let first = files.clone();
    let (held, seen) = process.host.load(move || first.load(&[])).await?;
    Ok(Some(Begun {
        files,
        held,
        seen,
        admin,
    }))
}

async fn serve_agent(
    files: Files,
    config: AgentConfig,
    metrics: Arc<Metrics>,
) -> Result<(), ServeError> {
    let mut process = Process::begin(Arc::clone(&metrics))?;
    let readiness = Arc::clone(&process.readiness);
    let Some(begun) = begin(files, &config, &mut process).await? else {
        return Ok(());
    };
    let Held { config, material } = begun.held;
    let started = config.clone();
    serve::log_limits(config.parts());
    let Some(audit) = serve::open_audit(&config.audit, &mut process).await? else {
        return Ok(());
    };
    serve::log_audit(&config.audit);
    let engine_config = config.parts().engine_config(Vec::new(), serve::cores());
    let descriptors = Descriptors::here(config.parts(), engine_config.workers, 0);
    readiness.lowered(descriptors.lowered(&config.limits));
    descriptors.show(&config.limits, &metrics);
    let state = State {
        generation: 1,
        config,
        material,
    };
    let own = Arc::from([begun.admin]);
    let lookup = Arc::new(SystemLookup);
    let control = Arc::new(AgentControl::new(state, lookup, Handle::current(), own));
    let membership = Membership::new(Arc::clone(&control), Arc::clone(&metrics), instance()?);
    readiness.material_loaded();

    let (audit, records) = Audited::run(audit, &process, |gate| control.audits(gate));
    let listeners = serve::bind(engine_config.clone(), &mut Inherited::default()).await?;
    let seam = Seam {
        control: Arc::clone(&control) as _,
        snapshots: membership.snapshot_cell(),
        records,
    };
    let engine = serve::start_engine(engine_config, (listeners, descriptors.room), seam).await?;
    metrics.engine.attach(engine.workers());
    let rows = serve::strategy(&started.engine, &engine);
    metrics.strategy.replace(rows);
    serve::log_engine(&started.engine, &engine, 1);
    let tunnels = engine.tunnels();
    let shown = tunnels.clone();
    metrics.tunnels.attach(move || TunnelReport {
        agents: None,
        gateways: Some(shown.gateways()),
    });
    tokio::spawn(Arc::clone(&membership).keep(tunnels.clone()));
    // First: with its listeners bound alone, an agent that holds no gateway yet would be ready.
    readiness.dials(move || condition(&tunnels.gateways()));
    readiness.listeners_bound();
    let source = FileSource {
        files: begun.files,
        control: Arc::clone(&control),
        membership,
        started,
        descriptors,
        metrics,
    };
    process.ready(&source.status());
    let kept = process.host.clone().keep(source, begun.seen);
    let reopen = audit.reopen.clone();
    let serving = Serving {
        engine,
        audit,
        process,
        offer: Offer::nothing(),
        admin: None,
    };
    serving.keep_memory_low();
    let reload = || {
        kept.reload();
        reopen.request();
    };
    let drain = || control.state().config.timeouts.drain;
    let result = serving.until_stopped(reload, drain).await;
    drop(kept);
    result
}

/// An agent is of use while it holds one gateway; the others are noted.
fn condition(gateways: &[GatewayStatus]) -> Condition {
    let lost = gateways.iter().filter(|gateway| gateway.since.is_none());
    let lost: Vec<String> = lost
        .map(|gateway| match &gateway.last_error {
            Some(error) => format!("{}: {error}", gateway.name),
            None => format!("{}: not connected yet", gateway.name),
        })
        .collect();
    match (gateways.len(), lost.len()) {
        (0, _) => Condition::Failed("there is no gateway to hold; see the log".to_owned()),
        (_, 0) => Condition::Good,
        (all, lost_count) if lost_count == all => {
            Condition::Failed(format!("no gateway is held: {}", lost.join("; ")))
        }
        (..) => Condition::Noted(lost.join("; ")),
    }
}

/// Draws what tells this process from others of its identity.
fn instance() -> Result<[u8; 16], ServeError> {
    let mut instance = [0; 16];
    let drawn = SystemRandom::new().fill(&mut instance);
    drawn.map_err(|_| ProcessError::Random)?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn condition_is_good_with_all_gateways_noted_with_some_and_failed_with_none() {
        let gateway = |name: &str, held: bool| GatewayStatus {
            name: name.into(),
            address: None,
            since: held.then_some(SystemTime::UNIX_EPOCH),
            draining: false,
            parked: 0,
            streams: 0,
            backoff: None,
            last_error: (!held).then(|| "refused".into()),
        };
        assert!(matches!(condition(&[]), Condition::Failed(_)));
        assert_eq!(condition(&[gateway("a", true)]), Condition::Good);
        let some = condition(&[gateway("a", true), gateway("b", false)]);
        assert_eq!(some, Condition::Noted("b: refused".to_owned()));
        let none = condition(&[gateway("a", false), gateway("b", false)]);
        let words = "no gateway is held: a: refused; b: refused";
        assert_eq!(none, Condition::Failed(words.to_owned()));
    }
}
