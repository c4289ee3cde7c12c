//! The audit log: receives every stream record, counts it, logs it, and hands it over as one JSON line.
//!
//! One task takes the records; an `Output` has the lines, and a thread of its own that writes them. So neither the
//! engine nor control ever waits for a disk or a reader. [`Gate`] says what that means for new streams.

mod event;
mod gate;
mod line;

pub use gate::Gate;

use crate::config::{self, AuditSink, OnFailure};
use eyesplice_dataplane::seam::{ApiPath, Reason, RecordKind, StreamMode, StreamRecord};
use eyesplice_process::metrics::Metrics;
use eyesplice_process::output::limits::{
    AUDIT_RESERVE, AUDIT_ROOM, LAST_AUDIT, STALLED, TELL_AGAIN,
};
use eyesplice_process::output::{Event, Output, Rank, Settings, Target};
use eyesplice_proto::route::Action;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// Records that the engine may have waiting here; beyond, they wait with its workers.
pub const QUEUE: usize = 4096;

/// Records that are taken at once.
const BATCH: usize = 256;

/// After a few records, what comes within so long is taken together: a write costs two hand-overs between
/// threads, more than a short stream does otherwise.
const GATHER: Duration = Duration::from_millis(10);

/// How often the task looks whether its lines are written.
const LOOK: Duration = Duration::from_secs(1);

/// The audit target could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {path} for appending; check audit.path and its directory")]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Opens the target again when asked to.
#[derive(Clone, Debug)]
pub struct Reopen(Output);

impl Reopen {
    /// Asks for the file to be opened again, after a rotation. Returns at once.
    pub fn request(&self) {
        self.0.reopen();
    }
}

/// The audit task before it runs.
#[derive(Debug)]
pub struct Audit {
    output: Output,
    metrics: Arc<Metrics>,
    on_failure: OnFailure,
    path: Arc<str>,
    /// What is being built, by rank.
    lines: Vec<u8>,
    /// When trouble was told last, and how many lines were lost then.
    told: Option<Instant>,
    told_lost: u64,
    /// Requests to front listeners that are no streams leave lines, too.
    front_requests: bool,
    refusals: event::Refusals,
}

impl Audit {
    /// Opens the target, which may take as long as its file system does, and starts its thread.
    ///
    /// # Errors
    /// A file that cannot be opened for appending. A FIFO that nobody reads is none: it is opened when somebody does.
    pub fn open(config: &config::Audit, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let (path, target) = match &config.sink {
            AuditSink::Stdout => (PathBuf::from("-"), Target::stdout()),
            AuditSink::File(path) => (path.clone(), Target::path(path)),
        };
        target
            .and_then(|target| Self::start(target, &path, config.on_failure, metrics))
            .map(|audit| Self {
                front_requests: config.front_requests,
                ..audit
            })
            .map_err(|source| OpenError { path, source })
    }

    fn start(
        target: Target,
        path: &Path,
        on_failure: OnFailure,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let shown = path.display().to_string();
        if target.awaits_reader() {
            tracing::warn!(
                path = shown,
                "audit log is a FIFO without a reader; lines wait for one"
            );
        }
        let output = Output::start(target, SETTINGS)?;
        metrics.audit.attach(output.clone());
        Ok(Self {
            output,
            metrics,
            on_failure,
            path: shown.into(),
            lines: Vec::new(),
            told: None,
            told_lost: 0,
            front_requests: false,
            refusals: event::Refusals::default(),
        })
    }

    /// The handle that has the file opened again.
    pub fn reopen(&self) -> Reopen {
        Reopen(self.output.clone())
    }

    /// What new streams may expect of this log, whose records come through `records`.
    pub fn gate(&self, records: &mpsc::Sender<StreamRecord>) -> Gate {
        Gate::new(
            self.output.clone(),
            self.on_failure,
            Arc::clone(&self.path),
            records.downgrade(),
        )
    }

