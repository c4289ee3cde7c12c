//! An authority that runs in the gateway's process, on control's threads.
//!
//! It starts before anything else, so that the gateway can be its client like any other; a start that
//! fails is a failed start. What goes wrong with it later touches no stream: it is logged, and the
//! gateway goes on with what it holds.

use super::GatewayError;
use eyesplice_authority::{AuthorityError, Host, Options, Prepared, Running};
use eyesplice_process::metrics::Metrics;
use eyesplice_proto::causes::chain;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// An authority that runs beside the engine.
pub(super) struct Embedded {
    address: SocketAddr,
    task: JoinHandle<()>,
    reload: Arc<Notify>,
    stop: watch::Sender<bool>,
}

impl Embedded {
    /// Starts the authority of a configuration file.
    pub(super) async fn start(
        config: PathBuf,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, GatewayError> {
        let host = Host {
            metrics: Arc::clone(metrics),
            reloads: metrics.authority_config.clone(),
            alone: false,
        };
        let options = Options {
            config,
            kubeconfig: None,
            insecure_auto_approve_group: None,
        };
        let running = match Prepared::load(options, host).await {
            Ok(prepared) => prepared.start().await,
            Err(error) => Err(error),
        };
        let running = running.map_err(|error| match error {
            AuthorityError::Config(lines) => GatewayError::Config(lines),
            error => GatewayError::Authority(error),
        })?;
        let address = running.address();
        let (reload, (stop, stopping)) = (Arc::new(Notify::new()), watch::channel(false));
        let task = tokio::spawn(keep(running, Arc::clone(&reload), stopping));
        Ok(Self {
            address,
            task,
            reload,
            stop,
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads its files anew.
    pub(super) fn reload(&self) {
        self.reload.notify_one();
    }

    /// Ends it.
    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // A task that failed is over as well.
        let _ = self.task.await;
    }
}

async fn keep(mut running: Running, reload: Arc<Notify>, mut stopping: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = reload.notified() => running.reload(),
            // A gateway that is gone stops it as well.
            _ = stopping.changed() => return running.stop().await,
            fault = running.ended() => {
                let error = chain(&fault);
                tracing::error!(error, "authority ended; streams go on, restart to have it back");
                return;
            }
        }
    }
}
