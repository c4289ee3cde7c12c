//! Events on their way to a file or to standard output: a line each.

use super::event;
use super::limits::{FILE_RESERVE, FILE_ROOM, LAST};
use crate::config::AuditSink;
use eyesplice_process::output::limits::STALLED;
use eyesplice_process::output::{Event, Output, Rank, Settings, Status, Target};
use std::io;
use std::time::{Duration, SystemTime};

/// A file of events. When the last handle goes, what waits is written by a thread of its own.
#[derive(Debug)]
pub(super) struct EventFile {
    sink: AuditSink,
    output: Output,
}

const SETTINGS: Settings = Settings {
    name: "events",
    room: FILE_ROOM,
    reserve: FILE_RESERVE,
    gap: |lost, why| event::lost(SystemTime::now(), lost, why),
    tell,
};

impl EventFile {
    /// Starts the thread that writes. A file is opened there, at the first event.
    pub(super) fn start(sink: &AuditSink) -> io::Result<Self> {
        let target = match sink {
            AuditSink::Stdout => Target::stdout()?,
            AuditSink::File(path) => Target::Path {
                path: path.clone(),
                open: None,
            },
        };
        Ok(Self {
            sink: sink.clone(),
            output: Output::start(target, SETTINGS)?,
        })
    }

    /// Whether it is this one.
    pub(super) fn is(&self, sink: &AuditSink) -> bool {
        self.sink == *sink
    }

    /// Whether events of one more stream have room, and get on.
    pub(super) fn takes_more(&self) -> bool {
        let stalled = self.output.blocked().is_some_and(|since| since >= STALLED);
        !stalled && !self.output.is_full()
    }

    /// Hands over an event; `false`: it was lost. `first`: its stream has not begun.
    pub(super) fn push(&self, line: &[u8], first: bool) -> bool {
        let rank = match first {
            true => Rank::Ordinary,
            false => Rank::Important,
        };
        self.output.push(line, rank)
    }

    /// Opens the file again, after a rotation.
    pub(super) fn reopen(&self) {
        self.output.reopen();
    }

    pub(super) fn status(&self) -> Status {
        self.output.status()
    }

    /// Writes what is left, within so long; returns how many events are lost. Blocks.
    pub(super) fn finish(&self, patience: Duration) -> u64 {
        self.output.finish(patience)
    }
}

impl Drop for EventFile {
    fn drop(&mut self) {
        let output = self.output.clone();
        let ending = std::thread::Builder::new().name("events-end".to_owned());
        // Without a thread its own is left behind: it writes what waits, and ends with the process.
        drop(ending.spawn(move || output.finish(LAST)));
    }
}

/// Logs what happens to the file, on its own thread.
fn tell(event: Event<'_>) {
    match event {
        Event::Failed { error, lines } => {
            tracing::error!(
                %error,
                lines,
                "front.audit.path cannot be written; streams go through API servers, trying again"
            );
        }
        Event::Recovered => tracing::info!("front.audit.path is written again"),
        Event::Reopened => tracing::info!("front.audit.path reopened"),
        Event::NotReopened(error) => {
            let what = "front.audit.path cannot be reopened; the open one stays in use";
            tracing::error!(%error, "{what}");
        }
    }
}
