//! Loads a configuration and every file that it names: a state, or all that is wrong with them.

use super::digest::Digests;
use crate::exposure;
use crate::sandbox::{self, Reach};
use crate::threads::ProcessError;
use eyesplice_identity::document::{self, ConfigErrors};
use eyesplice_identity::pem::CertificateInfo;
use eyesplice_proto::causes::chain;
use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};

/// Loads while files still change under us: a mounted secret is swapped within milliseconds.
const MAX_ROUNDS: u32 = 3;

/// The outcome of reading every file.
#[derive(Debug)]
pub struct Loaded<S> {
    /// Files that were read or that were missing.
    pub files: BTreeSet<PathBuf>,
    /// The state, or every error in words.
    pub result: Result<Valid<S>, Vec<String>>,
}

/// What a configuration names.
#[derive(Debug)]
pub struct Named {
    /// Files that are read.
    pub files: BTreeSet<PathBuf>,
    /// Those of them that are secret.
    pub secrets: BTreeSet<PathBuf>,
    /// All that the process reaches by it.
    pub reach: Reach,
}

/// A state whose files are valid.
#[derive(Debug)]
pub struct Valid<S> {
    /// The state.
    pub state: S,
    /// What is allowed and probably not meant.
    pub warnings: Vec<String>,
    /// Every certificate in it.
    pub certificates: Vec<CertificateInfo>,
}

/// Loads the files of a configuration that was read from `file`: `named` gives all that it names,
/// `build` makes a state of them. What the sandbox of this process does not cover is an error.
/// Blocks.
pub fn load<C, S, E: Error>(
    file: &Path,
    read: Result<document::Loaded<C>, ConfigErrors>,
    named: impl FnOnce(&C) -> Named,
    build: impl FnOnce(C) -> Result<Valid<S>, Vec<E>>,
) -> Loaded<S> {
    let mut files = BTreeSet::from([file.to_owned()]);
    let result = match read {
        Err(errors) => Err(errors.lines()),
        Ok(document::Loaded { config, warnings }) => {
            let Named {
                files: others,
                secrets,
                reach,
            } = named(&config);
            files.extend(others);
            let mut beyond = sandbox::beyond(&reach);
            let exposed = exposure::find(&files, &secrets);
            let warnings = warnings.iter().map(ToString::to_string);
            let warnings = warnings.chain(exposed.iter().map(ToString::to_string));
            let built = build(config)
                .map(|mut valid| {
                    valid.warnings.splice(0..0, warnings);
                    valid
                })
                .map_err(|errors| errors.iter().map(|error| chain(error)).collect::<Vec<_>>());
            match built {
                Ok(valid) if beyond.is_empty() => Ok(valid),
                Ok(_) => Err(beyond),
                Err(errors) => {
                    beyond.extend(errors);
                    Err(beyond)
                }
            }
        }
    };
    Loaded { files, result }
}

/// Logs every error of a load that failed, and gives their number as an error.
pub fn invalid(errors: &[String]) -> ProcessError {
    for error in errors {
        tracing::error!(error, "configuration is not valid");
    }
    ProcessError::Config(errors.len())
}

/// The files of a state and their contents when it was loaded.
#[derive(Debug)]
pub struct Seen {
    pub(super) files: BTreeSet<PathBuf>,
    pub(super) digests: Digests,
}

/// Loads until nothing changed since `before`, or while it was loading, so that no certificate is
/// paired with the key of another moment. Blocks.
pub(super) fn load_settled<S>(
    mut load: impl FnMut() -> Loaded<S>,
    mut before: Digests,
) -> (Result<Valid<S>, Vec<String>>, Seen) {
    let mut round = 1;
    loop {
        let Loaded { files, result } = load();
        let digests = Digests::of(&files);
        if digests == before || round == MAX_ROUNDS {
            return (result, Seen { files, digests });
        }
        before = digests;
        round += 1;
    }
}
