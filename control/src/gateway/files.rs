//! Configuration and certificates from files: for the start and for every reload.

use crate::cli::chain;
use crate::config::{self, Config};
use crate::material::Material;
use crate::reload::Loaded;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

/// Where the configuration is; all other files are named in it.
#[derive(Clone, Debug)]
pub(super) struct Files {
    config: PathBuf,
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
        Self { config }
    }

    /// Reads the configuration and every file that it names. Blocks.
    pub(super) fn load(&self) -> Loaded<State> {
        let mut files = BTreeSet::from([self.config.clone()]);
        let config::Loaded { config, warnings } = match Config::load(&self.config) {
            Ok(loaded) => loaded,
            Err(errors) => {
                let file = errors.file.display();
                let lines = errors.errors.iter().map(|error| format!("{file}: {error}"));
                return Loaded {
                    files,
                    result: Err(lines.collect()),
                };
            }
        };
        files.extend(config.files());
        let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        let result = match Material::load(&config, SystemTime::now()) {
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
