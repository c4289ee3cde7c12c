//! The frame of a long-running process: signals, files, admin endpoint, and service manager.

use crate::admin::{Admin, Readiness};
use crate::metrics::Metrics;
use crate::reload::{Host, Kept};
use crate::sandbox;
use crate::signals::Signals;
use crate::systemd;
use crate::takeover::Reported;
use crate::threads::ProcessError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;

/// A process that answers signals from the moment that this exists.
#[derive(Debug)]
pub struct Process {
    /// What it answers.
    pub signals: Signals,
    /// What its files are loaded for.
    pub host: Host,
    /// What must hold for it to take work.
    pub readiness: Arc<Readiness>,
}

impl Process {
    /// Begins to catch signals. Needs a runtime.
    ///
    /// # Errors
    /// The process may not catch signals.
    pub fn begin(metrics: Arc<Metrics>) -> Result<Self, ProcessError> {
        let readiness: Arc<Readiness> = Arc::default();
        readiness.unconfined(sandbox::confinement().and_then(sandbox::Confinement::lack));
        Ok(Self {
            signals: Signals::catch().map_err(ProcessError::Signals)?,
            host: Host::of(metrics),
            readiness,
        })
    }

    /// Serves health and metrics at this address, and gives the one that was bound.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn serve_admin(&self, address: SocketAddr) -> Result<SocketAddr, ProcessError> {
        let admin = Admin::bind(address).await?;
        let address = admin.address();
        self.serve_bound(admin);
        Ok(address)
    }

    /// Serves health and metrics until this is aborted; requests that run are answered all the
    /// same.
    pub fn serve_bound(&self, admin: Admin) -> AbortHandle {
        let address = admin.address();
        tracing::info!(%address, "admin endpoint listens");
        let metrics = Arc::clone(&self.host.metrics);
        let serving = tokio::spawn(admin.serve(metrics, Arc::clone(&self.readiness)));
        serving.abort_handle()
    }

    /// What a hand-over to another process is reported to.
    pub fn reported(&self) -> Reported {
        Reported {
            readiness: Arc::clone(&self.readiness),
            metrics: self.host.metrics.takeovers.clone(),
        }
    }

    /// Tells the service manager that the process works, once and for as long as it does.
    pub fn ready(&self, status: &str) {
        systemd::ready(status);
        tokio::spawn(systemd::feed_watchdog());
    }

    /// Waits for the end of `work`, which is a fault, or for a signal to stop. SIGHUP reloads.
    pub async fn until_stopped<T>(
        &mut self,
        kept: &Kept,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let stopped = self.signals.unless_stopped(|| kept.reload(), work).await;
        stopped
            .inspect_err(|signal| tracing::info!(signal, "stopping"))
            .ok()
    }

    /// Takes no more work: all that runs ends within the deadline.
    pub fn stopping(&self, deadline: Duration) {
        self.readiness.draining();
        systemd::stopping(deadline);
    }
}