    /// Runs until every sender of `records` is gone and what they sent is written, or given up after a bounded time.
    pub async fn run(mut self, mut records: mpsc::Receiver<StreamRecord>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = records.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.take(&mut batch);
                    if received < BATCH {
                        sleep(GATHER).await;
                    }
                }
                _ = looks.tick() => self.look(),
            }
        }
        let output = self.output.clone();
        let left = tokio::task::spawn_blocking(move || output.finish(LAST_AUDIT)).await;
        if let Ok(lines @ 1..) = left {
            tracing::error!(lines, "audit lines are lost: the audit log accepts no more");
        }
    }

    fn take(&mut self, batch: &mut Vec<StreamRecord>) {
        let mut rank = Rank::Ordinary;
        for record in batch.drain(..) {
            if record.kind == RecordKind::End {
                self.metrics.streams.ended(&record);
            }
            event::log(&record, &mut self.refusals);
            if !self.front_requests && is_request(&record) {
                continue;
            }
            if rank != self::rank(&record) {
                self.hand_over(rank);
                rank = self::rank(&record);
            }
            line::append(&mut self.lines, &record);
        }
        self.hand_over(rank);
    }

    fn hand_over(&mut self, rank: Rank) {
        if !self.lines.is_empty() {
            self.output.push(&self.lines, rank);
            self.lines.clear();
        }
    }

    /// Tells of a log that takes no lines, at once and then every minute, and of its end.
    fn look(&mut self) {
        let status = self.output.status();
        let blocked = status.blocked.unwrap_or_default();
        if blocked >= STALLED || status.lost > self.told_lost {
            if self.told.is_some_and(|told| told.elapsed() < TELL_AGAIN) {
                return;
            }
            tracing::error!(
                path = &*self.path,
                blocked_s = blocked.as_secs(),
                waiting_lines = status.lines,
                lost_lines = status.lost,
                reason = status
                    .trouble
                    .as_deref()
                    .unwrap_or("its reader does not read"),
                on_failure = self.on_failure.as_str(),
                "audit log accepts no lines; free its disk, or unblock its reader"
            );
            self.told = Some(Instant::now());
            self.told_lost = status.lost;
        } else if !status.full && self.told.take().is_some() {
            tracing::info!(lost_lines = status.lost, "audit log accepts lines again");
        }
    }
}

/// A stream that never sought a target leaves a line that is given up first: of those a stranger can make as many as
/// he likes.
fn rank(record: &StreamRecord) -> Rank {
    match (record.kind, record.mode, record.reason) {
        (RecordKind::Start, ..) => Rank::Important,
        (_, StreamMode::None, _) | (.., Reason::Unaudited) => Rank::Ordinary,
        _ if is_refused_stranger(record) => Rank::Ordinary,
        _ => Rank::Important,
    }
}

/// A request to a front listener that is no stream: API servers keep a log of these, by the
/// cluster's own rules.
fn is_request(record: &StreamRecord) -> bool {
    record.exchange_labels.as_ref().is_some_and(|labels| {
        labels.path.is_some() && labels.action == Action::Other && labels.protocol.is_none()
    })
}

/// A request to a front listener that the gateway answered, and nobody knows whose it is.
fn is_refused_stranger(record: &StreamRecord) -> bool {
    record
        .exchange_labels
        .as_ref()
        .is_some_and(|labels| labels.path == Some(ApiPath::Answered) && labels.user.is_none())
}

const SETTINGS: Settings = Settings {
    name: "audit",
    room: AUDIT_ROOM,
    reserve: AUDIT_RESERVE,
    gap: |lost, why| line::lost(SystemTime::now(), lost, why),
    tell,
};

/// Logs what happens to the file, on its own thread.
fn tell(event: Event<'_>) {
    match event {
        Event::Failed { error, lines } => {
            tracing::error!(%error, lines, "audit log cannot be written; trying again");
        }
        Event::Recovered => tracing::info!("audit log is written again"),
        Event::Reopened => tracing::info!("audit log reopened"),
        Event::NotReopened(error) => {
            tracing::error!(%error, "audit log cannot be reopened; the open one stays in use");
        }
    }
}

#[cfg(test)]
mod tests;
