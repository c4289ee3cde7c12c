//! The configuration of an authority: one that serves the CSR API itself, or one in a cluster.

mod approval;
mod bounds;
mod cluster;
mod probe;
mod reach;
mod served;
mod timing;

pub use approval::{AgentSettings, ApprovalSettings};
pub use cluster::{ClusterConfig, ElectionSettings};
pub use probe::ProbeSettings;
pub use served::{Authentication, AuthorityConfig, AuthorityLimits, ClusterInfo, SignerSettings};

pub use eyesplice_identity::document::Document;
pub use timing::Timing;

use eyesplice_identity::document;
use eyesplice_identity::document::{Value, parse_text};
use std::path::Path;

/// What a configuration is for, as far as it can be told before it is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The gateway, or nothing that is known.
    Gateway,
    /// An authority that serves the CSR API itself.
    Authority,
    /// An authority that works on the CSRs of a cluster.
    Cluster,
}

/// Says what a file is for; one that cannot be read is for the gateway, which tells why.
pub fn form(file: &Path) -> Form {
    let text = document::read_file(file).ok();
    let root = text.and_then(|text| parse_text(&text).ok());
    let Some(Value::Map(entries)) = root.map(|root| root.value) else {
        return Form::Gateway;
    };
    let is_authority = entries.iter().any(|entry| {
        let kind = matches!(&entry.node.value, Value::Text(kind) if kind == AuthorityConfig::KIND);
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
