//! Publishes what was loaded, at the start and at every reload.

use super::expiry::Expiry;
use super::files::{Files, State};
use super::startup;
use super::startup::Descriptors;
use crate::admit::{Gatekeeper, Publication};
use crate::leaf::LeafStore;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::reload::{Loaded, Published, Source};
use eyesplice_process::systemd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Handle;

/// Publishes what was loaded to the gatekeeper and its metrics.
#[derive(Debug)]
pub(super) struct FileSource {
    files: Files,
    gatekeeper: Arc<Gatekeeper>,
    expiry: Arc<Expiry>,
    descriptors: Descriptors,
    metrics: Arc<Metrics>,
}

impl FileSource {
    /// Puts the first state in force. Needs a runtime, on which verdicts are made from now on. `listening`
    /// is where this process listens.
    pub(super) fn start(
        files: Files,
        state: State,
        descriptors: Descriptors,
        metrics: Arc<Metrics>,
        listening: Vec<SocketAddr>,
    ) -> Self {
        let State {
            config, material, ..
        } = state;
        descriptors.show(&config, &metrics);
        let leaves = LeafStore::new(metrics.enrolment.clone());
        let gatekeeper = Gatekeeper::listening(config, material, Handle::current(), listening);
        let gatekeeper = Arc::new(gatekeeper.with_leaves(Arc::clone(&leaves)));
        let expiry = Expiry::new(Arc::clone(&gatekeeper), leaves, Arc::clone(&metrics));
        expiry.look(SystemTime::now());
        let source = Self {
            files,
            gatekeeper,
            expiry: Arc::new(expiry),
            descriptors,
            metrics,
        };
        source
            .metrics
            .config
            .loaded(source.generation(), SystemTime::now());
        source.show_generation();
        source
    }

    pub(super) fn expiry(&self) -> Arc<Expiry> {
        Arc::clone(&self.expiry)
    }

    pub(super) fn gatekeeper(&self) -> Arc<Gatekeeper> {
        Arc::clone(&self.gatekeeper)
    }

    /// The number that new streams carry.
    pub(super) fn generation(&self) -> u64 {
        self.gatekeeper.state().generation
    }

    /// One line for the service manager.
    pub(super) fn status(&self) -> String {
        let state = if self.metrics.config.last_successful() {
            "serving"
        } else {
            "serving the last good configuration: the newest is not valid, see the log"
        };
        format!("{state}, generation {}", self.generation())
    }

    fn show_generation(&self) {
        self.metrics
            .generations
            .published(&self.gatekeeper.snapshot_cell().load());
    }
}

impl Source for FileSource {
    type State = State;

    fn load(&mut self) -> Loaded<State> {
        self.files
            .load(&self.gatekeeper.state().material.certificates)
    }

    fn publish(&mut self, state: State) -> Published {
        let State {
            config,
            material,
            warnings,
        } = state;
        startup::log_config(&config, &warnings);
        self.descriptors.show(&config, &self.metrics);
        let publication = self.gatekeeper.publish(config, material);
        self.expiry.look(SystemTime::now());
        self.show_generation();
        let Publication {
            generation,
            restart_required,
        } = publication;
        Published {
            generation,
            restart_required,
        }
    }

    fn reloading(&mut self) {
        systemd::reloading();
    }

    fn settled(&mut self) {
        systemd::ready(&self.status());
    }
}
