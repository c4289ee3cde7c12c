//! Finds out what the kernel can do before anything depends on it, and raises the limits that it may.

use super::ServeError;
use crate::probe_report;
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_process::metrics::Metrics;
use eyesplice_sys::limits;
use eyesplice_sys::probe::{self, Probe};
use eyesplice_sys::uring::Backend;

/// Raises the limits of open files and of locked memory, probes the kernel, and shows the result as a
/// metric. Much of that is denied to a process that has confined itself.
pub(crate) fn prepare(metrics: &Metrics) -> &'static Probe {
    // What a sandbox would hide.
    super::cores();
    if let Err(error) = limits::raise_locked_memory() {
        tracing::debug!(%error, "limit of locked memory cannot be raised");
    }
    let probe = probe::found();
    metrics.probe.replace(probe_report::rows(probe));
    let missing: Vec<_> = probe
        .findings
        .iter()
        .filter(|finding| !finding.present())
        .collect();
    tracing::info!(
        kernel = probe.kernel,
        missing = missing.len(),
        "kernel probed; see `eyesplice probe`"
    );
    match limits::raise_open_files() {
        Ok(limit) => tracing::info!(limit = limit.soft, "open files"),
        Err(error) => tracing::warn!(
            %error,
            "limit of open files cannot be raised; raise LimitNOFILE if streams are refused"
        ),
    }
    probe
}

/// Fails where io_uring is to wait, and something that it needs is missing.
///
/// # Errors
/// What is missing, and the remedy.
pub(crate) fn usable(probe: &Probe, io: IoPolicy) -> Result<(), ServeError> {
    match io {
        IoPolicy::Fixed(Backend::IoUring) => Ok(probe.usable()?),
        IoPolicy::Fixed(Backend::Epoll) | IoPolicy::Auto => Ok(()),
    }
}
