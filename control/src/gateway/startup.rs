//! What the log says once at the start, and what the engine is built with.

use crate::config::{Audit, AuditSink, Config, Transport, Verification};
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{Engine, EngineConfig, KtlsPolicy};
use eyesplice_process::metrics::{Metrics, Row};
use eyesplice_sys::limits;
use std::num::NonZero;
use std::thread::available_parallelism;

/// The engine of a configuration: one worker per core that the process may use (its affinity and CPU
/// quota), unless configured.
pub(super) fn engine_config(config: &Config) -> EngineConfig {
    config.engine_config(available_parallelism().map_or(1, NonZero::get))
}

/// What the limit of open files has room for, with what is open now.
pub(super) fn room(config: &Config) -> Descriptors {
    let workers = engine_config(config).workers;
    // Where they cannot be read, EMFILE tells.
    let Ok(limit) = limits::open_files() else {
        return Descriptors {
            limit: u64::MAX,
            room: Room::UNLIMITED,
        };
    };
    let held = limits::open_descriptors().unwrap_or_default();
    Descriptors {
        limit: limit.soft,
        room: config.room(workers, limit.soft, held),
    }
}

/// The limit of open files, and what the engine may hold under it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptors {
    limit: u64,
    pub(super) room: Room,
}

impl Descriptors {
    /// Says which limits are lower than configured, if any are.
    pub(super) fn lowered(&self, config: &Config) -> Option<String> {
        let Self { limit, room } = self;
        let configured = config.limits.max_streams;
        (room.streams < configured).then(|| {
            format!(
                "limits.maxStreams is {} instead of {configured}: the limit of open files is {limit}, and a \
                 stream takes two; raise LimitNOFILE, or lower maxStreams",
                room.streams
            )
        })
    }

    /// Logs and shows the limits of a configuration as they are in force.
    pub(super) fn show(&self, config: &Config, metrics: &Metrics) {
        if let Some(lowered) = self.lowered(config) {
            tracing::warn!("{lowered}");
        }
        let Self { room, .. } = self;
        let limits = &config.limits;
        let rows = [
            ("streams", limits.max_streams, room.streams),
            (
                "unauthenticated",
                limits.max_unauthenticated,
                room.unauthenticated,
            ),
            (
                "pipes_per_worker",
                limits.max_pipes_per_worker,
                room.pipes_per_worker,
            ),
        ];
        let row = |limit: &str, state: &str, value: usize| Row {
            labels: vec![("limit", limit.to_owned()), ("state", state.to_owned())],
            value: i64::try_from(value).unwrap_or(i64::MAX),
        };
        let rows = rows.iter().flat_map(|(limit, configured, room)| {
            [
                row(limit, "configured", *configured),
                row(limit, "in_force", *configured.min(room)),
            ]
        });
        metrics.limits.replace(rows.collect());
    }
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
        max_unauthenticated = limits.max_unauthenticated,
        max_handshakes_per_second = limits.max_handshakes_per_second,
        max_handshakes_per_second_per_address = limits.max_handshakes_per_second_per_address,
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
pub(super) fn strategy(config: &Config, engine: &Engine) -> Vec<Row> {
    let labels = vec![
        ("ktls", ktls_word(config.engine.ktls).to_owned()),
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
