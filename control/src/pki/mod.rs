//! `eyesplice pki init`: writes a cluster's certificates, keys, kubeconfigs and node inventory.
//!
//! The layout is kubeadm's (`ca`, `apiserver`, `front-proxy-ca`, ...), with what kubeadm lacks: a CA
//! for kubelets' serving certificates, and the two CAs of the egress. Every certificate is one row
//! of the table in `profile`; keys are ECDSA P-256. Source: kubeadm's
//! `phases/certs/certlist.go` and `phases/kubeconfig/kubeconfig.go`.

mod files;
mod issue;
mod kubeconfig;
mod options;
mod profile;
mod serial;
#[cfg(test)]
pub(crate) mod testing;

pub use files::FileError;
pub(crate) use issue::alternative_names;
pub use options::{DEFAULT_SERVICE_IP, InitOptions, NodeSpec, NodeSpecError, OptionProblem};
pub(crate) use serial::random_serial;

use self::files::File;
use self::issue::{Issued, issue};
use self::options::Plan;
use self::profile::Issuer;
use crate::inventory;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// Clients whose clocks are behind ours accept a new certificate (kubeadm's value).
pub(crate) const BACKDATE: Duration = Duration::minutes(5);

/// Why no PKI was written.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// One or more options are wrong; nothing was written.
    #[error("cannot lay out the PKI: {}", Joined(.0))]
    Options(Vec<OptionProblem>),
    /// A key or certificate could not be made.
    #[error("cannot issue {name}")]
    Issue {
        /// File name without extension.
        name: String,
        /// What the certificate library said.
        source: rcgen::Error,
    },
    /// The system gave no random bytes.
    #[error("cannot draw a serial number for {name}: the system's random source failed")]
    Random {
        /// File name without extension.
        name: String,
    },
    /// The files could not be written.
    #[error(transparent)]
    File(#[from] FileError),
}

struct Joined<'a>(&'a [OptionProblem]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// What was written.
#[derive(Clone, Debug)]
pub struct InitReport {
    /// The directory, as it was given.
    pub dir: PathBuf,
    /// File names in it, in the order of writing.
    pub files: Vec<String>,
    /// When the CAs end.
    pub authorities_expire: SystemTime,
    /// When everything else ends.
    pub leaves_expire: SystemTime,
}

/// Writes a new PKI into `options.dir`.
///
/// Every file is written under a temporary name first and moved in place when all are on disk, so a
/// full disk leaves nothing half done. Keys and kubeconfigs get mode 0600, the rest 0644.
///
/// # Errors
/// All wrong options at once; files that exist already, unless `force`; I/O.
pub fn init(options: &InitOptions) -> Result<InitReport, PkiError> {
    let now = OffsetDateTime::from(SystemTime::now());
    let plan = options.plan().map_err(PkiError::Options)?;
    files::refuse_existing(&options.dir, &plan.file_names(), options.force)?;
    let files = generate(&plan, now)?;
    files::write_all(&options.dir, &files)?;
    Ok(InitReport {
        dir: options.dir.clone(),
        files: files.into_iter().map(|file| file.name).collect(),
        authorities_expire: (now + profile::AUTHORITY_LIFETIME).into(),
        leaves_expire: (now + profile::LEAF_LIFETIME).into(),
    })
}

/// Makes all files in memory.
fn generate(plan: &Plan, now: OffsetDateTime) -> Result<Vec<File>, PkiError> {
    let mut issued: Vec<Issued> = Vec::with_capacity(plan.profiles.len());
    for profile in &plan.profiles {
        let authority = match profile.issuer {
            Issuer::Itself => None,
            Issuer::Authority(name) => issued.iter().find(|issued| issued.name == name),
        };
        let next = issue(profile, authority, now)?;
        issued.push(next);
    }
    let mut files = Vec::with_capacity(2 * issued.len() + 8);
    for each in &issued {
        files.push(File::public(
            format!("{}.crt", each.name),
            each.certificate.pem(),
        ));
        files.push(File::secret(format!("{}.key", each.name), each.key_pem()));
    }
    let service_accounts =
        KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| PkiError::Issue {
            name: "sa".to_owned(),
            source,
        })?;
    let service_account_key = Zeroizing::new(service_accounts.serialize_pem());
    files.push(File::secret("sa.key".to_owned(), service_account_key));
    files.push(File::public(
        "sa.pub".to_owned(),
        service_accounts.public_key_pem(),
    ));
    for config in &plan.kubeconfigs {
        files.push(File::secret(
            config.file.clone(),
            config.render(&plan.server, &issued),
        ));
    }
    files.push(File::public(
        "inventory.yaml".to_owned(),
        inventory::render(&plan.nodes),
    ));
    Ok(files)
}

#[cfg(test)]
mod tests;
