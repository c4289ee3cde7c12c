//! What the log says once at the start of any engine.

use crate::config::{Audit, AuditSink, EngineParts, EngineSettings};
use eyesplice_dataplane::engine::{Engine, KtlsPolicy};
use eyesplice_process::metrics::Row;

/// Logs the limits that are in force, at the start and again when a reload changed them.
pub(crate) fn log_limits(parts: EngineParts<'_>) {
    let EngineParts {
        limits,
        timeouts,
        engine,
    } = parts;
    tracing::info!(
        max_streams = limits.max_streams,
        max_streams_per_peer = limits.max_streams_per_peer,
        max_pending_dials = limits.max_pending_dials,
        max_unauthenticated = limits.max_unauthenticated,
        max_handshakes_per_second = limits.max_handshakes_per_second,
        max_handshakes_per_second_per_address = limits.max_handshakes_per_second_per_address,
        max_pipes_per_worker = limits.max_pipes_per_worker,
        coalesce = ?engine.coalesce,
        dial_timeout = ?timeouts.dial,
        drain_timeout = ?timeouts.drain,
        idle_timeout = ?timeouts.idle,
        half_closed_timeout = ?timeouts.half_closed,
        "limits"
    );
}

/// Logs where the audit log goes.
pub(crate) fn log_audit(audit: &Audit) {
    let on_failure = audit.on_failure.as_str();
    match &audit.sink {
        AuditSink::Stdout => {
            tracing::info!(path = "-", on_failure, "audit log is standard output");
        }
        AuditSink::File(path) => {
            tracing::info!(path = %path.display(), on_failure, "audit log is open");
        }
    }
}

/// Logs how an engine runs.
pub(crate) fn log_engine(settings: &EngineSettings, engine: &Engine, generation: u64) {
    let cipher = engine.cipher();
    tracing::info!(
        workers = engine.workers().len(),
        io = engine.io().backend.as_str(),
        io_uring_denied = engine.io().denied.as_deref(),
        ktls = ktls_word(settings.ktls),
        crypto = cipher.library.as_str(),
        crypto_chosen = %cipher.why,
        splice = "bulky directions between plain or kernel TLS legs",
        generation,
        "engine runs"
    );
}

/// The row of the metric `strategy_info`.
pub(crate) fn strategy(settings: &EngineSettings, engine: &Engine) -> Vec<Row> {
    let labels = vec![
        ("io", engine.io().backend.as_str().to_owned()),
        ("ktls", ktls_word(settings.ktls).to_owned()),
        ("crypto", engine.cipher().library.as_str().to_owned()),
        ("splice", "bulky".to_owned()),
        ("workers", engine.workers().len().to_string()),
    ];
    vec![Row { labels, value: 1 }]
}

/// The word used in configuration, logs and metrics.
fn ktls_word(policy: KtlsPolicy) -> &'static str {
    match policy {
        KtlsPolicy::Off => "off",
        KtlsPolicy::Auto => "auto",
        KtlsPolicy::Require => "require",
    }
}
