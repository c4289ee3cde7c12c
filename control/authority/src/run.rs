//! Runs an authority: one that serves the CSR API itself, or one in a cluster, as its configuration says.

use super::cluster;
use super::config::{Form, form};
use super::process::{self, AuthorityError, Options};
use eyesplice_identity::document::ConfigErrors;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::sandbox::{Reach, confine};
use eyesplice_process::{ProcessError, reload};

/// Runs until a signal stopped it.
///
/// # Errors
/// Whatever kept it from starting; nothing stays behind.
pub fn run(options: Options) -> Result<(), AuthorityError> {
    let form = form(&options.config);
    let reach = match form {
        Form::Cluster => cluster::reach(&options),
        _ if options.kubeconfig.is_some() => {
            return Err(AuthorityError::NoCluster(options.config));
        }
        _ => process::reach(&options.config),
    };
    let metrics = Metrics::of_authority();
    confine(options.sandbox, &first(reach)?, &metrics).map_err(ProcessError::from)?;
    eyesplice_process::run("authority", async {
        match form {
            Form::Cluster => cluster::supervise(options, metrics).await,
            _ => process::supervise(options, metrics).await,
        }
    })
}

/// What the first look at the configuration came to.
fn first(reach: Result<Reach, ConfigErrors>) -> Result<Reach, ProcessError> {
    reach.map_err(|errors| reload::invalid(&errors.lines()))
}
