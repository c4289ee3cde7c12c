//! Keeps lines until they are written: whole, in order, and within a bound.

use super::sink::Sink;
use super::{MAX_UNWRITTEN, line};
use crate::metrics::Metrics;
use eyesplice_dataplane::seam::StreamRecord;
use std::future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The wait after a first failure; doubles up to [`MAX_RETRY`].
const MIN_RETRY: Duration = Duration::from_millis(100);

/// The longest wait between two tries.
const MAX_RETRY: Duration = Duration::from_secs(5);

/// Tries at the end of the process, before what is left is given up: about three seconds.
const LAST_TRIES: u32 = 6;

/// Lines on their way to a sink.
#[derive(Debug)]
pub(super) struct Writer {
    /// Absent only while a blocking thread has it, or if that thread died.
    sink: Option<Sink>,
    /// Begins at the start of a line.
    unwritten: Vec<u8>,
    /// Bytes of `unwritten` that went out: less than its first line.
    partial: usize,
    lines: u64,
    retry: Option<Retry>,
    lost_since_success: u64,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Writer {
    pub(super) fn new(sink: Sink, metrics: Arc<Metrics>) -> Self {
        Self {
            sink: Some(sink),
            unwritten: Vec::new(),
            partial: 0,
            lines: 0,
            retry: None,
            lost_since_success: 0,
            metrics,
        }
    }

    /// Adds a record's line, or counts it as lost if too much waits already.
    pub(super) fn push(&mut self, record: &StreamRecord) {
        if self.unwritten.len() >= MAX_UNWRITTEN {
            self.metrics.audit.lost.inc();
            if self.lost_since_success == 0 {
                tracing::error!(
                    waiting_bytes = self.unwritten.len(),
                    "audit lines are being lost: the audit log takes no more; free its disk or reader"
                );
            }
            self.lost_since_success += 1;
            return;
        }
        line::append(&mut self.unwritten, record);
        self.lines += 1;
    }

    /// Resolves when a failed write is to be tried again; never, if none failed.
    pub(super) async fn retry_due(&self) {
        match self.retry {
            Some(retry) => sleep_until(retry.at).await,
            None => future::pending().await,
        }
    }

    /// Writes what waits, unless a failed write is not due for another try.
    pub(super) async fn write(&mut self) {
        if self.retry.is_some_and(|retry| Instant::now() < retry.at) {
            return;
        }
        self.write_now().await;
    }

    /// Opens the file anew. A line that was cut by a failed write is written whole to the new file.
    pub(super) async fn reopen(&mut self) {
        let Some(mut sink) = self.sink.take() else {
            return;
        };
        let reopened = tokio::task::spawn_blocking(move || (sink.reopen(), sink)).await;
        let Ok((result, sink)) = reopened else { return };
        self.sink = Some(sink);
        match result {
            Ok(()) => {
                self.partial = 0;
                self.retry = None;
                tracing::info!("audit log reopened");
                self.write_now().await;
            }
            Err(error) => {
                self.metrics.audit.failed.inc();
                tracing::error!(%error, "audit log cannot be reopened; the open one stays in use");
            }
        }
    }

    /// Writes what is left, trying a bounded number of times.
    pub(super) async fn finish(mut self) {
        for _ in 0..LAST_TRIES {
            self.write_now().await;
            match self.retry {
                Some(retry) => sleep_until(retry.at).await,
                None => return,
            }
        }
        self.metrics.audit.lost.inc_by(self.lines);
        tracing::error!(
            lines = self.lines,
            "audit lines are lost: the audit log took no more"
        );
    }

    async fn write_now(&mut self) {
        if self.unwritten.is_empty() {
            return;
        }
        let Some(mut sink) = self.sink.take() else {
            return;
        };
        let bytes = std::mem::take(&mut self.unwritten);
        let from = self.partial;
        let wrote = tokio::task::spawn_blocking(move || {
            let (written, result) = sink.write(&bytes[from..]);
            (sink, bytes, written, result)
        })
        .await;
        let Ok((sink, bytes, written, result)) = wrote else {
            return;
        };
        self.sink = Some(sink);
        self.unwritten = bytes;
        self.settle(from + written, result);
    }

    /// Drops the lines that went out whole, and plans the next try.
    fn settle(&mut self, written: usize, result: io::Result<()>) {
        let whole = self.unwritten[..written]
            .iter()
            .rposition(|byte| *byte == b'\n');
        let whole = whole.map_or(0, |last| last + 1);
        let lines = self.unwritten[..whole]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count() as u64;
        self.metrics.audit.written.inc_by(lines);
        self.lines -= lines;
        self.unwritten.drain(..whole);
        self.partial = written - whole;
        match result {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    fn succeeded(&mut self) {
        if self.retry.take().is_some() {
            tracing::info!(lost = self.lost_since_success, "audit log is written again");
        }
        self.lost_since_success = 0;
        // What one burst needed is not kept for ever.
        self.unwritten.shrink_to(64 << 10);
    }

    fn failed(&mut self, error: &io::Error) {
        let wait = match self.retry {
            Some(Retry { wait, .. }) => (wait * 2).min(MAX_RETRY),
            None => MIN_RETRY,
        };
        if self.retry.is_none() {
            tracing::error!(%error, lines = self.lines, "audit log cannot be written; trying again");
        }
        self.metrics.audit.failed.inc();
        self.retry = Some(Retry {
            at: Instant::now() + wait,
            wait,
        });
    }
}
