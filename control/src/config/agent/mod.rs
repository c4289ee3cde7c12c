//! Reads the configuration of an agent: `AgentConfig`.

mod pod;
mod way_out;

pub use pod::{Here, PodIdentity};
pub use way_out::{ProxyOut, ProxyScheme};

use super::model::{Audit, EngineSettings, InnerTls, Limits, PortRange, Timeouts, TlsSettings};
use super::value::endpoint;
use super::{EngineParts, bounds, process};
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_identity::document::{
    Document, FileRef, Node, Problem, Section, groups, paths, value,
};
use eyesplice_process::admin::AdminSettings;
use eyesplice_proto::target::{Host, Target};
use ipnet::IpNet;
use pod::read_pod;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The port of a kubelet's API.
const KUBELET_PORT: u16 = 10250;

/// A whole agent configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentConfig {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Who it is to gateways.
    pub identity: AgentIdentity,
    /// Where it dials out to.
    pub gateways: Gateways,
    /// What it dials for them; everything else is refused.
    pub allow: Allow,
    /// Bounds.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// The key exchange groups towards gateways.
    pub tls: TlsSettings,
    /// How the engine is built.
    pub engine: EngineSettings,
    /// Health and metrics.
    pub admin: AdminSettings,
    /// The audit log.
    pub audit: Audit,
}

/// The certificate that an agent presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentIdentity {
    /// Somebody else writes it.
    Files {
        /// Client certificate with its intermediates.
        cert_file: FileRef,
        /// Its key.
        key_file: FileRef,
    },
    /// The agent is a pod and asks an authority for it.
    Pod(PodIdentity),
}

impl AgentIdentity {
    /// Certificate and key, which may be in one file.
    pub fn files(&self) -> [FileRef; 2] {
        match self {
            Self::Files {
                cert_file,
                key_file,
            } => [cert_file.clone(), key_file.clone()],
            Self::Pod(pod) => [pod.pair(), pod.pair()],
        }
    }
}

/// The gateways of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateways {
    /// Names and addresses; each address of a name is a gateway of its own. Never empty.
    pub addresses: Vec<Target>,
    /// Issuers of their certificates.
    pub ca_file: FileRef,
    /// The name that their certificates must have, if not the one that is dialled.
    pub server_name: Option<Host>,
    /// How many are held; `None`: all of up to three, else two.
    pub hold: Option<usize>,
    /// The proxy through which they are reached.
    pub proxy: Option<ProxyOut>,
}

/// What an agent dials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// This node's kubelet, which may be at a loopback address.
    pub kubelet: Option<SocketAddr>,
    /// Its port, where the command line says its address.
    pub kubelet_port: Option<u16>,
    /// Which TLS streams to it have between here and a gateway that asks for less.
    pub inner: InnerTls,
    /// Networks.
    pub cidrs: Vec<IpNet>,
    /// Ports in these networks; empty: any.
    pub ports: Vec<PortRange>,
    /// Suffixes, lower case, of names that it resolves; their addresses must be in the networks.
    pub dns_suffixes: Vec<String>,
}

impl AgentConfig {
    /// The configuration file and every file that it names.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let own = self.identity.files();
        let mut files = paths(own.iter().chain([&self.gateways.ca_file]));
        if let AgentIdentity::Pod(pod) = &self.identity {
            files.extend(paths([&pod.ca_file].into_iter().chain(&pod.issuer_ca_file)));
        }
        if let Some(proxy) = &self.gateways.proxy {
            files.extend(paths(proxy.credentials_file.iter().chain(&proxy.ca_file)));
        }
        files.insert(self.file.clone());
        files
    }

    /// Those of them that hold a key or a password.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let [_, key] = self.identity.files();
        let proxy = self.gateways.proxy.as_ref();
        let login = proxy.and_then(|proxy| proxy.credentials_file.as_ref());
        paths([&key].into_iter().chain(login))
    }

    /// What its engine is built of.
    pub fn parts(&self) -> EngineParts<'_> {
        EngineParts {
            limits: &self.limits,
            timeouts: &self.timeouts,
            engine: &self.engine,
        }
    }

    /// Lists the fields in which `new` differs and that only a restart applies.
    pub fn restart_required(&self, new: &Self) -> Vec<String> {
        let mut fields = self.parts().restart_required(&new.parts());
        let (audit, new_audit) = (&self.audit, &new.audit);
        for (same, field) in [
            (self.admin == new.admin, "admin.address"),
            (audit.sink == new_audit.sink, "audit.path"),
            (audit.on_failure == new_audit.on_failure, "audit.onFailure"),
        ] {
            fields.extend((!same).then(|| field.to_owned()));
        }
        fields
    }
}

