//! An agent that is a pod: how it gets its certificate, and what its command line says of the node.

use super::super::bounds;
use super::super::identity::server;
use super::super::model::Identity;
use super::{AgentConfig, AgentIdentity};
use eyesplice_identity::document::{
    At, ConfigError, ConfigErrors, Document, FileRef, Finding, Loaded, Node, Problem, Section,
    value,
};
use eyesplice_identity::https::Endpoint;
use eyesplice_identity::inventory::check_node_name;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a pod becomes the agent of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodIdentity {
    /// The node that it runs on, if not the command line says it.
    pub node: Option<String>,
    /// The authority.
    pub server: Endpoint,
    /// Who issued that server's certificate.
    pub ca_file: FileRef,
    /// The projected token of its service account.
    pub token_file: FileRef,
    /// Where key and certificate are kept.
    pub dir: PathBuf,
    /// Who signs the certificate; what comes is held to it.
    pub issuer_ca_file: Option<FileRef>,
    /// The lifetime to ask for.
    pub lifetime: Option<Duration>,
}

impl PodIdentity {
    /// Key and certificate.
    pub fn pair(&self) -> FileRef {
        FileRef::new("identity", self.dir.join("agent-client.pem"))
    }

    /// Who asks the authority; nothing as long as the node is not known.
    pub fn asker(&self) -> Option<Identity> {
        Some(Identity {
            name: self.node.clone()?,
            server: self.server.clone(),
            ca_file: self.ca_file.clone(),
            token_file: Some(self.token_file.clone()),
            dir: self.dir.clone(),
            issuer_ca_file: self.issuer_ca_file.clone(),
            lifetime: self.lifetime,
        })
    }
}

/// Where an agent runs, as its command line says: a DaemonSet has one configuration for all nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The node's name.
    pub node_name: Option<String>,
    /// The node's address.
    pub node_ip: Option<IpAddr>,
}

impl AgentConfig {
    /// Reads and validates a file for one place.
    ///
    /// # Errors
    /// As [`Document::load`], and what neither the file nor the command line says.
    pub fn load_here(file: &Path, here: &Here) -> Result<Loaded<Self>, ConfigErrors> {
        let mut loaded = <Self as Document>::load(file)?;
        let errors = loaded.config.complete(here);
        if errors.is_empty() {
            return Ok(loaded);
        }
        Err(ConfigErrors::new(file, errors))
    }

    /// Fills in from the command line what the file leaves open.
    pub(super) fn complete(&mut self, here: &Here) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut open = |path: &str, flag: &str| {
            errors.push(ConfigError::Field(Finding {
                path: path.to_owned(),
                at: At::default(),
                what: format!("is left open, and there is no {flag}"),
                fix: format!("start the agent with {flag}, or write it"),
            }));
        };
        if let AgentIdentity::Pod(pod) = &mut self.identity
            && pod.node.is_none()
        {
            pod.node.clone_from(&here.node_name);
            if pod.node.is_none() {
                open("identity.node", "--node-name");
            }
        }
        if let (None, Some(port)) = (self.allow.kubelet, self.allow.kubelet_port) {
            let at = here
                .node_ip
                .map(|ip| SocketAddr::new(ip.to_canonical(), port));
            self.allow.kubelet = at;
            if at.is_none() {
                open("allow.kubelet.address", "--node-ip");
            }
        }
        errors
    }
}

/// Reads the identity of an agent that asks an authority.
pub(super) fn read_pod(mut section: Section<'_>) -> Option<PodIdentity> {
    let server = section.required("server", "https://10.0.0.1:6443", server);
    let node = section.optional("node", node_name);
    let ca = section.required_file("caFile", "ca.crt");
    let token_path = "/var/run/secrets/eyesplice.dev/token";
    let token = section.required_file("tokenFile", token_path);
    let dir = section.required_file("dir", "/run/eyesplice/identity");
    let issuer = section.file("issuerCAFile");
    let lifetime = |node: &Node| value::duration(node, &bounds::SIGNING);
    let lifetime = section.optional("lifetime", lifetime);
    Some(PodIdentity {
        node,
        server: server?,
        ca_file: ca?,
        token_file: token?,
        dir: dir?.path,
        issuer_ca_file: issuer,
        lifetime,
    })
}

fn node_name(node: &Node) -> Result<String, Problem> {
    let name = value::text(node)?;
    match check_node_name(&name) {
        Ok(()) => Ok(name),
        Err(problem) => {
            let what = format!("{name:?} {problem}");
            Err(Problem::new(
                what,
                "write it as `kubectl get nodes` shows it",
            ))
        }
    }
}
