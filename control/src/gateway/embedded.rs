//! An authority that runs in the gateway's process, on control's threads.
//!
//! It starts before anything else, so that the gateway can be its client like any other; a start that
//! fails is a failed start. What goes wrong with it later touches no stream: it is logged, and the
//! gateway goes on with what it holds.

use crate::serve::ServeError;
use eyesplice_authority::{Options, Prepared, Running};
use eyesplice_process::reload::{Host, Kept};
use eyesplice_process::sandbox::Sandbox;
use eyesplice_proto::causes::chain;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An authority that runs beside the engine.
pub(super) struct Embedded {
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// Its files.
    pub(super) kept: Kept,
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Embedded {
    /// Starts the authority of a configuration file.
    pub(super) async fn start(config: PathBuf, host: &Host) -> Result<Self, ServeError> {
        let options = Options {
            config,
            kubeconfig: None,
            insecure_auto_approve_group: None,
            // The gateway's sandbox has what both reach.
            sandbox: Sandbox::Off,
        };
        let prepared = Prepared::load(options, host.of_authority()).await?;
        let started = prepared.start().await.map_err(ServeError::Authority);
        let (running, kept) = started?;
        let (stop, stopping) = watch::channel(false);
        Ok(Self {
            address: running.address(),
            kept,
            task: tokio::spawn(keep(running, stopping)),
            stop,
        })
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        drop(self.kept);
        self.stop.send_replace(true);
        // A task that failed is over as well.
        let _ = self.task.await;
    }
}

async fn keep(mut running: Running, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        // A gateway that is gone stops it as well.
        _ = stopping.changed() => running.stop().await,
        fault = running.ended() => {
            let error = chain(&fault);
            tracing::error!(error, "authority ended; streams continue, restart to get it back");
        }
    }
}
