//! What `eyesplice check` prints of an authority's configuration.

use super::material::{AuthorityMaterial, AuthorityMaterialErrors};
use crate::config::{AuthorityConfig, ConfigErrors, LoadedAuthority};
use crate::material::CertificateInfo;
use std::fmt;
use std::path::Path;
use std::time::SystemTime;

/// A configuration that the authority would start with.
#[derive(Debug)]
pub struct AuthorityReport {
    material: AuthorityMaterial,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// Why the authority would not start.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityCheckError {
    /// The configuration file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A file that it names is wrong.
    #[error(transparent)]
    Material(#[from] AuthorityMaterialErrors),
}

/// Reads a configuration and every file that it names. Binds nothing, opens no store.
///
/// # Errors
/// All mistakes of the configuration, or, if it has none, of the files that it names.
pub fn check(file: &Path, now: SystemTime) -> Result<AuthorityReport, AuthorityCheckError> {
    let LoadedAuthority { config, warnings } = AuthorityConfig::load(file)?;
    let (material, _) = AuthorityMaterial::load(config, now)?;
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(material.warnings.iter().cloned());
    Ok(AuthorityReport { material, warnings })
}

/// The summary, without the warnings.
impl fmt::Display for AuthorityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.material.config;
        writeln!(f, "{} is valid", config.file.display())?;
        writeln!(f, "listens on {}", config.address)?;
        writeln!(f, "signers:")?;
        for settings in &config.signers {
            let days = settings.duration.as_secs() / 86_400;
            writeln!(f, "  {}: at most {days} days", settings.signer)?;
        }
        match &self.material.inventory {
            Some(inventory) => writeln!(
                f,
                "kubelet-serving: approved by the inventory, {} nodes",
                inventory.len()
            )?,
            None => writeln!(f, "kubelet-serving: approved by people, no inventory")?,
        }
        writeln!(f, "certificates:")?;
        for certificate in &self.material.certificates {
            let CertificateInfo {
                field,
                subject,
                not_after,
                ..
            } = certificate;
            let end = crate::identity::instant((*not_after).into());
            writeln!(f, "  {field}: {subject}, until {end}")?;
        }
        Ok(())
    }
}
