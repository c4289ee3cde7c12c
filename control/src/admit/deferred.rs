//! Verdicts that wait for what a handshake tells: the target's identity, or the name that a client asks for.

use super::State;
use super::decide::{LeafSource, target_tls};
use super::refusal;
use crate::config::{Rule, RuleAction, Upstream};
use crate::leaf::{ClientAuth, LeafStore};
use eyesplice_dataplane::seam::{
    ByName, DownstreamTls, Inside, LeafByPeer, PeerVerification, Reason, Refusal, Terminate,
    VerificationSlot,
};
use eyesplice_identity::inventory::check_node_name;
use eyesplice_proto::target::{Host, Target};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What is known of a stream when its verdict leaves.
#[derive(Clone, derive_more::Debug)]
#[debug("Deferred({asked:?})")]
pub(super) struct Deferred {
    pub(super) state: Arc<State>,
    pub(super) leaves: Arc<LeafStore>,
    /// The rule's place.
    pub(super) index: usize,
    pub(super) asked: Target,
    /// Where decisions run.
    pub(super) runtime: Handle,
}

impl Deferred {
    fn rule(&self) -> Option<&Rule> {
        self.state.config.egress.rules.get(self.index)
    }

    fn source(&self) -> LeafSource<'_> {
        LeafSource {
            state: &self.state,
            leaves: &self.leaves,
            began: Instant::now(),
        }
    }

    /// Runs a decision; a worker that is gone needs no answer.
    fn spawn<T: Send + 'static>(
        &self,
        decision: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (mut answer, receiver) = oneshot::channel();
        drop(self.runtime.spawn(async move {
            tokio::select! {
                decided = decision => drop(answer.send(decided)),
                () = answer.closed() => {}
            }
        }));
        receiver
    }
}

/// The leaf in place of a kubelet that no inventory names: its node is who it was verified to be.
#[derive(Debug)]
pub(super) struct LeafOfPeer {
    pub(super) stream: Deferred,
    pub(super) verification: VerificationSlot,
}

impl LeafByPeer for LeafOfPeer {
    fn leaf(&self) -> oneshot::Receiver<Result<DownstreamTls, Refusal>> {
        let node = match self.verification.get() {
            Some(PeerVerification::Verified { identity }) => node_of(identity),
            // Who is only observed has proved nothing.
            _ => None,
        };
        let stream = self.stream.clone();
        self.stream.spawn(async move {
            let rule = stream.rule().ok_or_else(gone)?;
            let source = stream.source();
            let auth = ClientAuth::Required;
            source.leaf(rule, &stream.asked.host, node, auth).await
        })
    }
}

/// The node of a kubelet's subject as audit has it, and of no other subject.
fn node_of(identity: &str) -> Option<Arc<str>> {
    let node = identity
        .strip_prefix("CN=system:node:")?
        .strip_suffix(",O=system:nodes")?;
    check_node_name(node).is_ok().then(|| node.into())
}

/// Both TLS ends of a service by the name that the API server asks for.
#[derive(Debug)]
pub(super) struct EndsByName(pub(super) Deferred);

impl ByName for EndsByName {
    fn choose(&self, name: Option<&str>) -> oneshot::Receiver<Result<Terminate, Refusal>> {
        let (stream, name) = (self.0.clone(), name.map(str::to_owned));
        self.0.spawn(async move {
            let rule = stream.rule().ok_or_else(gone)?;
            let RuleAction::TerminateOpaque(upstream) = &rule.action else {
                return Err(gone());
            };
            let Deferred {
                state,
                index,
                asked,
                ..
            } = &stream;
            let name = allowed(rule, upstream, &asked.host, name.as_deref())?;
            let host = name.as_ref().unwrap_or(&asked.host);
            let source = stream.source();
            Ok(Terminate {
                upstream: target_tls(state, *index, rule, asked, upstream, name.as_ref())?,
                downstream: source.leaf(rule, host, None, ClientAuth::None).await?,
                inside: Inside::Opaque,
            })
        })
    }
}

/// The name by which a target is verified; `None`: as the rule says for what was dialled, which needs
/// no name in the ClientHello.
fn allowed(
    rule: &Rule,
    upstream: &Upstream,
    dialled: &Host,
    name: Option<&str>,
) -> Result<Option<Host>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    let host = name
        .parse()
        .ok()
        .filter(|host| matches!(host, Host::Name(_)));
    match host {
        Some(host) if host == *dialled => Ok(None),
        Some(host) if upstream.server_names.iter().any(|names| names.has(name)) => Ok(Some(host)),
        _ => Err(refusal::server_name(rule, name)),
    }
}

/// States are never changed, so what was there for the verdict still is.
fn gone() -> Refusal {
    Refusal {
        status: 503,
        reason: Reason::Denied,
        words: "eyesplice lost the rule of its own verdict; see its log".to_owned(),
        rule: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_is_read_from_a_kubelets_subject_alone() {
        for (identity, node) in [
            ("CN=system:node:worker-3,O=system:nodes", Some("worker-3")),
            ("CN=system:node:a.b,O=system:nodes", Some("a.b")),
            ("CN=system:node:,O=system:nodes", None),
            ("CN=system:node:worker-3", None),
            ("CN=system:node:worker-3,O=other,O=system:nodes", None),
            ("CN=worker-3,O=system:nodes", None),
            ("O=x,CN=system:node:worker-3,O=system:nodes", None),
        ] {
            assert_eq!(node_of(identity).as_deref(), node, "{identity}");
        }
    }
}
