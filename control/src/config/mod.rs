//! The gateway's configuration file: YAML in, a validated [`Config`] out, or every mistake at once.
//!
//! A file is read in two layers. `tree` and `section` know YAML, places and unknown fields; the
//! section readers know what each field means and fill in defaults. [`Config`] is the result:
//! typed, complete, and read by nobody else again. `docs/config.md` is the reference for operators.

mod actions;
mod bounds;
mod cross;
mod egress;
mod engine;
mod files;
mod identity;
mod kubelet;
mod listeners;
mod model;
mod process;
mod restart;
mod shadow;
pub(crate) mod unseen;
mod value;

pub use model::{
    Audit, AuditSink, Config, Egress, EgressCa, EngineSettings, Identity, Kubelet, LeafSigner,
    Limits, Listener, OnFailure, PortRange, Rule, RuleAction, ServerNames, TcpTransport, Timeouts,
    Transport, UnixTransport, Upstream, Verification,
};
pub(crate) use shadow::is_below;

use eyesplice_identity::document;
use eyesplice_identity::document::{ConfigErrors, Finding, Report, Section};
use eyesplice_process::admin::AdminSettings;
use std::path::Path;

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
    let admin = AdminSettings::read(root, report);
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
