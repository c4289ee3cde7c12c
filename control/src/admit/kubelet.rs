//! Says how a kubelet is reached that a stream of a pod leads to: by the egress rules and the
//! `kubelet` section, as for a stream that the API server asks for.

use super::State;
use super::behind::{self, Unresolved};
use super::decide::{lookup_deadline, proxied};
use super::local::is_local;
use super::node::of_one_node;
use crate::config::{RuleAction, Verification, Via};
use crate::front::short::{Kubelet, Kubelets, Reached, Reaching, Why};
use eyesplice_dataplane::seam::Way;
use eyesplice_identity::verify::{Expected, UpstreamSpec, upstream_tls};
use eyesplice_process::resolve::Resolver;
use eyesplice_proto::target::Target;
use std::net::SocketAddr;
use std::sync::Arc;

/// The kubelets of one configuration.
#[derive(Debug)]
pub(crate) struct ByRules<'a> {
    /// The configuration in force.
    pub(crate) state: &'a State,
    /// Where names of nodes come from.
    pub(crate) resolver: &'a Resolver,
}

impl Kubelets for ByRules<'_> {
    fn reach<'a>(&'a self, kubelet: Kubelet<'a>) -> Reaching<'a> {
        Box::pin(self.reached(kubelet))
    }
}

impl ByRules<'_> {
    async fn reached(&self, wanted: Kubelet<'_>) -> Result<Reached, Why> {
        let state = self.state;
        let (Some(kubelet), Some(section)) = (&state.material.kubelet, &state.config.kubelet)
        else {
            return Err(Why::NotConfigured);
        };
        if section.verification != Verification::Enforce {
            return Err(Why::VerificationOff);
        }
        let asked = Target {
            host: wanted.host,
            port: wanted.port,
        };
        if kubelet.actions.denies(wanted.action).is_some() || !state.policy.may_allow(&asked) {
            return Err(Why::Egress);
        }
        let inventory = kubelet.inventory.as_deref();
        let deadline = lookup_deadline(state.config.timeouts.verdict);
        let found = match self.resolver.resolve(&asked, deadline).await {
            Ok(found) => found,
            Err(error) => match behind::unresolved(state, inventory, &asked, &error) {
                Ok(Unresolved::Node(addresses)) => addresses,
                Ok(Unresolved::Name(_)) | Err(_) => return Err(Why::Node),
            },
        };
        let selection = state.policy.select(&asked, &found, &is_local);
        let selection = selection.map_err(|_| Why::Egress)?;
        let rule = selection.rule;
        if !matches!(
            rule.action,
            RuleAction::Splice | RuleAction::TerminateKubelet
        ) {
            return Err(Why::Egress);
        }
        let (owner, addresses) = of_one_node(inventory, &asked.host, selection.addresses);
        if owner.is_some_and(|owner| owner != *wanted.node) {
            return Err(Why::Node);
        }
        let spec = UpstreamSpec {
            trust: Arc::clone(&kubelet.trust),
            expected: Expected::kubelet(
                asked.host.clone(),
                asked.port,
                Some(Arc::clone(wanted.node)),
            ),
            client: wanted.with_certificate.then(|| Arc::clone(&kubelet.client)),
        };
        let tls = upstream_tls(spec).map_err(|_| Why::Node)?;
        let way = match &rule.via {
            Via::Direct => {
                let socket = |ip| SocketAddr::new(ip, asked.port);
                Way::Dial(addresses.into_iter().map(socket).collect())
            }
            Via::Tunnel => Way::Tunnel(behind::through(
                state,
                Some(wanted.node),
                &addresses,
                (asked.port, false),
            )),
            Via::Proxy(proxy) => {
                let way = proxied(state, (selection.index, proxy), &addresses, &asked);
                way.map_err(|_| Why::Egress)?
            }
        };
        Ok(Reached { way, tls })
    }
}
