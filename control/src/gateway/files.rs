//! Configuration and certificates from files: for the start and for every reload.

use crate::config::{self, Config};
use crate::enrol::{Wanted, wants};
use crate::material::Material;
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_process::exposure;
use eyesplice_process::reload::Loaded;
use eyesplice_proto::causes::chain;
use std::collections::BTreeSet;
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
    /// What is allowed and probably not meant.
    pub(super) warnings: Vec<String>,
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
    pub(super) fn config(&self) -> Result<Config, Vec<String>> {
        match Config::load(&self.config) {
            Ok(loaded) => {
                self.wanted.read(wants(&loaded.config));
                Ok(loaded.config)
            }
            Err(errors) => Err(errors.lines()),
        }
    }

    /// Reads the configuration and every file that it names, after `in_force`. Blocks.
    pub(super) fn load(&self, in_force: &[CertificateInfo]) -> Loaded<State> {
        let mut files = BTreeSet::from([self.config.clone()]);
        let config::Loaded { config, warnings } = match Config::load(&self.config) {
            Ok(loaded) => loaded,
            Err(errors) => {
                return Loaded {
                    files,
                    result: Err(errors.lines()),
                };
            }
        };
        files.extend(config.files());
        self.wanted.read(wants(&config));
        let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let exposed = exposure::find(&files, &config.secrets());
        warnings.extend(exposed.iter().map(ToString::to_string));
        let result = match Material::load_after(&config, SystemTime::now(), in_force) {
            Ok(material) => {
                warnings.extend(material.warnings.iter().cloned());
                Ok(State {
                    config,
                    material,
                    warnings,
                })
            }
            Err(errors) => Err(errors.0.iter().map(|error| chain(error)).collect()),
        };
        Loaded { files, result }
    }
}
