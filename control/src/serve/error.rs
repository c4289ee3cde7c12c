//! Why a process around an engine did not start, or stopped by itself.

use crate::audit::OpenError;
use eyesplice_authority::AuthorityError;
use eyesplice_dataplane::engine::StartError;
use eyesplice_process::Exit;
use eyesplice_process::ProcessError;
use eyesplice_sys::probe::Unusable;

/// Why a gateway or an agent did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The kernel or sandbox lacks what the engine needs.
    #[error(transparent)]
    Kernel(#[from] Unusable),
    /// As any process.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The audit log could not be opened.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The authority in the same process did not start.
    #[error("the authority of authority.configFile did not start")]
    Authority(#[source] AuthorityError),
    /// An authority in the process that runs keeps its store to itself.
    #[error(
        "{field} starts an authority in this process, whose store one process alone can have: a \
         gateway with one cannot take over; restart it"
    )]
    OneStore {
        /// The field.
        field: String,
    },
    /// A worker of the engine ended; its streams are lost, the others were drained.
    #[error("a worker of the engine died; see the log before this, it is a bug")]
    WorkerDied,
}

impl ServeError {
    /// The exit status that tells scripts whether trying again can help.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Kernel(unusable) => Exit::of_probe(unusable),
            Self::Engine(StartError::Uring { .. }) => Exit::Unavailable,
            // A limit can be raised, and memory comes back: to try again can help.
            Self::Engine(StartError::Memory { .. } | StartError::Random)
            | Self::Process(_)
            | Self::Audit(_)
            | Self::Engine(StartError::Bind { .. } | StartError::InUse { .. })
            | Self::Authority(_)
            | Self::OneStore { .. }
            | Self::WorkerDied => Exit::Failure,
        }
    }
}
