//! Answers the engine of an agent: what gateways ask for is dialled if the allow-list has it, and
//! spliced.

use super::allow::{self, Forbidden};
use crate::admit::answer;
use crate::audit::Gate;
use crate::config::AgentConfig;
use crate::material::AgentMaterial;
use arc_swap::ArcSwap;
use eyesplice_dataplane::seam::{
    Connect, Control, Mode, Reason, RecordKind, Refusal, StreamRequest, Tallies, Verdict, Way,
};
use eyesplice_identity::certificate;
use eyesplice_process::resolve::{Lookup, ResolveError, Resolver};
use eyesplice_proto::target::{Host, Target};
use rustls::pki_types::CertificateDer;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// One configuration in force.
#[derive(Debug)]
pub(super) struct State {
    /// Its number, from 1.
    pub(super) generation: u64,
    pub(super) config: AgentConfig,
    pub(super) material: AgentMaterial,
}

/// Decides on the streams of an agent.
pub(super) struct AgentControl {
    state: ArcSwap<State>,
    resolver: Arc<Resolver>,
    runtime: Handle,
    audit: OnceLock<Gate>,
    /// Where this process listens: no target.
    own: Arc<[SocketAddr]>,
}

impl fmt::Debug for AgentControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.state.load().generation;
        f.debug_struct("AgentControl")
            .field("generation", &generation)
            .finish_non_exhaustive()
    }
}

impl AgentControl {
    /// Puts a first configuration in force. Decisions run on `runtime`.
    pub(super) fn new(
        state: State,
        lookup: Arc<dyn Lookup>,
        runtime: Handle,
        own: Arc<[SocketAddr]>,
    ) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            resolver: Arc::new(Resolver::new(lookup)),
            runtime,
            audit: OnceLock::new(),
            own,
        }
    }

    /// Resolves names, of gateways as of targets.
    pub(super) fn resolver(&self) -> Arc<Resolver> {
        Arc::clone(&self.resolver)
    }

    /// The configuration in force.
    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Puts a new one in force.
    pub(super) fn publish(&self, state: State) {
        self.state.store(Arc::new(state));
    }

    /// Lets streams begin as this gate does, from now on.
    pub(super) fn audits(&self, gate: Gate) {
        self.audit.get_or_init(|| gate);
    }
}

impl Control for AgentControl {
    fn admit(&self, request: StreamRequest) -> oneshot::Receiver<Verdict> {
        let state = self.state.load_full();
        let resolver = Arc::clone(&self.resolver);
        let own = Arc::clone(&self.own);
        answer(&self.runtime, async move {
            match connect(&state, &resolver, &own, &request.target).await {
                Ok(connect) => Verdict::Connect(Box::new(connect)),
                Err(refusal) => Verdict::Refuse(refusal),
            }
        })
    }

    fn unrecorded(&self, kind: RecordKind) -> Option<String> {
        self.audit.get()?.refusal(kind)
    }

    fn identify(&self, chain: &[CertificateDer<'_>]) -> Arc<str> {
        certificate::identify(chain)
    }

    fn valid_until(&self, chain: &[CertificateDer<'_>]) -> Option<SystemTime> {
        certificate::valid_until(chain)
    }
}

async fn connect(
    state: &State,
    resolver: &Resolver,
    own: &[SocketAddr],
    asked: &Target,
) -> Result<Connect, Refusal> {
    let allow = &state.config.allow;
    let addresses = match &asked.host {
        Host::Ip(address) => vec![*address],
        Host::Name(name) => {
            allow::judge_name(allow, name.as_str()).map_err(|why| refused(asked, &why))?;
            let found = resolver.resolve(asked, lookup_deadline(state)).await;
            found.map_err(|error| unresolved(&error))?
        }
    };
    let judged = addresses.iter().map(|address: &IpAddr| {
        let verdict = allow::judge(allow, own, *address, asked.port);
        verdict.map(|rule| (rule, SocketAddr::new(*address, asked.port)))
    });
    let (good, bad): (Vec<_>, Vec<_>) = judged.partition(Result::is_ok);
    let good: Vec<_> = good.into_iter().flatten().collect();
    let Some((rule, _)) = good.first() else {
        let why = bad.into_iter().find_map(Result::err);
        let why = why.unwrap_or_else(|| Forbidden::Name(asked.host.to_string()));
        return Err(refused(asked, &why));
    };
    Ok(Connect {
        generation: state.generation,
        rule: rule.as_str().into(),
        node: None,
        way: Way::Dial(good.iter().map(|(_, address)| *address).collect()),
        preamble: None,
        mode: Mode::Splice,
        limits: state.config.parts().stream_limits(),
        warm: None,
        tallies: Tallies::default(),
    })
}

/// Leaves a tenth of the verdict's time to the answer.
fn lookup_deadline(state: &State) -> Duration {
    state.config.timeouts.verdict * 9 / 10
}

fn refused(asked: &Target, why: &Forbidden) -> Refusal {
    Refusal {
        status: 403,
        reason: Reason::Denied,
        words: format!("{asked} is not dialled: {why}"),
        rule: None,
    }
}

fn unresolved(error: &ResolveError) -> Refusal {
    let (status, reason) = match error {
        ResolveError::Timeout { .. } => (504, Reason::Timeout),
        ResolveError::Failed { .. } | ResolveError::Empty { .. } => (503, Reason::DialFailed),
    };
    let source = error.source();
    let source = source
        .map(|source| format!(" ({source})"))
        .unwrap_or_default();
    Refusal {
        status,
        reason,
        words: format!("{error}{source}"),
        rule: None,
    }
}

#[cfg(test)]
mod tests;
