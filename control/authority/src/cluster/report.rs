//! What `eyesplice check` prints of the configuration of an authority in a cluster.

use super::super::report::{load_all, print_certificates, print_checks, print_signers};
use super::material::ClusterMaterial;
use crate::config::ClusterConfig;
use eyesplice_identity::document::CheckErrors;
use eyesplice_process::exposure;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// A configuration that the authority would start with.
#[derive(Debug)]
pub struct ClusterReport {
    material: ClusterMaterial,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// Reads a configuration and every file that it names. Asks no API server.
///
/// # Errors
/// All mistakes of the configuration and of the files that it names, where it could be read.
pub fn check_cluster(file: &Path, now: SystemTime) -> Result<ClusterReport, CheckErrors> {
    let load = |config| ClusterMaterial::load(config, None, now);
    let exposed = |config: &ClusterConfig| exposure::find(&config.files(), &config.secrets());
    let read = ClusterConfig::partly(file)?;
    let (material, mut warnings) = load_all(file, read, exposed, load)?;
    warnings.extend(material.warnings.iter().cloned());
    Ok(ClusterReport { material, warnings })
}

/// The summary, without the warnings.
impl fmt::Display for ClusterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let material = &self.material;
        let config = &material.config;
        writeln!(f, "{} is valid", config.file.display())?;
        writeln!(f, "works on the CSRs of a cluster, as {}", material.place)?;
        let election = &config.election;
        writeln!(
            f,
            "leader election: Lease {}/{}",
            election.namespace, election.name
        )?;
        print_signers(f, &config.signers)?;
        match &material.inventory {
            Some(inventory) => writeln!(
                f,
                "kubelet-serving: approved by the inventory, {} nodes",
                inventory.len()
            )?,
            None if material.asks_nodes() => {
                writeln!(
                    f,
                    "kubelet-serving: approved by the addresses of Node objects"
                )?;
            }
            None => {}
        }
        print_checks(f, &config.approval)?;
        print_certificates(f, &material.certificates)
    }
}
