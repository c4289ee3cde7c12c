//! Finds out what the kernel can do before anything depends on it, and raises the limits that it may.

use super::GatewayError;
use crate::probe_report;
use eyesplice_process::metrics::Metrics;
use eyesplice_sys::{limits, probe};

/// Raises the limits of open files and of locked memory, probes the kernel, and shows the result as a
/// metric.
///
/// # Errors
/// Something required is missing.
pub(super) fn prepare(metrics: &Metrics) -> Result<(), GatewayError> {
    if let Err(error) = limits::raise_locked_memory() {
        tracing::debug!(%error, "limit of locked memory cannot be raised");
    }
    let probe = probe::probe();
    metrics.probe.replace(probe_report::rows(&probe));
    probe.usable()?;
    let missing: Vec<_> = probe
        .findings
        .iter()
        .filter(|finding| !finding.present())
        .collect();
    tracing::info!(
        kernel = probe.kernel,
        missing_optional = missing.len(),
        "kernel can; see `eyesplice probe`"
    );
    match limits::raise_open_files() {
        Ok(limit) => tracing::info!(limit = limit.soft, "open files"),
        Err(error) => tracing::warn!(
            %error,
            "limit of open files cannot be raised; raise LimitNOFILE if streams are refused"
        ),
    }
    Ok(())
}
