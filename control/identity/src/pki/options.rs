//! The flags of `pki init`, a short form of the commonest configuration.

use super::key::KeyAlgorithm;
use super::plan::Conflict;
use super::spec::{
    AgentName, Authorities, Cluster, DEFAULT_CLUSTER, DEFAULT_DOMAIN, DEFAULT_SERVICE_IP,
    Lifetimes, NodeSpec, Scope, ServerUrl, ServiceCidr, Spec, default_member,
};
use crate::inventory::{HostAddress, NameError, certificate_name};
use clap::Args;
use std::net::IpAddr;

/// Flags of `eyesplice pki init` that stand for a configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct InitOptions {
    /// Address, DNS name or wildcard such as `*.example.com` that the API server's certificate must
    /// cover (repeatable or comma-separated)
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub apiserver: Vec<String>,
    /// URL of the API server in kubeconfigs [default: the first --apiserver, or 127.0.0.1, at 6443]
    // Its host is added to the API server's names.
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// First address of each service range: the ClusterIP of the service `kubernetes` (repeatable
    /// or comma-separated) [default: 10.96.0.1]
    #[arg(long = "service-ip", value_name = "IP", value_delimiter = ',')]
    pub service_ips: Vec<IpAddr>,
    /// The service ranges instead, as in --service-cluster-ip-range (repeatable or comma-separated)
    #[arg(
        long = "service-cidr",
        value_name = "CIDR",
        value_delimiter = ',',
        conflicts_with = "service_ips"
    )]
    pub service_cidrs: Vec<ServiceCidr>,
    /// A node and the addresses or DNS names of its kubelet (repeatable)
    #[arg(long = "node", value_name = "NAME=ADDRESS[,ADDRESS..]")]
    pub nodes: Vec<NodeSpec>,
    /// Address or DNS name at which the API server dials the gateway over TCP (repeatable or
    /// comma-separated)
    // `localhost` and 127.0.0.1 are always there.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub gateway: Vec<String>,
    /// An agent of the tunnel listeners; the first one makes their CA, tunnel-ca (repeatable)
    #[arg(long = "agent", value_name = "NAME")]
    pub agents: Vec<AgentName>,
}

/// One wrong option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionProblem {
    /// A name or address that is none.
    #[error("{option} {value:?} {problem}")]
    Name {
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        problem: NameError,
    },
    /// The server's URL is not one that a kubeconfig takes.
    #[error("--server {0:?} is no URL of an API server; write https://HOST[:PORT]")]
    Server(String),
    /// Options that are right each, and wrong together.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

impl InitOptions {
    /// Validates each option alone; all problems at once.
    pub(super) fn spec(&self) -> Result<Spec, Vec<OptionProblem>> {
        let mut problems = Vec::new();
        let apiserver = hosts("--apiserver", &self.apiserver, &mut problems);
        let gateway = hosts("--gateway", &self.gateway, &mut problems);
        let server = match self.server.as_deref().map(str::parse::<ServerUrl>) {
            None => ServerUrl::first_of(&apiserver),
            Some(Ok(server)) => server,
            Some(Err(_)) => {
                problems.extend(self.server.clone().map(OptionProblem::Server));
                ServerUrl::first_of(&apiserver)
            }
        };
        let spec = Spec {
            scope: Scope::default(),
            cluster: Cluster {
                name: DEFAULT_CLUSTER.to_owned(),
                domain: DEFAULT_DOMAIN.to_owned(),
                server,
                service_ips: self.service_ips(),
            },
            etcd: vec![default_member(&apiserver)],
            apiserver,
            controllers: Vec::new(),
            gateway,
            nodes: self.nodes.clone(),
            users: Vec::new(),
            agents: self.agents.clone(),
            break_glass: Vec::new(),
            authorities: Authorities::default(),
            keys: KeyAlgorithm::default(),
            lifetimes: Lifetimes::default(),
        };
        problems.extend(
            super::plan::conflicts(&spec)
                .into_iter()
                .map(OptionProblem::from),
        );
        if problems.is_empty() {
            Ok(spec)
        } else {
            Err(problems)
        }
    }
}

impl InitOptions {
    fn service_ips(&self) -> Vec<IpAddr> {
        let first = self.service_cidrs.iter().map(|ServiceCidr(first)| first);
        let ips: Vec<_> = self.service_ips.iter().chain(first).collect();
        if ips.is_empty() {
            return vec![DEFAULT_SERVICE_IP];
        }
        ips.into_iter().map(IpAddr::to_canonical).collect()
    }
}

fn hosts(
    option: &'static str,
    values: &[String],
    problems: &mut Vec<OptionProblem>,
) -> Vec<HostAddress> {
    let mut hosts = Vec::with_capacity(values.len());
    for value in values {
        match certificate_name(value) {
            Ok(host) => hosts.push(host),
            Err(problem) => {
                problems.push(OptionProblem::Name {
                    option,
                    value: value.clone(),
                    problem,
                });
            }
        }
    }
    hosts
}