impl Document for AgentConfig {
    const KIND: &'static str = "AgentConfig";

    fn read(root: &mut Section<'_>, file: &Path) -> Option<Self> {
        let identity = read_identity(root);
        let gateways = read_gateways(root);
        let allow = read_allow(root);
        let limits = process::read_limits(root);
        let timeouts = process::read_timeouts(root);
        let tls = TlsSettings {
            groups: groups::read(root),
        };
        let engine = process::read_engine(root, IoPolicy::Auto);
        let admin = AdminSettings::read(root);
        let audit = process::read_audit(root, false);
        Some(Self {
            file: file.to_owned(),
            identity: identity?,
            gateways: gateways?,
            allow: allow?,
            limits,
            timeouts,
            tls,
            engine,
            admin,
            audit,
        })
    }
}

fn read_identity(root: &mut Section<'_>) -> Option<AgentIdentity> {
    let example = "{certFile: agent.crt, keyFile: agent.key}";
    let mut section = root.required_section("identity", example)?;
    if section.has("server") {
        return read_pod(section).map(AgentIdentity::Pod);
    }
    let cert = section.required_file("certFile", "agent.crt");
    let key = section.required_file("keyFile", "agent.key");
    Some(AgentIdentity::Files {
        cert_file: cert?,
        key_file: key?,
    })
}

fn read_gateways(root: &mut Section<'_>) -> Option<Gateways> {
    let example = "{addresses: [\"gateway.example:8132\"], caFile: egress-ca.crt}";
    let mut section = root.required_section("gateways", example)?;
    let addresses = section.list("addresses", bounds::GATEWAYS, endpoint);
    if section.is_blank("addresses") {
        section.missing("addresses", "[\"gateway.example:8132\"]");
    }
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].contains(address) {
            let what = format!("{address} stands there twice");
            section.error("addresses", what, "remove one of them");
        }
    }
    let ca = section.required_file("caFile", "egress-ca.crt");
    let server_name = section.optional("serverName", value::host);
    let hold = |node: &Node| value::integer::<usize>(node, &bounds::HOLD);
    let hold = section.optional("hold", hold);
    let proxy = section.section("proxy").map(way_out::read);
    (!addresses.is_empty()).then_some(())?;
    Some(Gateways {
        addresses,
        ca_file: ca?,
        server_name,
        hold,
        proxy: proxy.flatten(),
    })
}

fn read_allow(root: &mut Section<'_>) -> Option<Allow> {
    let mut section = root.required_section("allow", "{kubelet: {address: 10.0.0.7}}")?;
    let kubelet = section.section("kubelet").map(read_kubelet);
    let (kubelet, kubelet_port, inner) = kubelet.unwrap_or_default();
    let entries = bounds::RULE_ENTRIES;
    let cidrs = section.list("cidrs", entries, value::cidr);
    let ports = section.list("ports", entries, super::value::ports);
    let suffixes = section.list("dnsSuffixes", entries, value::dns_suffix);
    if !section.has("kubelet") && section.is_blank("cidrs") {
        let fix = "add `kubelet: {address: 10.0.0.7}`, or `cidrs: [10.244.0.0/16]`";
        section.error("", "lets the agent dial nothing", fix);
    }
    for field in ["ports", "dnsSuffixes"] {
        if !section.is_blank(field) && section.is_blank("cidrs") {
            let what =
                "has no effect without `cidrs`: the addresses must be in one of these networks";
            section.error(field, what, "add `cidrs`, or remove it");
        }
    }
    Some(Allow {
        kubelet,
        kubelet_port,
        inner,
        cidrs,
        ports,
        dns_suffixes: suffixes,
    })
}

/// Where the kubelet is, or its port alone, and which TLS its streams have.
fn read_kubelet(mut section: Section<'_>) -> (Option<SocketAddr>, Option<u16>, InnerTls) {
    let open = !section.has("address");
    let address = section.optional("address", address);
    let port = |node: &Node| value::integer::<u16>(node, &(1..=i128::from(u16::MAX)));
    let port = section.optional("port", port).unwrap_or(KUBELET_PORT);
    let at = address.map(|address| SocketAddr::new(address, port));
    let inner = |node: &Node| value::word(node, &InnerTls::WORDS);
    let inner = section.optional("inner", inner).unwrap_or_default();
    (at, open.then_some(port), inner)
}

fn address(node: &Node) -> Result<IpAddr, Problem> {
    let text = value::text(node)?;
    let address = text.parse().ok().map(|ip: IpAddr| ip.to_canonical());
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    address.filter(usable).ok_or_else(|| {
        let what = format!("{text:?} is no IP address of a kubelet");
        Problem::new(what, "write the node's address, like 10.0.0.7")
    })
}

#[cfg(test)]
mod tests;
