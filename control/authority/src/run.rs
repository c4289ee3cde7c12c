//! Runs an authority: one that serves the CSR API itself, or one in a cluster, as its configuration says.

use super::cluster;
use super::config::{Form, form};
use super::process::{self, AuthorityError, Options};
use std::time::Duration;
use tokio::runtime::Builder;

/// Threads of the runtime: TLS handshakes and JSON; the disk has threads of its own.
const THREADS: usize = 2;

/// How long the last tasks may take to end.
const LAST_TASKS: Duration = Duration::from_secs(5);

/// Runs until a signal stopped it.
///
/// # Errors
/// Whatever kept it from starting; nothing stays behind.
pub fn run(options: Options) -> Result<(), AuthorityError> {
    // The store and whatever else is written is nobody else's business.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let runtime = Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("authority")
        .enable_all()
        .build()
        .map_err(AuthorityError::Runtime)?;
    let form = form(&options.config);
    let result = match form {
        Form::Cluster => runtime.block_on(cluster::supervise(options)),
        _ if options.kubeconfig.is_some() => Err(AuthorityError::NoCluster(options.config)),
        _ => runtime.block_on(process::supervise(options)),
    };
    runtime.shutdown_timeout(LAST_TASKS);
    result
}
