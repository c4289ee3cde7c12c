//! Keeps the running state equal to the files that it was made from.
//!
//! A change of any file, or SIGHUP, loads everything again. What loads is published as the next
//! generation; what does not is logged in full, and the last good state stays in force. Events that
//! leave every file's content as it was do nothing.

mod digest;
mod host;
mod load;
mod watch;

pub use host::{Host, Kept};
pub use load::{Loaded, Named, Seen, Valid, invalid, load};

use digest::Digests;
use load::load_settled;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use watch::Watch;

/// Where state comes from, and where it goes.
pub trait Source: Send + Sync + 'static {
    /// What was loaded and is not in force yet.
    type State: Send + 'static;

    /// Reads every file. Blocks.
    fn load(&mut self) -> Loaded<Self::State>;

    /// Puts a state in force for streams that begin from now on. Gives the fields whose new value
    /// waits for a restart.
    fn publish(&mut self, state: Self::State) -> Vec<String>;

    /// One line for the service manager, whenever a load is over.
    fn status(&self) -> String;
}

/// How patient the watcher is.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// Quiet time after the last event before files are read: writers come in bursts.
    debounce: Duration,
    /// A burst is read after this time even if it goes on.
    max_debounce: Duration,
    /// Between two reads of all files where events come: the net below a missed event.
    poll_watched: Duration,
    /// Between two reads of all files where a directory cannot be watched.
    poll_unwatched: Duration,
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

/// Watches the files and reloads the state.
#[derive(Debug)]
struct Reloader<S: Source> {
    /// Absent only while a blocking thread has it, or if that thread died.
    source: Option<S>,
    /// What the state in force was made from, and what a failed load read after it.
    seen: Seen,
    good_files: BTreeSet<PathBuf>,
    watch: Watch,
    hangup: Arc<Notify>,
    timing: Timing,
    host: Host,
    /// The number that new streams carry.
    generation: u64,
}

impl<S: Source> Reloader<S> {
    /// Begins to watch the files of the state in force. `hangup` asks for a reload.
    fn new(source: S, seen: Seen, hangup: Arc<Notify>, timing: Timing, host: Host) -> Self {
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
            host,
            generation: 1,
        }
    }

    /// Runs until the task is dropped.
    async fn run(mut self) {
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

    /// Loads again if a file's content changed, or if asked to.
    async fn consider(&mut self, trigger: Trigger) {
        let Some(mut source) = self.source.take() else {
            return;
        };
        let files = self.seen.files.clone();
        let known = self.seen.digests.clone();
        let host = self.host.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let now = Digests::of(&files);
            if trigger != Trigger::Hangup && now == known {
                return (source, None);
            }
            host.reloading();
            let settled = load_settled(|| source.load(), now);
            (source, Some(settled))
        })
        .await;
        // A load that panicked took the source with it; `run` says so and ends.
        let Ok((mut source, settled)) = looked else {
            return;
        };
        if let Some((result, seen)) = settled {
            self.apply(trigger, &mut source, result, seen);
            self.host.settled(&source.status());
        }
        self.source = Some(source);
        // A directory that was replaced lost its watch.
        self.watch.follow(&self.seen.files);
    }

    fn apply(
        &mut self,
        trigger: Trigger,
        source: &mut S,
        result: Result<Valid<S::State>, Vec<String>>,
        seen: Seen,
    ) {
        match result {
            Ok(valid) => {
                let state = self.host.show(valid);
                let restart_required = source.publish(state);
                self.generation += 1;
                self.good_files.clone_from(&seen.files);
                self.seen = seen;
                self.succeeded(trigger, &restart_required);
            }
            Err(errors) => {
                // The files of the state in force are watched on: their return is news too.
                let files: BTreeSet<_> = seen.files.union(&self.good_files).cloned().collect();
                let digests = seen.digests.extended(&files);
                self.seen = Seen { files, digests };
                self.failed(trigger, &errors);
            }
        }
    }

    fn succeeded(&self, trigger: Trigger, restart_required: &[String]) {
        let generation = self.generation;
        self.host
            .reloads
            .reloaded(generation, restart_required.len(), SystemTime::now());
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
        self.host.reloads.reload_failed();
        invalid(errors);
        tracing::error!(
            errors = errors.len(),
            trigger = trigger.as_str(),
            "configuration not reloaded; the last good state stays in force"
        );
    }
}

#[cfg(test)]
mod tests;
