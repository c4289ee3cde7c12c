//! Says how the gateway would reach a kubelet, for a check that dials it.

use super::decide::kubelet_tls;
use super::local::is_local;
use super::node;
use super::refusal;
use crate::config::{Config, RuleAction, Via};
use crate::material::Material;
use crate::policy::Policy;
use eyesplice_dataplane::seam::{Refusal, UpstreamTls};
use eyesplice_proto::target::Target;
use std::net::{IpAddr, SocketAddr};

/// How a kubelet would be reached.
#[derive(Debug)]
pub(crate) enum Reached {
    /// By dialling these addresses, and validating what answers.
    Dialled(Vec<SocketAddr>, Box<UpstreamTls>),
    /// In a way that cannot be tried from here, in words.
    Elsewhere(String),
}

/// Decides about kubelets as a gateway would that has these files.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    material: Material,
    policy: Policy,
}

impl Rehearsal {
    /// Takes a configuration and what its files hold.
    pub(crate) fn new(config: &Config, material: Material) -> Self {
        Self {
            material,
            policy: Policy::new(config, &[]),
        }
    }

    /// Decides about one kubelet, whose name was resolved to these addresses.
    ///
    /// # Errors
    /// A kubectl user would read this refusal.
    pub(crate) fn reach(&self, asked: &Target, found: &[IpAddr]) -> Result<Reached, Refusal> {
        let selection = self
            .policy
            .select(asked, found, &is_local)
            .map_err(|denied| refusal::denied(asked, denied))?;
        let rule = selection.rule;
        match (&rule.action, &rule.via) {
            (RuleAction::TerminateKubelet, Via::Direct) => {}
            (RuleAction::TerminateKubelet, Via::Tunnel) => {
                let words = format!("rule {} leads through an agent", rule.name);
                return Ok(Reached::Elsewhere(words));
            }
            (RuleAction::TerminateKubelet, Via::Proxy(proxy)) => {
                let words = format!("rule {} leads through proxy {}", rule.name, proxy.name);
                return Ok(Reached::Elsewhere(words));
            }
            (action, _) => {
                let action = action.as_str();
                let words = format!(
                    "rule {} has action {action}, which validates no kubelet",
                    rule.name
                );
                return Ok(Reached::Elsewhere(words));
            }
        }
        let Some(kubelet) = &self.material.kubelet else {
            return Err(refusal::internal(rule, "the kubelet section is missing"));
        };
        let inventory = kubelet.inventory.as_deref();
        let (node, addresses) = node::of_one_node(inventory, &asked.host, selection.addresses);
        let tls = kubelet_tls(kubelet, rule, asked, node)?;
        let socket = |ip| SocketAddr::new(ip, asked.port);
        let addresses = addresses.into_iter().map(socket).collect();
        Ok(Reached::Dialled(addresses, Box::new(tls)))
    }
}
