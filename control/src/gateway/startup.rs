//! What the log of a gateway says once at the start, and what its engine is built with.

use crate::config::{Config, Document, Transport, Verification};
use crate::serve;
use crate::serve::{Descriptors, ServeError};
use eyesplice_authority::config::AuthorityConfig;
use eyesplice_dataplane::engine::{Bind, Engine, EngineConfig};
use eyesplice_process::sandbox::{Access, Reach};
use eyesplice_process::takeover::Meeting;
use eyesplice_sys::socket::Wanted;
use std::net::SocketAddr;

/// The engine of a configuration: one worker per core that the process may use, unless configured.
pub(super) fn engine_config(config: &Config) -> EngineConfig {
    config.engine_config(serve::cores())
}

/// What the limit of open files has room for, with what is open now. Sockets that are passed on
/// have a second descriptor each.
pub(super) fn room(config: &Config, passes_on: bool) -> Descriptors {
    let workers = engine_config(config).workers;
    let sockets = config.sockets(workers) * if passes_on { 2 } else { 1 };
    Descriptors::here(config.parts(), workers, sockets)
}

/// Whether a gateway of this configuration can take over from one that runs.
pub(super) fn may_take_over(config: &Config, takes_over: bool) -> Result<(), ServeError> {
    match &config.authority {
        Some(file) if takes_over => Err(ServeError::OneStore {
            field: file.field.clone(),
        }),
        _ => Ok(()),
    }
}

/// What the process reaches: what its configuration names, the place where gateways meet, and all
/// that an authority in it reaches. Blocks.
pub(super) fn reach(config: &Config, meeting: Option<&Meeting>) -> Reach {
    let mut reach = config.reach();
    if let Some(meeting) = meeting {
        reach.uses(meeting.directory(), Access::Listen);
    }
    if let Some(authority) = &config.authority {
        reach.reads([authority.path.clone()]);
        // What is wrong with it is reported when it starts.
        if let Ok(loaded) = AuthorityConfig::load(&authority.path) {
            reach.join(loaded.config.reach());
        }
    }
    reach
}

/// Where the gateway is to listen.
pub(super) fn wanted(config: &Config) -> Wanted {
    let mut wanted = Wanted {
        addresses: vec![config.admin.address],
        paths: Vec::new(),
    };
    for listener in engine_config(config).listeners {
        match listener.bind {
            Bind::Tcp(address) => wanted.addresses.push(address),
            Bind::Unix { path, .. } => wanted.paths.push(path),
        }
    }
    wanted
}

/// Logs what is decided before anything listens, and again when a reload changed it.
pub(super) fn log_config(config: &Config) {
    log_verification(config);
    serve::log_limits(config.parts());
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
            tracing::info!(mode = "enforce", "kubelet certificates are validated");
        }
        None => tracing::info!(mode = "none", "no rule terminates kubelets"),
    }
}

/// Logs what listens.
pub(super) fn log_listeners(config: &Config, engine: &Engine) {
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
                let address = bound(engine, name, tcp.address);
                tracing::info!(
                    listener = name,
                    %address,
                    allowed_names = ?tcp.allowed_names,
                    "listens on TCP with mutual TLS"
                );
            }
            Transport::Tunnel(tcp) => {
                let address = bound(engine, name, tcp.address);
                tracing::info!(listener = name, %address, "listens for agents with mutual TLS");
            }
            Transport::Front(front) => {
                let address = bound(engine, name, front.address);
                let certificates = front.client_ca_file.is_some();
                tracing::info!(
                    listener = name,
                    %address,
                    certificates,
                    "listens for clients of the Kubernetes API"
                );
                if !certificates {
                    tracing::warn!(
                        listener = name,
                        "users with client certificates are refused here, those with tokens pass; \
                         add clientCAFile and front.frontProxyClientCertFile"
                    );
                }
            }
            Transport::ApiServer(apiserver) => {
                let address = bound(engine, name, apiserver.address);
                tracing::info!(listener = name, %address, "listens for API servers");
            }
        }
    }
}

/// Where a listener is bound in fact: port 0 is another one there.
fn bound(engine: &Engine, listener: &str, configured: SocketAddr) -> SocketAddr {
    let bound = engine.tcp_addresses();
    let bound = bound.iter().find(|(name, _)| **name == *listener);
    bound.map_or(configured, |(_, address)| *address)
}
