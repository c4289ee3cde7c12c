//! Finds out what the kernel can do before anything depends on it, and takes the descriptors it may.

use super::GatewayError;
use crate::metrics::Metrics;
use crate::probe_report;
use eyesplice_sys::{limits, probe};

/// Probes the kernel, shows the result as a metric, and raises the limit of open files.
///
/// # Errors
/// Something required is missing.
pub(super) fn prepare(metrics: &Metrics) -> Result<(), GatewayError> {
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
