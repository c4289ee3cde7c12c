//! What `eyesplice check` prints of the configuration of an authority in a cluster.

use super::super::report::{AuthorityReport, print_checks, print_inventory, print_signers, report};
use super::material::ClusterMaterial;
use crate::config::{ClusterConfig, Document};
use eyesplice_identity::document::CheckErrors;
use eyesplice_process::exposure;
use std::fmt::{self, Write};
use std::path::Path;
use std::time::SystemTime;

/// Reads a configuration and every file that it names. Asks no API server.
///
/// # Errors
/// All mistakes of the configuration and of the files that it names, where it could be read.
pub fn check_cluster(file: &Path, now: SystemTime) -> Result<AuthorityReport, CheckErrors> {
    let load = |config| ClusterMaterial::load(config, now);
    let exposed = |config: &ClusterConfig| exposure::find(&config.files(), &config.secrets());
    report(file, ClusterConfig::partly(file)?, exposed, load, print)
}

fn print(out: &mut String, material: &ClusterMaterial) -> fmt::Result {
    let config = &material.config;
    writeln!(out, "{} is valid", config.file.display())?;
    writeln!(out, "works on the CSRs of a cluster, as {}", material.place)?;
    let (namespace, name) = (&config.election.namespace, &config.election.name);
    writeln!(out, "leader election: Lease {namespace}/{name}")?;
    print_signers(out, &config.signers)?;
    match &material.inventory {
        Some(inventory) => print_inventory(out, inventory)?,
        None if material.asks_nodes() => {
            let who = "the addresses of Node objects";
            writeln!(out, "kubelet-serving: approved by {who}")?;
        }
        None => {}
    }
    print_checks(out, &config.approval)
}
