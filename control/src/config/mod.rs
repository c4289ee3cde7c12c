//! The gateway's configuration file: YAML in, a validated [`Config`] out, or every mistake at once.
//!
//! A file is read in two layers. `tree` and `section` know YAML, places and unknown fields; the
//! section readers know what each field means and fill in defaults. [`Config`] is the result:
//! typed, complete, and read by nobody else again. `docs/config.md` is the reference for operators.

mod actions;
mod approval;
mod authentication;
mod authority;
mod bounds;
mod check;
mod cluster;
mod cross;
pub(crate) mod document;
mod egress;
mod engine;
mod files;
mod identity;
mod kubelet;
mod listeners;
mod model;
mod places;
mod process;
mod report;
mod restart;
mod section;
mod shadow;
mod tree;
mod unseen;
pub(crate) mod value;

pub use approval::ApprovalSettings;
pub use authentication::AuthenticationConfig;
pub use authority::{
    Authentication, AuthorityConfig, AuthorityLimits, ClusterInfo, LoadedAuthority, SignerSettings,
};
pub use check::{CheckErrors, CheckReport, check};
pub use cluster::{ClusterConfig, ElectionSettings, LoadedCluster};
pub use model::{
    Admin, Audit, AuditSink, Config, Egress, EgressCa, EngineSettings, Identity, Kubelet,
    LeafSigner, Limits, Listener, OnFailure, PortRange, Rule, RuleAction, ServerNames,
    TcpTransport, Timeouts, Transport, UnixTransport, Upstream, Verification,
};
pub use report::{ConfigError, ConfigErrors, Finding};
pub(crate) use shadow::is_below;
pub use tree::At;

pub(crate) use report::{Problem, Report};
pub(crate) use section::Section;
pub(crate) use tree::{Node, Value};

use std::path::Path;

/// What a configuration is for, as far as it can be told before it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The gateway, or nothing that is known.
    Gateway,
    /// An authority that serves the CSR API itself.
    Authority,
    /// An authority that works on the CSRs of a cluster.
    Cluster,
}

/// Says what a file is for; one that cannot be read is for the gateway, which tells why.
pub(crate) fn form(file: &Path) -> Form {
    let text = document::read_file(file).ok();
    let root = text.and_then(|text| tree::parse(&text).ok());
    let Some(Value::Map(entries)) = root.map(|root| root.value) else {
        return Form::Gateway;
    };
    let is_authority = entries.iter().any(|entry| {
        let kind = matches!(&entry.node.value, Value::Text(kind) if kind == authority::KIND);
        entry.key == "kind" && kind
    });
    let in_cluster = entries
        .iter()
        .any(|entry| entry.key == "cluster" && !matches!(entry.node.value, Value::Null));
    match (is_authority, in_cluster) {
        (false, _) => Form::Gateway,
        (true, false) => Form::Authority,
        (true, true) => Form::Cluster,
    }
}

/// The version of the format; unknown versions are refused.
pub const API_VERSION: &str = "eyesplice.dev/v1alpha1";
/// The kind of document.
pub const KIND: &str = "GatewayConfig";

/// A configuration and what deserves the operator's attention in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Things that are allowed and probably not meant.
    pub warnings: Vec<Finding>,
}

impl Config {
    /// Reads and validates a file. Relative paths in it start at its directory.
    ///
    /// # Errors
    /// Every mistake of the file, each with field, line, column and remedy.
    pub fn load(file: &Path) -> Result<Loaded, ConfigErrors> {
        Self::parse(&document::read_file(file)?, file)
    }

    /// Reads what can be read of a file.
    pub(crate) fn partly(file: &Path) -> Result<document::Partly<Self>, ConfigErrors> {
        document::parse_partly(file, KIND, |root, report| read(root, file, report))
    }

    /// Validates the text of a file; `file` names it in errors and is the base of relative paths.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, file: &Path) -> Result<Loaded, ConfigErrors> {
        let (config, warnings) =
            document::parse(text, file, KIND, |root, report| read(root, file, report))?;
        Ok(Loaded { config, warnings })
    }
}

fn read(root: &mut Section<'_>, file: &Path, report: &mut Report) -> Option<Config> {
    let base = file.parent().unwrap_or(Path::new(""));
    let identity = identity::read(root, base, report);
    let who = identity.as_ref();
    let authority = identity::read_authority(root, base, report);
    let listeners = listeners::read(root, base, who, report);
    let egress = egress::read(root, base, report);
    let egress_ca = kubelet::read_egress_ca(root, base, report);
    let kubelet = kubelet::read_kubelet(root, base, who, report);
    let limits = process::read_limits(root, report);
    let timeouts = process::read_timeouts(root, report);
    let engine = process::read_engine(root, report);
    let admin = process::read_admin(root, report);
    let audit = process::read_audit(root, base, report);
    let config = egress.map(|egress| Config {
        file: file.to_owned(),
        identity,
        authority,
        listeners,
        egress,
        egress_ca,
        kubelet,
        limits,
        timeouts,
        engine,
        admin,
        audit,
    });
    if let Some(config) = &config {
        cross::check(config, root, report);
    }
    config
}

#[cfg(test)]
mod tests;
