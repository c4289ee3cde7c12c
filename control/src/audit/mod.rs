//! The audit log: receives every stream record, counts it, logs it, and writes it as one JSON line.
//!
//! One task owns the file; writes run on a blocking thread, so a full disk or a stuck pipe holds up
//! neither the engine nor control. What could not be written is kept and tried again; see
//! `MAX_UNWRITTEN` for what happens when that lasts.

mod event;
mod line;
mod sink;
mod writer;

pub(crate) use line::rfc3339;

use crate::config::AuditSink;
use crate::metrics::Metrics;
use eyesplice_dataplane::seam::{RecordKind, StreamRecord};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;
use writer::Writer;

/// Records that the engine may have waiting here; beyond, finished streams wait in their slots.
pub const QUEUE: usize = 4096;

/// Records that are written with one call.
const BATCH: usize = 256;

/// After a write, what comes within so long goes out with the next one: a write costs two hand-overs
/// between threads, more than a short stream does otherwise.
const GATHER: Duration = Duration::from_millis(10);

/// Bytes of lines that wait for a target that does not take them. Beyond, new lines are lost, each
/// counted and the first of them logged: a full disk must not take kubectl down.
const MAX_UNWRITTEN: usize = 8 << 20;

/// The audit target could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the audit log {path} for appending; check audit.path and its directory")]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// Opens the target anew when told to.
#[derive(Clone, Debug, Default)]
pub struct Reopen(Arc<Notify>);

impl Reopen {
    /// Asks the audit task to open its file again, after a rotation. Returns at once.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

/// The audit task before it runs.
#[derive(Debug)]
pub struct Audit {
    writer: Writer,
    metrics: Arc<Metrics>,
    reopen: Reopen,
}

impl Audit {
    /// Opens the target.
    ///
    /// # Errors
    /// A file that cannot be opened for appending.
    pub fn open(target: &AuditSink, metrics: Arc<Metrics>) -> Result<Self, OpenError> {
        let sink = sink::Sink::open(target).map_err(|source| OpenError {
            path: match target {
                AuditSink::File(path) => path.clone(),
                AuditSink::Stdout => PathBuf::from("-"),
            },
            source,
        })?;
        let writer = Writer::new(sink, Arc::clone(&metrics));
        Ok(Self {
            writer,
            metrics,
            reopen: Reopen::default(),
        })
    }

    /// The handle that makes this task reopen its file.
    pub fn reopen(&self) -> Reopen {
        self.reopen.clone()
    }

    /// Runs until every sender of `records` is gone and what they sent is written, or given up
    /// after a bounded number of tries.
    pub async fn run(mut self, mut records: mpsc::Receiver<StreamRecord>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                received = records.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        break;
                    }
                    self.take(&mut batch);
                    self.writer.write().await;
                    if received < BATCH {
                        sleep(GATHER).await;
                    }
                }
                () = self.reopen.0.notified() => self.writer.reopen().await,
                () = self.writer.retry_due() => self.writer.write().await,
            }
        }
        self.writer.finish().await;
    }

    fn take(&mut self, batch: &mut Vec<StreamRecord>) {
        for record in batch.drain(..) {
            if record.kind == RecordKind::End {
                self.metrics.streams.ended(&record);
            }
            event::log(&record);
            self.writer.push(&record);
        }
    }
}

#[cfg(test)]
mod tests;
