//! The flags of `pki init`, a short form of the commonest configuration.

use super::key::KeyAlgorithm;
use super::plan::Conflict;
use super::spec::{
    Authorities, Cluster, DEFAULT_CLUSTER, DEFAULT_DOMAIN, DEFAULT_SERVICE_IP, Lifetimes, NodeSpec,
    ServerUrl, Spec, default_member,
};
use crate::inventory::{HostAddress, NameError, certificate_name};
use std::net::IpAddr;

/// Flags of `eyesplice pki init` that stand for a configuration.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// More names and addresses of the API server (`--apiserver`).
    pub apiserver: Vec<String>,
    /// URL in the kubeconfigs (`--server`); default: the first `apiserver`, or 127.0.0.1, at 6443.
    /// Its host is added to the API server's names.
    pub server: Option<String>,
    /// Addresses of the `kubernetes` service, one for each family (`--service-ip`, `--service-cidr`);
    /// empty: the default.
    pub service_ips: Vec<IpAddr>,
    /// Nodes to issue kubelet certificates for (`--node`).
    pub nodes: Vec<NodeSpec>,
    /// Names and addresses of the gateway's TCP listener (`--gateway`); `localhost` and 127.0.0.1
    /// are always there.
    pub gateway: Vec<String>,
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
        if self.service_ips.is_empty() {
            return vec![DEFAULT_SERVICE_IP];
        }
        let ips = self.service_ips.iter();
        ips.map(IpAddr::to_canonical).collect()
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
