//! What `eyesplice check FILE` does: everything that a start does before it listens.

use crate::config::{Admission, AgentSpec, Config, Document, Rule, Transport, Via};
use crate::material::{Material, MaterialError};
use eyesplice_authority::AuthorityReport;
use eyesplice_identity::document::{CheckErrors, ConfigErrors, Partly};
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_process::exposure;
use eyesplice_sys::limits;
use std::fmt;
use std::num::NonZero;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::SystemTime;

/// A configuration that the gateway would start with.
#[derive(Debug)]
pub struct CheckReport {
    /// The configuration.
    pub config: Config,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// Every certificate that was loaded.
    pub certificates: Vec<CertificateInfo>,
    nodes: Option<usize>,
    authority: Option<AuthorityReport>,
    /// How many streams the limit of open files has room for here, where that is less than configured.
    streams: Option<usize>,
}

/// Reads a configuration and every file that it names. Binds nothing, dials nothing.
///
/// # Errors
/// All mistakes of the configuration and of the files that it names, where a part of it could be read.
pub fn check(file: &Path, now: SystemTime) -> Result<CheckReport, CheckErrors> {
    let Partly {
        value,
        mut errors,
        warnings,
        places,
    } = Config::partly(file)?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let mut others = Vec::new();
    let mut loaded = None;
    if let Some(config) = value {
        let exposed = exposure::find(&config.files(), &config.secrets()).into_iter();
        errors.extend(exposed.map(|each| places.file_error("", each.to_string())));
        let authority = config.authority.as_ref();
        let authority = authority.map(|file| eyesplice_authority::check(&file.path, now));
        let authority = authority.transpose();
        let authority = authority.map_err(|all: CheckErrors| others.extend(all.0));
        // Where the identity cannot be read, nothing says which files are still to come.
        let material = if places.has("identity") && config.identity.is_none() {
            None
        } else {
            let loaded = Material::load_unenrolled(&config, now).map_err(|all| {
                let error =
                    |error: MaterialError| places.file_error(error.field(), error.to_string());
                errors.extend(all.0.into_iter().map(error));
            });
            loaded.ok()
        };
        loaded = material.zip(authority.ok()).map(|parts| (config, parts));
    }
    let (true, true, Some((config, (material, authority)))) =
        (errors.is_empty(), others.is_empty(), loaded)
    else {
        if !errors.is_empty() {
            others.insert(0, ConfigErrors::new(file, errors));
        }
        return Err(CheckErrors(others));
    };
    warnings.extend(crate::config::unseen::warning(&config));
    warnings.extend(material.warnings);
    warnings.extend(authority.iter().flat_map(|report| report.warnings.clone()));
    // Of the file: before the first certificate there is no client for kubelets.
    let inventory = config.kubelet.as_ref();
    let inventory =
        inventory.and_then(|kubelet| Inventory::load(&kubelet.inventory_file.as_ref()?.path).ok());
    let streams = streams_here(&config);
    Ok(CheckReport {
        streams,
        config,
        warnings,
        certificates: material.certificates,
        nodes: inventory.map(|inventory| inventory.len()),
        authority,
    })
}

/// Looks at this process's own limit: `check` usually runs where the gateway will, before its start.
fn streams_here(config: &Config) -> Option<usize> {
    /// What a gateway has open beside its engine.
    const HELD: usize = 32;
    let workers = config.engine_config(available_parallelism().map_or(1, NonZero::get));
    let limit = limits::open_files().ok()?.hard;
    let sockets = config.sockets(workers.workers);
    let parts = config.parts();
    let room = parts.room(workers.workers, sockets, limit, HELD).streams;
    (room < config.limits.max_streams).then_some(room)
}

