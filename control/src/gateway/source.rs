//! Publishes what was loaded, at the start and at every reload.

use super::expiry::Leaves;
use super::files::{Files, State};
use super::startup;
use crate::admit::Gatekeeper;
use crate::leaf::LeafStore;
use crate::serve::Descriptors;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::reload::{Loaded, Source};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Handle;

/// Publishes what was loaded to the gatekeeper and its metrics.
#[derive(Debug)]
pub(super) struct FileSource {
    files: Files,
    pub(super) gatekeeper: Arc<Gatekeeper>,
    pub(super) leaves: Leaves,
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
        let State { config, material } = state;
        descriptors.show(&config.limits, &metrics);
        let store = LeafStore::new(metrics.enrolment.clone());
        let gatekeeper = Gatekeeper::listening(config, material, Handle::current(), listening);
        let gatekeeper = Arc::new(gatekeeper.with_leaves(Arc::clone(&store)));
        let source = Self {
            files,
            leaves: Leaves {
                gatekeeper: Arc::clone(&gatekeeper),
                store,
                certificates: Arc::clone(&metrics.certificates),
            },
            gatekeeper,
            descriptors,
            metrics,
        };
        source.show();
        source
    }

    /// The number that new streams carry.
    pub(super) fn generation(&self) -> u64 {
        self.gatekeeper.state().generation
    }

    fn show(&self) {
        self.leaves.look(SystemTime::now());
        let snapshot = self.gatekeeper.snapshot_cell().load();
        self.metrics.generations.published(&snapshot);
    }
}

impl Source for FileSource {
    type State = State;

    fn load(&mut self) -> Loaded<State> {
        self.files
            .load(&self.gatekeeper.state().material.certificates)
    }

    fn publish(&mut self, state: State) -> Vec<String> {
        let State { config, material } = state;
        startup::log_config(&config);
        self.descriptors.show(&config.limits, &self.metrics);
        let publication = self.gatekeeper.publish(config, material);
        self.show();
        publication.restart_required
    }

    fn status(&self) -> String {
        let state = if self.metrics.config.last_successful() {
            "serving"
        } else {
            "the previous configuration stays in force: the newest is not valid, see the log"
        };
        format!("{state}, generation {}", self.generation())
    }
}
