//! What the log says once at the start, and what the engine is built with.

use crate::config::{Audit, AuditSink, Config, Transport, Verification};
use crate::metrics::Row;
use eyesplice_dataplane::engine::{Engine, EngineConfig, KtlsPolicy};
use std::num::NonZero;
use std::thread::available_parallelism;

/// The engine of a configuration: one worker per core that the process may use (its affinity and CPU
/// quota), unless configured.
pub(super) fn engine_config(config: &Config) -> EngineConfig {
    config.engine_config(available_parallelism().map_or(1, NonZero::get))
}

/// Logs what is decided before anything listens, and anew when a reload changed it.
pub(super) fn log_config(config: &Config, warnings: &[String]) {
    for warning in warnings {
        tracing::warn!(warning, "configuration is allowed and probably not meant");
    }
    log_verification(config);
    let limits = &config.limits;
    let timeouts = &config.timeouts;
    tracing::info!(
        max_streams = limits.max_streams,
        max_streams_per_peer = limits.max_streams_per_peer,
        max_pending_dials = limits.max_pending_dials,
        max_handshakes_per_second = limits.max_handshakes_per_second,
        max_pipes_per_worker = limits.max_pipes_per_worker,
        coalesce = ?config.engine.coalesce,
        dial_timeout = ?timeouts.dial,
        drain_timeout = ?timeouts.drain,
        idle_timeout = ?timeouts.idle,
        half_closed_timeout = ?timeouts.half_closed,
        "limits"
    );
}

/// Logs where the audit log goes.
pub(super) fn log_audit(audit: &Audit) {
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

/// `observe` must not come into force quietly.
fn log_verification(config: &Config) {
    match config.kubelet.as_ref().map(|kubelet| kubelet.verification) {
        Some(Verification::Observe) => tracing::warn!(
            mode = "observe",
            "kubelet certificates are checked and NOT enforced: an impostor is let pass; set \
             kubelet.verification: enforce"
        ),
        Some(Verification::Enforce) => {
            tracing::info!(mode = "enforce", "kubelet certificates are verified");
        }
        None => tracing::info!(mode = "none", "no rule terminates kubelets"),
    }
}

/// Logs what listens.
pub(super) fn log_engine(config: &Config, engine: &Engine, generation: u64) {
    for listener in &config.listeners {
        let name = &*listener.name;
        match &listener.transport {
            Transport::Unix(unix) => tracing::info!(
                listener = name,
                path = %unix.path.display(),
                mode = format_args!("{:04o}", unix.mode),
                allowed_uids = ?unix.allowed_uids,
                "listens on a UNIX socket"
            ),
            Transport::Tcp(tcp) => {
                let bound = engine.tcp_addresses();
                let bound = bound.iter().find(|(other, _)| **other == *listener.name);
                let address = bound.map_or(tcp.address, |(_, address)| *address);
                tracing::info!(
                    listener = name,
                    %address,
                    allowed_names = ?tcp.allowed_names,
                    "listens on TCP with mutual TLS"
                );
            }
        }
    }
    tracing::info!(
        workers = engine.workers().len(),
        ktls = ktls_word(config.engine.ktls),
        splice = "bulky directions between plain or kernel TLS legs",
        generation,
        "engine runs"
    );
}

/// The row of the metric `strategy_info`.
pub(super) fn strategy(config: &Config) -> Vec<Row> {
    let labels = vec![
        ("ktls", ktls_word(config.engine.ktls).to_owned()),
        ("splice", "bulky".to_owned()),
        ("workers", engine_config(config).workers.to_string()),
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
