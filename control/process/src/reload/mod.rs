//! Keeps the running state equal to the files that it was made from.
//!
//! A change of any file, or SIGHUP, loads everything again. What loads is published as the next
//! generation; what does not is logged in full, and the last good state stays in force. Events that
//! leave every file's content as it was do nothing.

mod digest;
mod watch;

use crate::metrics::ConfigMetrics;
use digest::Digests;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use watch::Watch;

/// Loads while files still change under us: a mounted secret is swapped within milliseconds.
const MAX_ROUNDS: u32 = 3;

/// Where state comes from, and where it goes.
pub trait Source: Send + 'static {
    /// What was loaded and is not in force yet.
    type State: Send + 'static;

    /// Reads every file. Blocks.
    fn load(&mut self) -> Loaded<Self::State>;

    /// Puts a state in force for streams that begin from now on.
    fn publish(&mut self, state: Self::State) -> Published;

    /// A load begins; [`settled`](Self::settled) follows.
    fn reloading(&mut self) {}

    /// A load is over, whether it succeeded or not.
    fn settled(&mut self) {}
}

/// The outcome of reading every file.
#[derive(Debug)]
pub struct Loaded<S> {
    /// Files that were read or that were missing.
    pub files: BTreeSet<PathBuf>,
    /// The state, or every error in words.
    pub result: Result<S, Vec<String>>,
}

/// What came into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The number that new streams carry.
    pub generation: u64,
    /// Fields whose new value waits for a restart.
    pub restart_required: Vec<String>,
}

/// How patient the watcher is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Quiet time after the last event before files are read: writers come in bursts.
    pub debounce: Duration,
    /// A burst is read after this time even if it goes on.
    pub max_debounce: Duration,
    /// Between two reads of all files where events come: the net below a missed event.
    pub poll_watched: Duration,
    /// Between two reads of all files where a directory cannot be watched.
    pub poll_unwatched: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            debounce: Duration::from_millis(200),
            max_debounce: Duration::from_secs(2),
            poll_watched: Duration::from_secs(60),
            poll_unwatched: Duration::from_secs(10),
        }
    }
}

/// Why files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trigger {
    Start,
    Hangup,
    Event,
    Poll,
}

impl Trigger {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "first check",
            Self::Hangup => "SIGHUP",
            Self::Event => "file change",
            Self::Poll => "periodic check",
        }
    }
}

/// A state that was loaded while its files held still.
#[derive(Debug)]
pub struct Settled<S> {
    loaded: Loaded<S>,
    digests: Digests,
}

impl<S> Settled<S> {
    /// Takes the state, and leaves what the reloader compares with.
    ///
    /// # Errors
    /// Every error of the load in words.
    pub fn into_state(self) -> Result<(S, Seen), Vec<String>> {
        let seen = Seen {
            files: self.loaded.files,
            digests: self.digests,
        };
        self.loaded.result.map(|state| (state, seen))
    }
}

/// The files of a state and their contents when it was loaded.
#[derive(Debug)]
pub struct Seen {
    files: BTreeSet<PathBuf>,
    digests: Digests,
}

/// Loads until nothing changed while it was loading, so that no certificate is paired with the key
/// of another moment. Blocks.
pub fn load_settled<S>(load: impl FnMut() -> Loaded<S>) -> Settled<S> {
    load_settled_from(load, Digests::default())
}

fn load_settled_from<S>(mut load: impl FnMut() -> Loaded<S>, mut before: Digests) -> Settled<S> {
    let mut round = 1;
    loop {
        let loaded = load();
        let digests = Digests::of(&loaded.files);
        if digests == before || round == MAX_ROUNDS {
            return Settled { loaded, digests };
        }
        before = digests;
        round += 1;
    }
}

/// Watches the files and reloads the state.
#[derive(Debug)]
pub struct Reloader<S: Source> {
    /// Absent only while a blocking thread has it, or if that thread died.
    source: Option<S>,
    /// What the state in force was made from, and what a failed load read after it.
    seen: Seen,
    good_files: BTreeSet<PathBuf>,
    watch: Watch,
    hangup: Arc<Notify>,
    timing: Timing,
    metrics: ConfigMetrics,
}

