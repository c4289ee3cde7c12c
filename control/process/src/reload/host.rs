//! The process that files are loaded for: what it counts and logs of them, and who is notified.

use super::load::{Loaded, Seen, Valid, invalid, load_settled};
use super::{Digests, Reloader, Source, Timing};
use crate::expiry::{self, Expiry};
use crate::metrics::{ConfigMetrics, Metrics};
use crate::systemd;
use crate::threads::{ProcessError, blocking};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// The process that files are loaded for, or a part of one that has files of its own.
#[derive(Clone, Debug)]
pub struct Host {
    /// What the process counts.
    pub metrics: Arc<Metrics>,
    pub(super) reloads: ConfigMetrics,
    expiry: Arc<Expiry>,
    /// These are the files of the process, and so is what the service manager hears.
    alone: bool,
}

impl Host {
    /// A process with its own files.
    pub fn of(metrics: Arc<Metrics>) -> Self {
        Self {
            reloads: metrics.config.clone(),
            expiry: Expiry::new("", Arc::clone(&metrics.certificates)),
            metrics,
            alone: true,
        }
    }

    /// The same process, for the files of an authority in it.
    #[must_use]
    pub fn of_authority(&self) -> Self {
        let metrics = Arc::clone(&self.metrics);
        Self {
            reloads: metrics.authority_config.clone(),
            expiry: Expiry::new("authority", Arc::clone(&metrics.certificates)),
            metrics,
            alone: false,
        }
    }

    /// Loads for the first time, until nothing changed meanwhile, and logs the warnings.
    ///
    /// # Errors
    /// The files are not valid, or the load panicked.
    pub async fn load<S: Send + 'static>(
        &self,
        load: impl FnMut() -> Loaded<S> + Send + 'static,
    ) -> Result<(S, Seen), ProcessError> {
        let settled = blocking("the first load of the configuration", move || {
            load_settled(load, Digests::default())
        });
        let (result, seen) = settled.await?;
        let valid = result.map_err(|errors| invalid(&errors))?;
        self.reloads.loaded(1, SystemTime::now());
        Ok((self.show(valid), seen))
    }

    /// Reloads at each change of a file, and reminds of certificates that end.
    pub fn keep(self, source: impl Source, seen: Seen) -> Kept {
        let hangup = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        let expiry = Arc::clone(&self.expiry);
        let reloader = Reloader::new(source, seen, Arc::clone(&hangup), Timing::default(), self);
        tasks.spawn(reloader.run());
        tasks.spawn(expiry::watch(move |now| expiry.look(now)));
        Kept {
            hangup,
            _tasks: tasks,
        }
    }

    /// Says what a state comes with, and gives it.
    pub(super) fn show<S>(&self, valid: Valid<S>) -> S {
        let Valid {
            state,
            warnings,
            certificates,
        } = valid;
        for warning in warnings {
            tracing::warn!(warning, "configuration is allowed and probably not meant");
        }
        self.expiry.replace(certificates, SystemTime::now());
        state
    }

    pub(super) fn reloading(&self) {
        if self.alone {
            systemd::reloading();
        }
    }

    pub(super) fn settled(&self, status: &str) {
        if self.alone {
            systemd::ready(status);
        }
    }
}

/// Files that are reloaded until this is dropped.
#[derive(Debug)]
pub struct Kept {
    hangup: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Kept {
    /// Reads all files again.
    pub fn reload(&self) {
        self.hangup.notify_one();
    }
}
