//! The gateway's configuration file: YAML in, a validated [`Config`] out, or every mistake at once.
//!
//! A file is read in two layers. `tree` and `section` know YAML, places and unknown fields; the
//! section readers know what each field means and fill in defaults. [`Config`] is the result:
//! typed, complete, and read by nobody else again. `docs/config.md` is the reference for operators.

mod actions;
mod bounds;
mod check;
mod cross;
mod egress;
mod engine;
mod files;
mod kubelet;
mod listeners;
mod model;
mod process;
mod report;
mod restart;
mod section;
mod shadow;
mod tree;
mod value;

pub use check::{CheckError, CheckReport, check};
pub use model::{
    Admin, Audit, AuditSink, Config, Egress, EgressCa, EngineSettings, Kubelet, Limits, Listener,
    PortRange, Rule, RuleAction, TcpTransport, Timeouts, Transport, UnixTransport, Upstream,
    Verification,
};
pub use report::{ConfigError, ConfigErrors, Finding};
pub(crate) use shadow::is_below;
pub use tree::At;

use report::{Problem, Report};
use section::Section;
use std::io::Read;
use std::path::Path;

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
        match read_bounded(file) {
            Ok(text) => Self::parse(&text, file),
            Err(error) => Err(ConfigErrors {
                file: file.to_owned(),
                errors: vec![error],
            }),
        }
    }

    /// Validates the text of a file; `file` names it in errors and is the base of relative paths.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, file: &Path) -> Result<Loaded, ConfigErrors> {
        let fail = |errors| ConfigErrors {
            file: file.to_owned(),
            errors,
        };
        let root = tree::parse(text).map_err(|error| {
            fail(vec![ConfigError::Syntax {
                at: error.at,
                message: error.message,
            }])
        })?;
        let mut report = Report::default();
        let config = Section::open(String::new(), &root, &mut report)
            .and_then(|root| read(root, file, &mut report));
        let warnings = report.finish().map_err(fail)?;
        match config {
            Some(config) => Ok(Loaded { config, warnings }),
            None => unreachable!("a reader that returns nothing has reported why"),
        }
    }
}

fn read_bounded(file: &Path) -> Result<String, ConfigError> {
    let open = std::fs::File::open(file).map_err(ConfigError::Read)?;
    let mut text = String::new();
    let bound = bounds::FILE_BYTES as u64 + 1;
    open.take(bound)
        .read_to_string(&mut text)
        .map_err(ConfigError::Read)?;
    if text.len() > bounds::FILE_BYTES {
        return Err(ConfigError::TooLarge {
            limit: bounds::FILE_BYTES,
        });
    }
    Ok(text)
}

fn read(mut root: Section<'_>, file: &Path, report: &mut Report) -> Option<Config> {
    let base = file.parent().unwrap_or(Path::new(""));
    expect(&mut root, "apiVersion", API_VERSION, report);
    expect(&mut root, "kind", KIND, report);
    let listeners = listeners::read(&mut root, base, report);
    let egress = egress::read(&mut root, base, report);
    let egress_ca = kubelet::read_egress_ca(&mut root, base, report);
    let kubelet = kubelet::read_kubelet(&mut root, base, report);
    let limits = process::read_limits(&mut root, report);
    let timeouts = process::read_timeouts(&mut root, report);
    let engine = process::read_engine(&mut root, report);
    let admin = process::read_admin(&mut root, report);
    let audit = process::read_audit(&mut root, base, report);
    let config = egress.map(|egress| Config {
        file: file.to_owned(),
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
        cross::check(config, &root, report);
    }
    root.finish(report);
    config
}

/// Reads a field that can have one value only.
fn expect(root: &mut Section<'_>, field: &'static str, want: &str, report: &mut Report) {
    let Some(value) = root.required(field, want, value::text, report) else {
        return;
    };
    if value != want {
        let problem = Problem::new(
            format!("{value:?} is not known to this version"),
            format!("write `{field}: {want}`"),
        );
        report.error(&root.path_of(field), root.place_of(field), problem);
    }
}

#[cfg(test)]
mod tests;