/// The summary, without the warnings.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is valid", self.config.file.display())?;
        writeln!(f, "listeners:")?;
        for listener in &self.config.listeners {
            writeln!(f, "  {}: {}", listener.name, Place(&listener.transport))?;
        }
        if let Some(streams) = self.streams {
            writeln!(
                f,
                "streams: {streams} instead of {}: the limit of open files here allows no more; raise \
                 LimitNOFILE, or lower limits.maxStreams",
                self.config.limits.max_streams
            )?;
        }
        if let Some(api_servers) = &self.config.apiservers {
            writeln!(f, "API servers, {}:", api_servers.balance.as_str())?;
            for endpoint in &api_servers.servers {
                writeln!(f, "  {endpoint}")?;
            }
        }
        if let Some(short_way) = &self.config.front.short_way {
            let streams = match short_way.admission {
                Admission::Trusted => "exec, attach, portForward and logs",
                Admission::Pass => "logs alone",
            };
            writeln!(f, "past API servers: {streams}")?;
        }
        if let Some(glass) = &self.config.front.break_glass {
            let rules: Vec<&str> = glass.allow.iter().map(|rule| &*rule.name).collect();
            let vantage = glass.vantage.address;
            writeln!(f, "break-glass: {}; vantage {vantage}", rules.join(", "))?;
        }
        if !self.config.egress.rules.is_empty() {
            writeln!(f, "rules, first match wins:")?;
        }
        for rule in &self.config.egress.rules {
            writeln!(
                f,
                "  {}: {}{} {}",
                rule.name,
                rule.action.as_str(),
                match &rule.via {
                    Via::Direct => String::new(),
                    Via::Tunnel => " through agents".to_owned(),
                    Via::Proxy(proxy) => format!(" through proxy {}", proxy.name),
                },
                Targets(rule)
            )?;
        }
        if !self.config.egress.rules.is_empty() {
            writeln!(f, "  anything else: deny")?;
        }
        if let Some(tunnel) = &self.config.tunnel {
            writeln!(f, "agents:")?;
            for agent in &tunnel.agents {
                writeln!(f, "  {}: {}", agent.name, Granted(agent))?;
            }
            if tunnel.node_agents {
                writeln!(f, "  each node of the inventory: itself")?;
            }
        }
        if let Some(kubelet) = &self.config.kubelet {
            write!(
                f,
                "kubelets: verification {}, ",
                kubelet.verification.as_str()
            )?;
            match self.nodes {
                Some(nodes) => writeln!(f, "{nodes} nodes in the inventory")?,
                None => writeln!(f, "no inventory")?,
            }
        }
        if !self.certificates.is_empty() {
            writeln!(f, "certificates:")?;
        }
        for certificate in &self.certificates {
            writeln!(f, "  {certificate}")?;
        }
        if let Some(authority) = &self.authority {
            write!(f, "authority in the same process: {authority}")?;
        }
        Ok(())
    }
}

struct Place<'a>(&'a Transport);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Transport::Unix(unix) => {
                write!(f, "unix {} mode {:04o}", unix.path.display(), unix.mode)
            }
            Transport::Tcp(tcp) => write!(f, "tcp {} with mutual TLS", tcp.address),
            Transport::Tunnel(tcp) => write!(f, "tunnel {} for agents", tcp.address),
            Transport::Front(front) => write!(
                f,
                "front {} for users with {}",
                front.address,
                if front.client_ca_file.is_some() {
                    "tokens or certificates"
                } else {
                    "tokens"
                }
            ),
            Transport::ApiServer(apiserver) => write!(
                f,
                "apiserver {} {}",
                apiserver.address,
                if apiserver.proxy_protocol {
                    "spliced, with PROXY protocol"
                } else {
                    "spliced"
                }
            ),
        }
    }
}

struct Granted<'a>(&'a AgentSpec);

impl fmt::Display for Granted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(agent) = self;
        let mut parts = Vec::new();
        if !agent.nodes.is_empty() {
            parts.push(format!("nodes {}", agent.nodes.join(", ")));
        }
        if !agent.cidrs.is_empty() {
            let cidrs: Vec<String> = agent.cidrs.iter().map(ToString::to_string).collect();
            parts.push(cidrs.join(", "));
        }
        if !agent.dns_suffixes.is_empty() {
            parts.push(format!("names below {}", agent.dns_suffixes.join(", ")));
        }
        f.write_str(&parts.join("; "))
    }
}

struct Targets<'a>(&'a Rule);

impl fmt::Display for Targets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(rule) = self;
        let join = |parts: Vec<String>| parts.join(", ");
        let mut parts = Vec::new();
        if !rule.dns_suffixes.is_empty() {
            parts.push(format!("names below {}", rule.dns_suffixes.join(", ")));
        }
        if !rule.cidrs.is_empty() {
            parts.push(join(rule.cidrs.iter().map(ToString::to_string).collect()));
        }
        if !rule.ports.is_empty() {
            let ports = join(rule.ports.iter().map(ToString::to_string).collect());
            parts.push(format!("ports {ports}"));
        }
        f.write_str(&parts.join("; "))
    }
}
