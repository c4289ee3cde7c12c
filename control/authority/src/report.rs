//! What `eyesplice check` prints of an authority's configuration.

use super::approve::DnsUse;
use super::material::{AuthorityMaterial, AuthorityMaterialError};
use crate::config::{ApprovalSettings, AuthorityConfig, Document, SignerSettings};
use eyesplice_identity::authn::Sources;
use eyesplice_identity::document::{CheckErrors, ConfigErrors, Partly};
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_process::exposure;
use eyesplice_process::exposure::Exposure;
use eyesplice_process::reload::Valid;
use eyesplice_proto::causes::chain;
use std::fmt::{self, Write};
use std::path::Path;
use std::time::SystemTime;

/// A configuration that the authority would start with; written as its summary, without the
/// warnings.
#[derive(Debug, derive_more::Display)]
#[display("{summary}")]
pub struct AuthorityReport {
    summary: String,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
}

/// Reads a configuration and every file that it names. Binds nothing, opens no store.
///
/// # Errors
/// All mistakes of the configuration and of the files that it names, where it could be read.
pub fn check(file: &Path, now: SystemTime) -> Result<AuthorityReport, CheckErrors> {
    let load = |config| AuthorityMaterial::load(config, now);
    let exposed = |config: &AuthorityConfig| exposure::find(&config.files(), &config.secrets());
    report(file, AuthorityConfig::partly(file)?, exposed, load, print)
}

/// Loads the files of what could be read, and prints what came of it; or gives all errors.
pub(super) fn report<C, S>(
    file: &Path,
    read: Partly<C>,
    exposed: impl FnOnce(&C) -> Vec<Exposure>,
    load: impl FnOnce(C) -> Result<Valid<S>, Vec<AuthorityMaterialError>>,
    print: impl FnOnce(&mut String, &S) -> fmt::Result,
) -> Result<AuthorityReport, CheckErrors> {
    let Partly {
        value,
        mut errors,
        warnings,
        places,
    } = read;
    let valid = value.and_then(|config| {
        let exposed = exposed(&config).into_iter();
        errors.extend(exposed.map(|each| places.file_error("", each.to_string())));
        let loaded = load(config).map_err(|all| {
            let error =
                |error: AuthorityMaterialError| places.file_error(error.field(), chain(&error));
            errors.extend(all.into_iter().map(error));
        });
        loaded.ok()
    });
    match valid {
        Some(valid) if errors.is_empty() => {
            let mut summary = String::new();
            // Writing to a String cannot fail.
            let _ = print(&mut summary, &valid.state)
                .and_then(|()| print_certificates(&mut summary, &valid.certificates));
            let warnings = warnings.iter().map(ToString::to_string);
            Ok(AuthorityReport {
                summary,
                warnings: warnings.chain(valid.warnings).collect(),
            })
        }
        _ => Err(ConfigErrors::new(file, errors).into()),
    }
}

fn print(out: &mut String, (material, _): &(AuthorityMaterial, Sources)) -> fmt::Result {
    let config = &material.config;
    writeln!(out, "{} is valid", config.file.display())?;
    writeln!(out, "listens on {}", config.address)?;
    print_signers(out, &config.signers)?;
    match &material.inventory {
        Some(inventory) => print_inventory(out, inventory)?,
        None => writeln!(out, "kubelet-serving: approved by people, no inventory")?,
    }
    print_checks(out, &config.approval)
}

/// Who approves where an inventory does.
pub(super) fn print_inventory(out: &mut String, inventory: &Inventory) -> fmt::Result {
    let nodes = inventory.len();
    writeln!(
        out,
        "kubelet-serving: approved by the inventory, {nodes} nodes"
    )
}

/// One line per signer.
pub(super) fn print_signers(out: &mut String, signers: &[SignerSettings]) -> fmt::Result {
    writeln!(out, "signers:")?;
    for settings in signers {
        let days = settings.duration.as_secs() / 86_400;
        writeln!(out, "  {}: at most {days} days", settings.signer)?;
    }
    Ok(())
}

/// What else is asked before a kubelet's serving certificate is approved.
pub(super) fn print_checks(out: &mut String, approval: &ApprovalSettings) -> fmt::Result {
    match approval.dns {
        DnsUse::Ignore => {}
        DnsUse::Require => writeln!(out, "  its names must resolve to the node's addresses")?,
        DnsUse::Allow => writeln!(out, "  and names that resolve to the node's addresses")?,
    }
    match approval.probe {
        Some(probe) => writeln!(out, "  the node must answer at port {}", probe.port),
        None => Ok(()),
    }
}

/// One line per certificate.
fn print_certificates(out: &mut String, certificates: &[CertificateInfo]) -> fmt::Result {
    writeln!(out, "certificates:")?;
    for certificate in certificates {
        writeln!(out, "  {certificate}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Site;
    use super::*;

    #[test]
    fn check_tells_what_the_configuration_comes_to() {
        let site = Site::new();
        let report = check(&site.path("authority.yaml"), SystemTime::now()).unwrap();
        assert!(report.warnings.is_empty(), "{:?}", report.warnings);
        let text = report.to_string();
        for line in [
            "authority.yaml is valid",
            "  kubernetes.io/kubelet-serving: at most 365 days",
            "kubelet-serving: approved by the inventory, 1 nodes",
            "  listen.tlsCertFile: CN=system:node:worker-3",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn check_refuses_files_that_are_everybodys() {
        let site = Site::new();
        site.chmod("server.key", 0o640);
        site.chmod("authority.yaml", 0o664);
        let check = || check(&site.path("authority.yaml"), SystemTime::now());
        check().unwrap();
        site.chmod("serving.key", 0o644);
        site.chmod("inventory.yaml", 0o666);
        let text = check().unwrap_err().to_string();
        for words in [
            "serving.key holds a secret and may be read by everybody (mode 0644)",
            "inventory.yaml may be written by everybody (mode 0666)",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("server.key"), "{text}");
    }

    #[test]
    fn check_tells_what_else_is_asked() {
        let site = Site::new();
        let text = std::fs::read_to_string(site.path("authority.yaml")).unwrap();
        let listed = "  inventoryFile: inventory.yaml\n";
        let more = format!("{listed}  dns: require\n  probe: {{port: 10251}}\n");
        site.write("authority.yaml", &text.replace(listed, &more));
        let report = check(&site.path("authority.yaml"), SystemTime::now()).unwrap();
        let text = report.to_string();
        assert!(text.contains("must resolve"), "{text}");
        assert!(text.contains("must answer at port 10251"), "{text}");
    }

    #[test]
    fn check_tells_all_that_is_wrong_with_the_files() {
        let site = Site::new();
        std::fs::remove_file(site.path("server.key")).unwrap();
        std::fs::copy(site.path("serving.key"), site.path("ca.key")).unwrap();
        site.write("inventory.yaml", "kind: Other");
        let error = check(&site.path("authority.yaml"), SystemTime::now()).unwrap_err();
        let text = error.to_string();
        for words in [
            "server.key (listen.tlsPrivateKeyFile): does not exist",
            "signers[kubernetes.io/kube-apiserver-client] (",
            "does not belong to the CA CN=kubernetes",
            "approval.inventoryFile",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
}
