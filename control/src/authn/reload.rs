//! Keeps an authenticator equal to the files that it was made from.

use super::authenticator::Authenticator;
use super::settings::Settings;
use super::sources::Sources;
use crate::reload::{Loaded, Published, Source};
use std::sync::Arc;

/// Reads the sources of tokens anew whenever a file of theirs changes. For processes whose
/// configuration is fixed; one that reloads its configuration loads [`Sources`] with it.
#[derive(Debug)]
pub struct FileSource {
    settings: Settings,
    authenticator: Arc<Authenticator>,
    generation: u64,
}

impl FileSource {
    /// Publishes into `authenticator`.
    pub fn new(settings: Settings, authenticator: Arc<Authenticator>) -> Self {
        Self {
            settings,
            authenticator,
            generation: 0,
        }
    }
}

impl Source for FileSource {
    type State = Sources;

    fn load(&mut self) -> Loaded<Sources> {
        let lines =
            |error: super::SourceErrors| error.to_string().lines().map(str::to_owned).collect();
        Loaded {
            files: self.settings.files(),
            result: Sources::load(&self.settings).map_err(lines),
        }
    }

    fn publish(&mut self, state: Sources) -> Published {
        for warning in state.warnings() {
            tracing::warn!(warning, "token file");
        }
        self.authenticator.publish(state);
        self.generation += 1;
        Published {
            generation: self.generation,
            restart_required: Vec::new(),
        }
    }
}
