//! What `eyesplice check FILE` does: everything that a start does before it listens.

use super::{Config, ConfigErrors, Loaded, Rule, Transport};
use crate::authority::{self, AuthorityCheckError, AuthorityReport};
use crate::exposure::Exposures;
use crate::inventory::Inventory;
use crate::material::{CertificateInfo, Material, MaterialErrors};
use std::fmt;
use std::path::Path;
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
}

/// Why the gateway would not start.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A file that it names is wrong.
    #[error(transparent)]
    Material(#[from] MaterialErrors),
    /// The authority's configuration, or a file that it names.
    #[error(transparent)]
    Authority(#[from] AuthorityCheckError),
    /// Files that more people may read or write than should.
    #[error(transparent)]
    Exposed(#[from] Exposures),
}

/// Reads a configuration and every file that it names. Binds nothing, dials nothing.
///
/// # Errors
/// All mistakes of the configuration, or, if it has none, of the files that it names, or else of who may
/// read and write them.
pub fn check(file: &Path, now: SystemTime) -> Result<CheckReport, CheckError> {
    let Loaded { config, warnings } = Config::load(file)?;
    let authority = config.authority.as_deref();
    let authority = authority
        .map(|file| authority::check(file, now))
        .transpose()?;
    let material = Material::load_unenrolled(&config, now)?;
    Exposures::refuse(&config.files(), &config.secrets())?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(material.warnings);
    warnings.extend(authority.iter().flat_map(|report| report.warnings.clone()));
    // Of the file: before the first certificate there is no client for kubelets.
    let inventory = config.kubelet.as_ref();
    let inventory =
        inventory.and_then(|kubelet| Inventory::load(kubelet.inventory_file.as_ref()?).ok());
    Ok(CheckReport {
        config,
        warnings,
        certificates: material.certificates,
        nodes: inventory.map(|inventory| inventory.len()),
        authority,
    })
}

/// The summary, without the warnings.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} is valid", self.config.file.display())?;
        writeln!(f, "listeners:")?;
        for listener in &self.config.listeners {
            writeln!(f, "  {}: {}", listener.name, Place(&listener.transport))?;
        }
        writeln!(f, "rules, first match wins:")?;
        for rule in &self.config.egress.rules {
            writeln!(
                f,
                "  {}: {} {}",
                rule.name,
                rule.action.as_str(),
                Targets(rule)
            )?;
        }
        writeln!(f, "  anything else: deny")?;
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
            let CertificateInfo {
                field,
                subject,
                not_after,
                ..
            } = certificate;
            let end = crate::identity::instant((*not_after).into());
            writeln!(f, "  {field}: {subject}, until {end}")?;
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
        }
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
