//! What every process around an engine does: finds out what the kernel can, opens the audit log,
//! shares the limit of open files, starts the engine, and takes it down in order.

mod descriptors;
mod error;
mod kernel;
mod memory;
mod report;

pub(crate) use descriptors::Descriptors;
pub use error::ServeError;
pub(crate) use kernel::{prepare, usable};
pub(crate) use report::{log_audit, log_engine, log_limits, strategy};

use crate::audit::{self, Audit};
use crate::config;
use eyesplice_dataplane::descriptors::Room;
use eyesplice_dataplane::engine::{Engine, EngineConfig, Listeners};
use eyesplice_dataplane::seam::{Control, SnapshotCell, StreamRecord};
use eyesplice_process::takeover::{Offer, Successor};
use eyesplice_process::{Process, ProcessError, blocking};
use eyesplice_sys::socket::Inherited;
use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, spawn_blocking};

/// Cores that the process may use, by its affinity and CPU quota, when it first asked.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().map_or(1, NonZero::get))
}

/// Opens the audit log; nothing, if a signal ended the wait for its file system.
pub(crate) async fn open_audit(
    log: &config::Audit,
    process: &mut Process,
) -> Result<Option<Audit>, ServeError> {
    let (log, metrics) = (log.clone(), Arc::clone(&process.host.metrics));
    let opening = blocking("the opening of the audit log", move || {
        Audit::open(&log, metrics)
    });
    match process.signals.unless_stopped(|| {}, opening).await {
        Ok(opened) => Ok(Some(opened??)),
        Err(signal) => {
            tracing::info!(signal, "stopping; the audit log is not open yet");
            Ok(None)
        }
    }
}

/// Binds the listeners of an engine, or takes them from the process before this one.
pub(crate) async fn bind(
    config: EngineConfig,
    inherited: &mut Inherited,
) -> Result<Listeners, ServeError> {
    let mut sockets = std::mem::take(inherited);
    let bound = blocking("the binding of the listeners", move || {
        (Listeners::take(&config, &mut sockets), sockets)
    });
    let (bound, left) = bound.await?;
    *inherited = left;
    Ok(bound?)
}

/// Who answers an engine, and where it gets what it reads and leaves what it has to tell.
pub(crate) struct Seam {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) snapshots: Arc<SnapshotCell>,
    pub(crate) records: mpsc::Sender<StreamRecord>,
}

/// Starts an engine on its listeners, within the room that there is.
pub(crate) async fn start_engine(
    mut config: EngineConfig,
    (listeners, room): (Listeners, Room),
    seam: Seam,
) -> Result<Engine, ServeError> {
    config.room = room;
    let Seam {
        control,
        snapshots,
        records,
    } = seam;
    let started = blocking("the start of the engine", move || {
        Engine::start_on(listeners, config, control, snapshots, records)
    });
    Ok(started.await??)
}

/// An audit log that runs, and what asks it to open its file again.
pub(crate) struct Audited {
    task: JoinHandle<()>,
    pub(crate) reopen: audit::Reopen,
}

impl Audited {
    /// Runs an audit log; what the engine is to send records by comes with it. `gated` gets what
    /// new streams may expect of it.
    pub(crate) fn run(
        audit: Audit,
        process: &Process,
        gated: impl FnOnce(audit::Gate),
    ) -> (Self, mpsc::Sender<StreamRecord>) {
        let reopen = audit.reopen();
        let (records, received) = mpsc::channel(audit::QUEUE);
        gated(audit.gate(&records));
        process.readiness.audits(audit.gate(&records));
        let task = tokio::spawn(audit.run(received));
        (Self { task, reopen }, records)
    }
}

/// Everything that has to be taken down.
pub(crate) struct Serving {
    pub(crate) engine: Engine,
    pub(crate) audit: Audited,
    pub(crate) process: Process,
    /// What the next process can have.
    pub(crate) offer: Offer,
    /// The admin endpoint, if the next process has it, too.
    pub(crate) admin: Option<AbortHandle>,
}