impl<S: Source> Reloader<S> {
    /// Begins to watch the files of the state in force. `hangup` asks for a reload.
    pub fn new(
        source: S,
        seen: Seen,
        hangup: Arc<Notify>,
        timing: Timing,
        metrics: ConfigMetrics,
    ) -> Self {
        let mut watch = Watch::new();
        watch.follow(&seen.files);
        let good_files = seen.files.clone();
        Self {
            source: Some(source),
            seen,
            good_files,
            watch,
            hangup,
            timing,
            metrics,
        }
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self) {
        // What changed between the load and the first watch has no event.
        self.consider(Trigger::Start).await;
        while self.source.is_some() {
            let trigger = self.next_trigger().await;
            self.consider(trigger).await;
        }
        tracing::error!("reloading ended: its thread died; restart to load changes");
    }

    async fn next_trigger(&self) -> Trigger {
        let poll = if self.watch.is_complete() {
            self.timing.poll_watched
        } else {
            self.timing.poll_unwatched
        };
        tokio::select! {
            () = self.hangup.notified() => Trigger::Hangup,
            () = self.watch.changed() => {
                self.debounce().await;
                Trigger::Event
            }
            () = sleep(poll) => Trigger::Poll,
        }
    }

    /// Waits until no event came for a moment, or the burst lasted too long.
    async fn debounce(&self) {
        let end = Instant::now() + self.timing.max_debounce;
        loop {
            let quiet = (Instant::now() + self.timing.debounce).min(end);
            if timeout_at(quiet, self.watch.changed()).await.is_err() {
                return;
            }
        }
    }

    /// Loads anew if a file's content changed, or if asked to.
    async fn consider(&mut self, trigger: Trigger) {
        let Some(mut source) = self.source.take() else {
            return;
        };
        let files = self.seen.files.clone();
        let known = self.seen.digests.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let now = Digests::of(&files);
            if trigger != Trigger::Hangup && now == known {
                return (source, None);
            }
            source.reloading();
            let settled = load_settled_from(|| source.load(), now);
            (source, Some(settled))
        })
        .await;
        // A load that panicked took the source with it; `run` says so and ends.
        let Ok((source, settled)) = looked else {
            return;
        };
        self.source = Some(source);
        if let Some(settled) = settled {
            self.apply(trigger, settled);
        }
        // A directory that was replaced lost its watch.
        self.watch.follow(&self.seen.files);
    }

    fn apply(&mut self, trigger: Trigger, settled: Settled<S::State>) {
        let Some(source) = &mut self.source else {
            return;
        };
        let Settled {
            loaded: Loaded { files, result },
            digests,
        } = settled;
        match result {
            Ok(state) => {
                let published = source.publish(state);
                self.good_files.clone_from(&files);
                self.seen = Seen { files, digests };
                self.succeeded(trigger, &published);
            }
            Err(errors) => {
                // The files of the state in force are watched on: their return is news too.
                let files: BTreeSet<_> = files.union(&self.good_files).cloned().collect();
                let digests = digests.extended(&files);
                self.seen = Seen { files, digests };
                self.failed(trigger, &errors);
            }
        }
        if let Some(source) = &mut self.source {
            source.settled();
        }
    }

    fn succeeded(&self, trigger: Trigger, published: &Published) {
        let Published {
            generation,
            restart_required,
        } = published;
        self.metrics
            .reloaded(*generation, restart_required.len(), SystemTime::now());
        tracing::info!(
            generation,
            trigger = trigger.as_str(),
            files = self.seen.files.len(),
            "configuration reloaded; in force for new streams"
        );
        for field in restart_required {
            tracing::warn!(field, "changed field keeps its old value until a restart");
        }
    }

    fn failed(&self, trigger: Trigger, errors: &[String]) {
        self.metrics.reload_failed();
        for error in errors {
            tracing::error!(error, "configuration is not valid");
        }
        tracing::error!(
            errors = errors.len(),
            trigger = trigger.as_str(),
            "configuration not reloaded; the last good state stays in force"
        );
    }
}

#[cfg(test)]
mod tests;
