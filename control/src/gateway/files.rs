//! Configuration and certificates from files: for the start and for every reload.

use crate::config::{Config, Document};
use crate::enrol::{Wanted, wants};
use crate::material::Material;
use eyesplice_identity::document::{self, ConfigErrors};
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_process::reload::{self, Loaded, Named, Valid};
use std::path::PathBuf;
use std::time::SystemTime;

/// Where the configuration is; all other files are named in it.
#[derive(Clone, Debug)]
pub(super) struct Files {
    config: PathBuf,
    /// Who must know what comes from an authority, before its files are there.
    wanted: Wanted,
}

/// A valid configuration with everything that its files hold.
#[derive(Debug)]
pub(super) struct State {
    pub(super) config: Config,
    pub(super) material: Material,
}

impl Files {
    pub(super) fn new(config: PathBuf) -> Self {
        Self {
            config,
            wanted: Wanted::default(),
        }
    }

    /// What the configuration wants from an authority, whenever it is read.
    pub(super) fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Reads the configuration alone. Blocks.
    pub(super) fn config(&self) -> Result<document::Loaded<Config>, ConfigErrors> {
        Config::load(&self.config).inspect(|loaded| self.wanted.read(wants(&loaded.config)))
    }

    /// Reads the configuration and every file that it names, after `in_force`. Blocks.
    pub(super) fn load(&self, in_force: &[CertificateInfo]) -> Loaded<State> {
        reload::load(
            &self.config,
            self.config(),
            |config| Named {
                files: config.files(),
                secrets: config.secrets(),
                reach: config.reach(),
            },
            |config| {
                let loaded = Material::load_after(&config, SystemTime::now(), in_force);
                let mut material = loaded.map_err(|errors| errors.0)?;
                Ok(Valid {
                    warnings: std::mem::take(&mut material.warnings),
                    certificates: material.certificates.clone(),
                    state: State { config, material },
                })
            },
        )
    }
}
