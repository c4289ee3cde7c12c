//! Runs an authority: one that serves the CSR API itself, or one in a cluster, as its configuration says.

use super::cluster;
use super::config::{Form, form};
use super::process::{self, AuthorityError, Options};

/// Runs until a signal stopped it.
///
/// # Errors
/// Whatever kept it from starting; nothing stays behind.
pub fn run(options: Options) -> Result<(), AuthorityError> {
    eyesplice_process::run("authority", async {
        match form(&options.config) {
            Form::Cluster => cluster::supervise(options).await,
            _ if options.kubeconfig.is_some() => Err(AuthorityError::NoCluster(options.config)),
            _ => process::supervise(options).await,
        }
    })
}
