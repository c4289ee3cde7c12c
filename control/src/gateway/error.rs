//! Why the gateway did not start, or stopped by itself.

use crate::audit::OpenError;
use eyesplice_authority::AuthorityError;
use eyesplice_dataplane::engine::StartError;
use eyesplice_process::Exit;
use eyesplice_process::admin::BindError;
use eyesplice_sys::probe::Unusable;
use std::io;

/// Why the gateway did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The kernel or sandbox lacks what the engine needs.
    #[error(transparent)]
    Kernel(#[from] Unusable),
    /// Configuration or files are not valid.
    #[error("configuration has {} errors; nothing was started", .0.len())]
    Config(Vec<String>),
    /// Control's threads could not be started.
    #[error("cannot start control's threads; check the limit of processes")]
    Runtime(#[source] io::Error),
    /// Signals could not be caught.
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    /// The audit log could not be opened.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// The admin endpoint could not be bound.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The authority in the same process did not start.
    #[error("the authority of authority.configFile did not start")]
    Authority(#[source] AuthorityError),
    /// A task that must run for ever ended: a bug.
    #[error("{0} ended by itself; this is a bug")]
    TaskEnded(&'static str),
    /// A worker of the engine ended; its streams are lost, the others were drained.
    #[error("a worker of the engine died; see the log before this, it is a bug")]
    WorkerDied,
}

impl GatewayError {
    /// The exit status that tells scripts whether trying again can help.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Kernel(unusable) => Exit::of_probe(unusable),
            Self::Engine(StartError::Ring { .. }) => Exit::Unavailable,
            // A limit can be raised, and memory comes back: to try again can help.
            Self::Engine(StartError::Memory { .. })
            | Self::Config(_)
            | Self::Runtime(_)
            | Self::Signals(_)
            | Self::Audit(_)
            | Self::Admin(_)
            | Self::Engine(StartError::Bind { .. } | StartError::InUse { .. })
            | Self::Authority(_)
            | Self::TaskEnded(_)
            | Self::WorkerDied => Exit::Failure,
        }
    }
}
