//! An agent's configuration and certificates from files, and their publication at the start and at
//! every reload.

use super::control::{AgentControl, State};
use super::membership::Membership;
use crate::config::{AgentConfig, Document};
use crate::material::AgentMaterial;
use crate::serve;
use crate::serve::Descriptors;
use eyesplice_identity::document::{self, ConfigErrors};
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::reload::{self, Loaded, Named, Source, Valid};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A valid configuration with everything that its files hold.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) config: AgentConfig,
    pub(super) material: AgentMaterial,
}

/// Reads the configuration alone. Blocks.
pub(super) fn config(file: &Path) -> Result<document::Loaded<AgentConfig>, ConfigErrors> {
    AgentConfig::load(file)
}

/// Reads the configuration and every file that it names, after `in_force`. Blocks.
pub(super) fn load(file: &Path, in_force: &[CertificateInfo]) -> Loaded<Files> {
    reload::load(
        file,
        config(file),
        |config| Named {
            files: config.files(),
            secrets: config.secrets(),
            reach: config.reach(),
        },
        |config| {
            let loaded = AgentMaterial::load_after(&config, SystemTime::now(), in_force);
            let mut material = loaded.map_err(|errors| errors.0)?;
            Ok(Valid {
                warnings: std::mem::take(&mut material.warnings),
                certificates: material.certificates.clone(),
                state: Files { config, material },
            })
        },
    )
}

/// Publishes what was loaded.
#[derive(Debug)]
pub(super) struct FileSource {
    pub(super) file: PathBuf,
    pub(super) control: Arc<AgentControl>,
    pub(super) membership: Arc<Membership>,
    /// What the engine, the admin endpoint and the audit log were started with.
    pub(super) started: AgentConfig,
    pub(super) descriptors: Descriptors,
    pub(super) metrics: Arc<Metrics>,
}

impl Source for FileSource {
    type State = Files;

    fn load(&mut self) -> Loaded<Files> {
        load(&self.file, &self.control.state().material.certificates)
    }

    fn publish(&mut self, files: Files) -> Vec<String> {
        let Files { config, material } = files;
        serve::log_limits(config.parts());
        self.descriptors.show(&config.limits, &self.metrics);
        let restart_required = self.started.restart_required(&config);
        let before = self.control.state();
        let generation = before.generation + 1;
        let material = material.following(&before.material);
        // Decisions first, as a gateway does.
        self.control.publish(State {
            generation,
            config,
            material,
        });
        self.membership.reloaded();
        restart_required
    }

    fn status(&self) -> String {
        let state = if self.metrics.config.last_successful() {
            "serving"
        } else {
            "the previous configuration stays in force: the newest is not valid, see the log"
        };
        format!("{state}, generation {}", self.control.state().generation)
    }
}
