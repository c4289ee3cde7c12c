//! Finds the API server and this process's identity: a kubeconfig, or a pod's service account.

use eyesplice_identity::kubeconfig::{self, CheckOptions, Severity, check};
use eyesplice_proto::tls::provider;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use ring::digest::{Context, SHA256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// One connection attempt: another API server may be behind the same name.
const CONNECT: Duration = Duration::from_secs(5);

/// What a pod has of its service account; the client reads it again every minute.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Where the API server and the credential are.
#[derive(Clone, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Place {
    /// A kubeconfig's current context.
    #[display("{}", _0.display())]
    Kubeconfig(PathBuf),
    /// The service account of the pod that this is.
    #[display("the pod's service account")]
    Pod,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig has flaws.
    #[error("{} cannot be used: {}", .path.display(), .flaws.join("; "))]
    Flaws {
        /// Which.
        path: PathBuf,
        /// What `eyesplice kubeconfig check` says.
        flaws: Vec<String>,
    },
    /// The kubeconfig cannot be read.
    #[error("cannot use {}", .path.display())]
    Kubeconfig {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<KubeconfigError>,
    },
    /// This is no pod, or one without a service account.
    #[error(
        "there is no service account of a pod here; name a kubeconfig by --kubeconfig or \
         cluster.kubeconfigFile"
    )]
    Pod(#[source] InClusterError),
    /// The client could not be made.
    #[error("cannot make a client for {place}")]
    Client {
        /// For what.
        place: Place,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

impl Place {
    /// Makes a client; asks nothing yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// There is no usable kubeconfig or service account.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let mut config = match self {
            Self::Kubeconfig(path) => {
                refuse_flaws(path)?;
                let failed = |source| ConnectError::Kubeconfig {
                    path: path.clone(),
                    source: Box::new(source),
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(failed)?
            }
            Self::Pod => Config::incluster().map_err(ConnectError::Pod)?,
        };
        config.connect_timeout = Some(CONNECT);
        // Every caller has its own way to try again.
        config.default_retry = false;
        // The library asks for the process's own, and panics where none was chosen.
        provider::install();
        Client::try_from(config).map_err(|source| ConnectError::Client {
            place: self.clone(),
            source: Box::new(source),
        })
    }

    /// Checks what connecting would read, without connecting.
    ///
    /// # Errors
    /// The kubeconfig has flaws. A pod's service account is there in the pod only.
    pub(crate) fn check(&self) -> Result<(), ConnectError> {
        match self {
            Self::Kubeconfig(path) => refuse_flaws(path),
            Self::Pod => Ok(()),
        }
    }

    /// The files that a client reads once; a client of a pod follows its files by itself.
    pub(crate) fn files(&self) -> BTreeSet<PathBuf> {
        let Self::Kubeconfig(path) = self else {
            return BTreeSet::new();
        };
        let mut files = BTreeSet::from([path.clone()]);
        // Unreadable ones are told by who connects.
        if let Ok(kubeconfig) = Kubeconfig::read_from(path) {
            let clusters = kubeconfig.clusters.into_iter().filter_map(|c| c.cluster);
            files.extend(clusters.filter_map(|c| c.certificate_authority.map(PathBuf::from)));
            for user in kubeconfig
                .auth_infos
                .into_iter()
                .filter_map(|u| u.auth_info)
            {
                files.extend(user.client_certificate.map(PathBuf::from));
                files.extend(user.client_key.map(PathBuf::from));
            }
        }
        files
    }

    /// The program that a client would start for its credential, in words.
    pub fn program(&self) -> Option<String> {
        let Self::Kubeconfig(path) = self else {
            return None;
        };
        let user = kubeconfig::named(path).program?;
        Some(format!(
            "{}: the credential of {user} is a program's",
            path.display()
        ))
    }

    /// A digest of all that a client reads once.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let mut context = Context::new(&SHA256);
        for file in self.files() {
            context.update(file.as_os_str().as_encoded_bytes());
            // Absent is as good a state as any other.
            context.update(&std::fs::read(&file).unwrap_or_default());
        }
        context.finish().as_ref().to_vec()
    }
}

fn refuse_flaws(path: &Path) -> Result<(), ConnectError> {
    let now = SystemTime::now();
    let flaws = check(path, &CheckOptions::at(now)).flaws;
    let errors = flaws
        .iter()
        .filter(|flaw| flaw.severity() == Severity::Error);
    let flaws: Vec<String> = errors.map(ToString::to_string).collect();
    if flaws.is_empty() {
        return Ok(());
    }
    Err(ConnectError::Flaws {
        path: path.to_owned(),
        flaws,
    })
}

#[cfg(test)]
mod tests;