/// Who has the listening sockets next.
enum Next {
    None,
    /// The service manager or a process that starts, as far as this one knows.
    Elsewhere,
    /// Another process accepts already.
    Accepts,
}

/// Why a process accepts no more, without a signal.
enum Over {
    Fault(&'static str, Duration, ServeError),
    HandedOver(Successor),
}

impl Serving {
    /// Counts and gives back memory for as long as the engine runs.
    pub(crate) fn keep_memory_low(&self) {
        tokio::spawn(memory::keep_low(self.engine.workers().to_vec()));
    }

    /// Serves until a signal asks to stop, then drains. `reload` answers SIGHUP; `drain` is the
    /// deadline in force, which a reload may change.
    pub(crate) async fn until_stopped(
        mut self,
        reload: impl Fn(),
        drain: impl Fn() -> Duration,
    ) -> Result<(), ServeError> {
        let reported = self.process.reported();
        let over = async {
            tokio::select! {
                // Nobody would take records any more: streams could not end.
                _ = &mut self.audit.task => {
                    let ended = ProcessError::Ended("the audit task");
                    Over::Fault("a fault", Duration::ZERO, ended.into())
                }
                // The streams of the other workers are well.
                () = self.engine.worker_died() => {
                    Over::Fault("a dead worker", drain(), ServeError::WorkerDied)
                }
                successor = self.offer.taken(&reported) => Over::HandedOver(successor),
            }
        };
        let stopped = self.process.signals.unless_stopped(reload, over).await;
        let mut next = if self.offer.is_elsewhere() {
            Next::Elsewhere
        } else {
            Next::None
        };
        let (signal, deadline, result) = match stopped {
            Ok(Over::Fault(word, deadline, fault)) => (word, deadline, Err(fault)),
            Ok(Over::HandedOver(Successor { pid })) => {
                tracing::info!(
                    pid,
                    "another process accepts connections in place of this one"
                );
                if let Some(admin) = &self.admin {
                    admin.abort();
                }
                next = Next::Accepts;
                ("a hand-over", drain(), Ok(()))
            }
            Err(signal) => (signal, drain(), Ok(())),
        };
        self.drain(signal, deadline, next).await;
        result
    }

    /// Ends all streams within the deadline.
    async fn drain(self, signal: &str, deadline: Duration, next: Next) {
        let Self {
            engine,
            audit,
            mut process,
            offer,
            admin: _,
        } = self;
        // Its descriptors would keep the sockets listening.
        drop(offer);
        let mut audit = audit.task;
        match next {
            Next::None | Next::Elsewhere => process.stopping(deadline),
            Next::Accepts => process.readiness.handed_over(),
        }
        let signals = &mut process.signals;
        let live = engine.totals().streams_live;
        tracing::info!(
            signal,
            live,
            ?deadline,
            "draining; a second signal closes all streams at once"
        );
        let abort = engine.abort_handle();
        let mut drained = spawn_blocking(move || match next {
            Next::None => engine.drain(deadline),
            Next::Elsewhere => engine.leave(deadline),
            Next::Accepts => engine.retire(deadline),
        });
        let aborted = loop {
            match signals.unless_stopped(|| {}, &mut drained).await {
                Ok(aborted) => break aborted,
                Err(signal) => {
                    tracing::warn!(signal, "closing all streams at once");
                    abort.abort();
                }
            }
        };
        match aborted {
            Ok(0) => tracing::info!("drained: every stream ended by itself"),
            Ok(aborted) => tracing::warn!(aborted, "drained: streams were aborted"),
            Err(error) => tracing::error!(%error, "drain failed; this is a bug"),
        }
        if audit.is_finished() {
            return;
        }
        // The engine held the only senders: audit writes what is left, bounded, and ends.
        match signals.unless_stopped(|| {}, &mut audit).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("audit task failed; its last lines may be lost"),
            Err(signal) => tracing::warn!(signal, "ending without the last audit lines"),
        }
    }
}
