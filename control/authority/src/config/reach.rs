//! Names what an authority reaches by its configuration, for the sandbox of its process.

use super::approval::ApprovalSettings;
use super::cluster::ClusterConfig;
use super::served::AuthorityConfig;
use crate::apiserver::{Place, SERVICE_ACCOUNT};
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::kubeconfig::{self, Named};
use eyesplice_process::sandbox::{Access, Ports, Reach};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where name servers answer over TCP what is too long for a datagram.
const DNS: u16 = 53;

/// A variable that every pod has.
const SERVICE_PORT: &str = "KUBERNETES_SERVICE_PORT";

/// Ways around the way, which the client takes as every program does.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

impl AuthorityConfig {
    /// What an authority reaches that serves the CSR API itself.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        reach.reads(self.files());
        reach.reads(self.secrets());
        reach.writes(&self.store.path);
        let tokens = &self.authentication.tokens;
        if let Some(directory) = &tokens.bootstrap_token_dir {
            // Those that have expired are removed.
            reach.uses(directory, Access::Write);
        }
        reach.listens_on(self.address);
        reach.listens_on(self.admin.address);
        let mut ports = nodes(&self.approval);
        if let Some(review) = &tokens.token_review {
            ports.extend(port_of(&review.server));
        }
        reach.connects_to(Ports::Only(ports));
        reach
    }
}

impl ClusterConfig {
    /// What an authority reaches that works on the objects of a cluster.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        reach.reads(self.files());
        reach.reads(self.secrets());
        reach.reads_trust_store();
        reach.listens_on(self.admin.address);
        let mut ports = nodes(&self.approval);
        let place = self.place();
        if let Some(program) = place.program() {
            reach.starts(program);
        }
        let known = match place {
            Place::Kubeconfig(file) => {
                let Named { files, ports, .. } = kubeconfig::named(&file);
                reach.reads(files);
                ports
            }
            Place::Pod => {
                reach.reads([PathBuf::from(SERVICE_ACCOUNT)]);
                let port = std::env::var(SERVICE_PORT).ok();
                let port = port.and_then(|port| port.parse().ok());
                Some(BTreeSet::from([port.unwrap_or(443)]))
            }
        };
        let by_proxy = PROXIES.iter().any(|name| std::env::var_os(name).is_some());
        reach.connects_to(match known {
            Some(known) if !by_proxy => {
                ports.extend(known);
                Ports::Only(ports)
            }
            _ => Ports::Any,
        });
        reach
    }
}

/// Where name servers are asked, and nodes.
fn nodes(approval: &ApprovalSettings) -> BTreeSet<u16> {
    let probe = approval.probe.map(|probe| probe.port);
    probe.into_iter().chain([DNS]).collect()
}

/// What is no URL of a server is refused elsewhere.
fn port_of(server: &str) -> Option<u16> {
    let endpoint: Endpoint = server.parse().ok()?;
    Some(endpoint.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_identity::document::Document;
    use std::path::Path;

    #[test]
    fn served_authority_connects_to_those_that_it_asks() {
        let text = "\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {address: '127.0.0.1:6443', tlsCertFile: a.crt, tlsPrivateKeyFile: a.key}
authentication:
  clientCAFile: ca.crt
  tokenReview: {server: 'https://10.0.0.1:7443', caFile: ca.crt, tokenFile: token}
store: {path: a.redb}
signers:
- {signerName: kubernetes.io/kube-apiserver-client-kubelet, certFile: ca.crt, keyFile: ca.key}
approval: {dns: require, probe: {port: 10251}}
";
        let parsed = AuthorityConfig::parse(text, Path::new("/etc/e/authority.yaml"));
        let reach = parsed.unwrap().config.reach();
        let want = Ports::Only(BTreeSet::from([53, 7443, 10251]));
        assert_eq!(*reach.connects(), want);
    }
}
