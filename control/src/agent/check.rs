//! What `eyesplice check FILE` does with the configuration of an agent: everything that a start
//! does before it dials.

use crate::config::{AgentConfig, AgentIdentity, Document};
use crate::material::{AgentMaterial, MaterialError, MaterialErrors, before_enrolment};
use eyesplice_identity::document::{self, CheckErrors, ConfigErrors, Partly, Value, parse_text};
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_identity::x509::NODE_AGENT_PREFIX;
use eyesplice_process::exposure;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// A configuration that the agent would start with.
#[derive(Debug)]
pub struct AgentReport {
    /// The configuration.
    pub config: AgentConfig,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// Every certificate that was loaded.
    pub certificates: Vec<CertificateInfo>,
    user: String,
}

/// Says whether a file is the configuration of an agent, as far as it can be told before it is
/// validated.
pub fn is_agent(file: &Path) -> bool {
    let text = document::read_file(file).ok();
    let root = text.and_then(|text| parse_text(&text).ok());
    let Some(Value::Map(entries)) = root.map(|root| root.value) else {
        return false;
    };
    entries.iter().any(|entry| {
        let kind = matches!(&entry.node.value, Value::Text(kind) if kind == AgentConfig::KIND);
        entry.key == "kind" && kind
    })
}

/// Reads a configuration and every file that it names. Resolves nothing, dials nothing.
///
/// # Errors
/// All mistakes of the configuration and of the files that it names, where a part of it could be
/// read.
pub fn check(file: &Path, now: SystemTime) -> Result<AgentReport, CheckErrors> {
    let Partly {
        value,
        mut errors,
        warnings,
        places,
    } = AgentConfig::partly(file)?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let mut loaded = None;
    if let Some(config) = value {
        let exposed = exposure::find(&config.files(), &config.secrets()).into_iter();
        errors.extend(exposed.map(|each| places.file_error("", each.to_string())));
        let found = find(&config, now).map_err(|all| {
            let error = |error: MaterialError| places.file_error(error.field(), error.to_string());
            errors.extend(all.0.into_iter().map(error));
        });
        loaded = found.ok().map(|found| (config, found));
    }
    let (true, Some((config, found))) = (errors.is_empty(), loaded) else {
        return Err(ConfigErrors::new(file, errors).into());
    };
    warnings.extend(found.warnings);
    Ok(AgentReport {
        config,
        warnings,
        certificates: found.certificates,
        user: found.user,
    })
}

/// What the files hold.
struct Found {
    user: String,
    certificates: Vec<CertificateInfo>,
    warnings: Vec<String>,
}

/// Loads the files; a pod's certificate may come later.
fn find(config: &AgentConfig, now: SystemTime) -> Result<Found, MaterialErrors> {
    if let AgentIdentity::Pod(pod) = &config.identity
        && !pod.pair().path.exists()
    {
        let (certificates, warnings) = before_enrolment(config, now)?;
        let node = pod.node.as_deref().unwrap_or("(--node-name)");
        return Ok(Found {
            user: format!("{NODE_AGENT_PREFIX}{node}"),
            certificates,
            warnings,
        });
    }
    let material = AgentMaterial::load_after(config, now, &[])?;
    Ok(Found {
        user: material.user.to_string(),
        certificates: material.certificates,
        warnings: material.warnings,
    })
}

/// The summary, without the warnings.
impl fmt::Display for AgentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |entries: Vec<String>| entries.join(", ");
        writeln!(f, "{} is valid", self.config.file.display())?;
        writeln!(f, "agent: {}", self.user)?;
        let gateways = &self.config.gateways;
        let addresses = gateways.addresses.iter().map(ToString::to_string).collect();
        let hold = match gateways.hold {
            Some(hold) => format!("{hold} are held"),
            None => "all of up to three are held, else two".to_owned(),
        };
        writeln!(f, "gateways: {}; {hold}", list(addresses))?;
        if let Some(proxy) = &gateways.proxy {
            let login = match proxy.credentials_file {
                Some(_) => "with user and password",
                None => "without a login",
            };
            writeln!(f, "through proxy {proxy}, {login}")?;
        }
        writeln!(f, "dials:")?;
        let allow = &self.config.allow;
        if let Some(kubelet) = allow.kubelet {
            writeln!(f, "  the kubelet at {kubelet}")?;
        } else if let Some(port) = allow.kubelet_port {
            writeln!(f, "  the kubelet at the address of --node-ip, port {port}")?;
        }
        if !allow.cidrs.is_empty() {
            let networks = list(allow.cidrs.iter().map(ToString::to_string).collect());
            let ports = list(allow.ports.iter().map(ToString::to_string).collect());
            if ports.is_empty() {
                writeln!(f, "  {networks}, any port")?;
            } else {
                writeln!(f, "  {networks}, ports {ports}")?;
            }
        }
        if !allow.dns_suffixes.is_empty() {
            let suffixes = allow.dns_suffixes.join(", ");
            writeln!(
                f,
                "  names below {suffixes}, at addresses in these networks"
            )?;
        }
        writeln!(f, "  nothing else")?;
        if !self.certificates.is_empty() {
            writeln!(f, "certificates:")?;
        }
        for certificate in &self.certificates {
            writeln!(f, "  {certificate}")?;
        }
        Ok(())
    }
}
